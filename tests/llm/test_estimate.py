"""The estimates against counts by somebody else: torch's FLOP counter, peft's adapters, the tensors that are there."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from varcore.llm import estimate
from varcore.llm.estimate import GPUS, Lengths, Workload
from varcore.llm.shapes import QWEN3, local_config, qwen3_config, shape_of
from varcore.llm.tiny import tiny_qwen3

WORK = Workload(
    100,
    prior_traces=4,
    posterior_traces=8,
    answers=2,
    initial_sequences=300,
    posterior_sequences=50,
    reasoner_sequences=200,
)
LENGTHS = Lengths(prompt=10, trace=100, answer=20, longest=200)


@pytest.fixture(scope="module")
def model():
    return tiny_qwen3(64, seed=0)


@pytest.fixture(scope="module")
def shape(model):
    return shape_of(model.config)


@pytest.mark.parametrize(
    ("name", "millions", "without_embedding"),  # as the model cards say
    [("qwen3-0.6b", 600, 440), ("qwen3-1.7b", 1700, 1400), ("qwen3-4b", 4000, 3600), ("qwen3-8b", 8200, 6950)],
)
def test_the_shapes_have_the_sizes_of_their_names(name, millions, without_embedding):
    shape = shape_of(qwen3_config(name))
    assert shape.parameters / 1e6 == pytest.approx(millions, rel=0.02)
    embeddings = shape.vocabulary * shape.hidden * (1 if QWEN3[name][-1] else 2)
    assert (shape.parameters - embeddings) / 1e6 == pytest.approx(without_embedding, rel=0.02)


def test_flops_are_those_that_torch_counts(shape):
    model, length = tiny_qwen3(64, seed=0), 96
    model.set_attn_implementation("eager")  # its products are counted; fused attention is not
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros(2, length, dtype=torch.long))
    counted = counter.get_total_flops() / (2 * length)
    # torch counts every pair of positions; a causal model needs, and the estimate counts, those before the token
    assert estimate.flops_per_token(shape, length) == pytest.approx(counted, rel=0.01)


def test_lora_parameters_are_those_of_peft(shape):
    adapted = get_peft_model(
        tiny_qwen3(64, seed=0), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert estimate.lora_parameters(shape, 4) == trained


def test_training_memory_counts_the_tensors_that_are_there():
    model = tiny_qwen3(64, seed=0)
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    held = estimate.training_memory(shape_of(model.config), 8, dtype="float32")
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    states = sum(v.nbytes for state in optimizer.state.values() for v in state.values() if v.ndim)
    assert held.gradients * estimate.GIB == gradients
    assert held.optimizer * estimate.GIB == states
    assert held.weights * estimate.GIB == sum(p.nbytes for p in model.parameters())
    assert held.total == pytest.approx(held.weights + held.gradients + held.optimizer + held.activations)


def test_checkpointing_keeps_one_state_a_layer():
    """What autograd keeps between forward and backward, by storage, against the estimate's first part."""
    model, tokens = tiny_qwen3(64, seed=0, hidden=256, layers=8, heads=4), 512
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        states = model.base_model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
    assert states.last_hidden_state.requires_grad
    one_state = 4 * tokens * 256
    assert 8 * one_state <= sum(kept.values()) <= 1.5 * (8 + 2) * one_state


def test_stage_tokens_by_hand(shape):
    found = {stage.name: stage for stage in estimate.stages(shape, WORK, LENGTHS, GPUS["h100"])}
    assert found["init-reasoner"].trained == 300 * 130
    assert (found["sample-prior"].sampled, found["sample-prior"].read) == (400 * 100, 100 * 10)
    assert (found["verify"].sampled, found["verify"].read) == (800 * 2 * 20, 800 * 110)
    assert found["score"].read == 800 * 130
    forward = estimate.flops_per_token(shape, 65)
    assert found["train-reasoner"].flops == pytest.approx(3 * forward * 200 * 130)
    assert found["score"].hours == pytest.approx(forward * 800 * 130 / (989e12 * 0.4) / 3600)
    twice = {stage.name: stage for stage in estimate.stages(shape, WORK, LENGTHS, GPUS["h100"], gpus=2)}
    assert all(twice[name].hours == pytest.approx(found[name].hours / 2) for name in found)


def test_decoding_reads_weights_and_caches_at_every_step():
    shape = shape_of(qwen3_config("qwen3-8b"))
    lengths = Lengths(1000, 2000, 100, 4096)
    rate = estimate.decode_rate(shape, lengths, GPUS["h100"], 1.0)
    cache = 2 * 2 * 36 * 8 * 128 * 2000  # bytes, two numbers a position, layer and key-value head
    batch = int((72e9 - 2 * shape.parameters) / cache)
    assert rate == pytest.approx(batch * 3.35e12 / (2 * shape.parameters + batch * cache), rel=1e-6)
    with pytest.raises(ValueError, match=r"do not fit into 24 GB.*more memory"):
        estimate.decode_rate(shape, Lengths(100, 200_000, 100, 200_100), GPUS["rtx4090"], 0.5)


def test_sharding_divides_all_but_the_activations():
    shape = shape_of(qwen3_config("qwen3-4b"))
    one, eight = (estimate.training_memory(shape, 8192, gpus=gpus) for gpus in (1, 8))
    assert one.optimizer == pytest.approx(8 * eight.optimizer)
    assert one.activations == eight.activations
    adapter = estimate.training_memory(shape, 8192, trained=estimate.lora_parameters(shape, 16))
    assert adapter.optimizer < one.optimizer / 50
    assert adapter.weights > one.weights


def test_the_size_of_the_ledger_by_hand():
    assert estimate.ledger_bytes(WORK, LENGTHS) == 1200 * (12 * 100 + 8 * 10 + 8 * 20 * 3)


def test_names_and_folders_that_are_not_there(tmp_path, model):
    with pytest.raises(ValueError, match=r"no Qwen3 called 'qwen3-99b'.*qwen3-0.6b"):
        qwen3_config("qwen3-99b")
    with pytest.raises(ValueError, match=r"no model configuration"):
        local_config(tmp_path)
    model.config.save_pretrained(tmp_path)
    assert shape_of(local_config(tmp_path)) == shape_of(model.config)
