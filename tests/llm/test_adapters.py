"""Adapters over one base: who is switched on, what is trained, what is saved, and what merging gives."""

import copy

import pytest
import torch
from peft import PeftModel

from varcore.llm.adapters import LoraSettings, SharedBase, merged
from varcore.llm.scoring import score
from varcore.llm.tiny import tiny_qwen3
from varcore.llm.training import Example, TrainSettings, finetune

ROWS = [((1, 2), (3, 4, 5)), ((7,), (6, 6))]
EXAMPLES = [Example(prompt, response) for prompt, response in ROWS]
SETTINGS = TrainSettings(4, batch_size=2, muon=False, learning_rate=1e-2, save_every=2)


def log_probs(model) -> torch.Tensor:
    return torch.cat([torch.tensor(scores) for scores in score(model, ROWS)])


@pytest.fixture
def base():
    return tiny_qwen3(16, seed=0)


@pytest.fixture
def shared(base):
    return SharedBase(copy.deepcopy(base), LoraSettings(rank=2, alpha=4))


def test_a_new_adapter_changes_nothing_and_a_copy_is_its_start(base, shared):
    torch.testing.assert_close(log_probs(shared.begin("pi0", None, seed=0)), log_probs(base))
    finetune(shared.use("pi0"), EXAMPLES, SETTINGS, seed=0)
    trained = log_probs(shared.use("pi0"))
    assert (trained - log_probs(base)).abs().max() > 0.01
    torch.testing.assert_close(log_probs(shared.begin("q1", "pi0", seed=1)), trained)


def test_training_one_role_leaves_base_and_other_roles_as_they_were(base, shared):
    shared.begin("pi0", None, seed=0)
    finetune(shared.use("pi0"), EXAMPLES, SETTINGS, seed=0)
    before = log_probs(shared.use("pi0"))
    finetune(shared.begin("q1", "pi0", seed=1), EXAMPLES, SETTINGS, seed=1)
    assert not torch.equal(log_probs(shared.use("q1")), before)
    assert torch.equal(log_probs(shared.use("pi0")), before)
    assert torch.equal(log_probs(shared.base()), log_probs(base))


def test_only_the_adapter_in_use_is_trained(shared):
    shared.begin("pi0", None, seed=0)
    model = shared.begin("q1", None, seed=1)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(".q1." in name for name in trained)
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) < 20_000


def test_adapters_are_read_back_as_they_were_and_by_peft_itself(base, shared, tmp_path):
    shared.begin("pi0", None, seed=0)
    finetune(shared.use("pi0"), EXAMPLES, SETTINGS, seed=0)
    expected = log_probs(shared.use("pi0"))
    shared.save("pi0", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if "adapter" in path.name) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    again = SharedBase(copy.deepcopy(base), LoraSettings(rank=2, alpha=4))
    torch.testing.assert_close(log_probs(again.read("elsewhere", tmp_path)), expected)
    theirs = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path)).get_base_model()
    torch.testing.assert_close(log_probs(theirs), expected)


def test_a_merged_model_is_plain_and_says_the_same(base, shared, tmp_path):
    shared.begin("pi0", None, seed=0)
    finetune(shared.use("pi0"), EXAMPLES, SETTINGS, seed=0)
    shared.save("pi0", tmp_path)
    plain = merged(copy.deepcopy(base), tmp_path)
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in base.named_parameters()]
    torch.testing.assert_close(log_probs(plain), log_probs(shared.use("pi0")), rtol=1e-4, atol=1e-5)


def test_an_interrupted_training_of_an_adapter_goes_on(shared, tmp_path):
    whole = SharedBase(tiny_qwen3(16, seed=0), LoraSettings(rank=2, alpha=4))
    expected = finetune(whole.begin("pi0", None, seed=0), EXAMPLES, SETTINGS, seed=0)
    calls = []

    def stop(steps):
        calls.append(steps)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(shared.begin("pi0", None, seed=0), EXAMPLES, SETTINGS, seed=0, checkpoints=tmp_path, advance=stop)
    model = shared.begin("pi0", None, seed=0)
    assert finetune(model, EXAMPLES, SETTINGS, seed=0, checkpoints=tmp_path) == expected
    assert torch.equal(log_probs(model), log_probs(whole.use("pi0")))


def test_what_is_no_adapter_is_refused(shared, tmp_path):
    with pytest.raises(ValueError, match=r"no LoRA adapter in safetensors"):
        shared.read("pi0", tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match=r"Pickled weights are not read"):
        shared.read("pi0", tmp_path)
    with pytest.raises(KeyError, match=r"no adapter 'q9'"):
        shared.use("q9")
    with pytest.raises(ValueError, match=r"rank and alpha must be at least 1"):
        LoraSettings(rank=0)
