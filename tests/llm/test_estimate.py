"""The estimates against counts by somebody else: torch's FLOP counter, peft's adapters, the tensors that are there."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3ForCausalLM

from varcore.llm import estimate, shapes
from varcore.llm.estimate import GPUS
from varcore.llm.planned import Lengths
from varcore.llm.presets import override, preset
from varcore.llm.shapes import QWEN3, local_config, qwen3_config, shape_of
from varcore.llm.tiny import tiny_qwen3

CHANGES = {"model": "somewhere", "methods": ["sft", "vr"], "num_curated": 100, "num_answer_only": 0, "num_test": 10}
CONFIG = override(preset("tiny"), CHANGES)
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


@pytest.mark.parametrize("tied", [True, False])
def test_flops_are_those_that_torch_counts(tied):
    length, config = 96, tiny_qwen3(64, seed=0).config
    config.tie_word_embeddings = tied
    model = Qwen3ForCausalLM(config)
    model.set_attn_implementation("eager")  # its products are counted; fused attention is not
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros(2, length, dtype=torch.long))
    counted = counter.get_total_flops() / (2 * length)
    # torch counts every pair of positions; a causal model needs, and the estimate counts, those before the token
    assert shapes.flops_per_token(shape_of(config), length) == pytest.approx(counted, rel=0.01)


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
    assert held.total == pytest.approx(held.weights + held.gradients + held.optimizer + held.working)


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


def test_flops_and_hours_of_the_stages_by_hand(shape):
    found = {stage.name: stage for stage in estimate.stages(shape, CONFIG, LENGTHS, GPUS["h100"])}
    forward = shapes.flops_per_token(shape, 65)
    assert found["train-reasoner-vr"].flops == pytest.approx(3 * forward * 400 * 32 * 130)
    assert found["score-1"].hours == pytest.approx(forward * 800 * 130 / (989e12 * 0.4) / 3600)
    twice = {stage.name: stage for stage in estimate.stages(shape, CONFIG, LENGTHS, GPUS["h100"], gpus=2)}
    assert all(twice[name].hours == pytest.approx(found[name].hours / 2) for name in found)


def test_frozen_weights_have_no_gradient_of_their_own(shape):
    """4 FLOPs a number that is passed, 2 a number that learns; attention's products have no weights."""
    adapter, attention = estimate.lora_parameters(shape, 4), 4 * shape.layers * shape.attention_width * 50
    expected = 4 * (shape.parameters + adapter) + 2 * adapter + 3 * attention
    assert shapes.training_flops_per_token(shape, 50, adapter) == expected
    assert shapes.training_flops_per_token(shape, 50) == 6 * shape.parameters + 3 * attention
    found = {s.name: s for s in estimate.stages(shape, override(CONFIG, {"lora_rank": 4}), LENGTHS, GPUS["h100"])}
    per_token = shapes.training_flops_per_token(shape, 65, adapter)
    assert found["train-reasoner-vr"].flops == pytest.approx(per_token * 400 * 32 * 130)


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
    one, eight = (estimate.training_memory(shape, 20_480, gpus=gpus) for gpus in (1, 8))
    assert one.optimizer == pytest.approx(8 / 2 * eight.optimizer), "kept in float32 where it is sharded"
    activations = estimate.activation_bytes(shape, 20_480, dtype="bfloat16", head_learns=True)
    assert eight.working * estimate.GIB == activations
    assert one.working * estimate.GIB == max(activations, 2 * shape.parameters)


def test_one_of_several_adapters_learns():
    shape = shape_of(qwen3_config("qwen3-4b"))
    numbers = estimate.lora_parameters(shape, 16)
    held = estimate.training_memory(shape, 8192, adapter=numbers, adapters=3)
    assert held.weights * estimate.GIB == 2 * (shape.parameters + 3 * numbers)
    assert held.gradients * estimate.GIB == 2 * numbers
    assert held.optimizer * estimate.GIB == 4 * numbers


def test_disk_by_hand(shape):
    """pi0, q1, vr and sft; 2,000 steps save twice and more, so that one checkpoint is written beside another."""
    config = override(CONFIG, {"reasoner": {"steps": 2000}})
    needed = estimate.disk(config, shape, LENGTHS)
    assert needed.models == 4 * 4 * shape.parameters
    assert needed.checkpoints == 2 * 3 * 4 * shape.parameters
    row = 12 * 100 + 4 * (10 + 10 + 20) + 4 * 20 * 5 + 4 * 10 + 200  # prompts with and without hint; N = 2
    assert needed.tables == 100 * 16 * row + 10 * 8 * 3 * (8 * 120 + 4 * 10 + 200)
    assert needed.total == needed.models + needed.checkpoints + needed.tables
    assert estimate.disk(config, shape, LENGTHS, gpus=2).models == needed.models
    short = override(config, {part: {"steps": 10} for part in ("initial", "posterior", "reasoner")})
    assert estimate.disk(short, shape, LENGTHS).checkpoints == 0
    adapted = estimate.disk(override(config, {"lora_rank": 4}), shape, LENGTHS)
    assert adapted.models == 4 * 4 * estimate.lora_parameters(shape, 4)


def test_names_and_folders_that_are_not_there(tmp_path, model):
    with pytest.raises(ValueError, match=r"no Qwen3 called 'qwen3-99b'.*qwen3-0.6b"):
        qwen3_config("qwen3-99b")
    with pytest.raises(ValueError, match=r"no model configuration"):
        local_config(tmp_path)
    model.config.save_pretrained(tmp_path)
    assert shape_of(local_config(tmp_path)) == shape_of(model.config)
