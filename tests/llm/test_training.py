"""Dr. SFT: gradients against a formula written out, the order of examples, interruption, and who trains what."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import random
from collections import Counter

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from varcore.llm import training
from varcore.llm.training import (
    Example,
    ResponseLogProbs,
    TrainSettings,
    batches,
    dr_sft_loss,
    finetune,
    loss_constant,
    train,
)

EXAMPLES = [
    Example((5, 6), (7, 8, 9), 1.0),
    Example((5,), (1,), 0.25),
    Example((9, 9, 9, 2), (4, 4), 2.0),
    Example((1, 5), (9, 2, 6, 5, 3, 5, 8), 0.5),
    Example((3, 1, 4), (), 1.0),
    Example((0, 2), (5, 5, 5, 5), 1e-3),
]
SHORT = TrainSettings(8, batch_size=3, save_every=3)
PLAIN = dataclasses.replace(SHORT, muon=False)


@pytest.fixture(autouse=True)
def exact_norm(monkeypatch):
    """Qwen3's norm computes in float32 whatever the model's dtype; the float64 tests here need one that does not."""
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    def forward(self, hidden):
        return self.weight * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

    monkeypatch.setattr(Qwen3RMSNorm, "forward", forward)


@pytest.fixture
def model(make_model):
    return make_model(dtype=torch.float64, vocabulary=20)


def by_hand(model, examples, constant, temperature=1.0):
    """Loss and gradients: one example at a time, the whole matrix of log-probabilities, the sum of Dr. SFT."""
    model.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    for example in examples:
        logits = model(torch.tensor([example.prompt + example.response])).logits[0]
        log_probs = (logits / temperature).log_softmax(-1)
        for t, token in enumerate(example.response):
            total = total - example.weight * log_probs[len(example.prompt) + t - 1, token] / constant
    total.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return total.item(), gradients


def gradients_of(model, examples, constant, size):
    model.zero_grad()
    settings = dataclasses.replace(PLAIN, micro_batch_size=size)
    loss = training._backward(Accelerator(), ResponseLogProbs(model), examples, constant, settings)
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return loss, gradients


def assert_same(ours, theirs, tolerance=1e-12):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def weights_of(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


# ---- the gradient ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 6, 100])
def test_the_gradient_is_the_formulas_however_the_batch_is_cut(model, size):
    loss, expected = by_hand(model, EXAMPLES, 5.0)
    ours, gradients = gradients_of(model, EXAMPLES, 5.0, size)
    assert ours == pytest.approx(loss, rel=1e-12)
    assert max(gradient.abs().max() for gradient in expected) > 1e-3
    assert_same(gradients, expected)


def test_a_sequences_share_does_not_depend_on_the_lengths_of_the_others(model):
    """A loss divided by the batch's token count would fail here."""
    first = EXAMPLES[0]
    _, alone = gradients_of(model, [first], 5.0, 8)
    for length in (1, 5, 30):
        other = Example((1, 2), tuple(random.Random(length).choices(range(20), k=length)))
        _, together = gradients_of(model, [first, other], 5.0, 8)
        _, others = gradients_of(model, [other], 5.0, 8)
        assert_same([a - b for a, b in zip(together, others, strict=True)], alone)


def test_prompts_are_not_trained_on(model):
    """Two prompts that the first response token cannot tell apart would be needed to see it in the loss; here it is
    the gradient: with an empty response there is none."""
    _, gradients = gradients_of(model, [EXAMPLES[4], Example((1,), (2,), 0.0)], 5.0, 8)
    assert all(not gradient.any() for gradient in gradients)


def test_loss_by_hand():
    log_probs = torch.tensor([-1.0, -2.0, -4.0], requires_grad=True)
    weights = torch.tensor([0.5, 0.5, 1.0], requires_grad=True)
    loss = dr_sft_loss(log_probs, weights, 4.0)
    loss.backward()
    assert loss.item() == pytest.approx(5.5 / 4)
    assert log_probs.grad.tolist() == pytest.approx([-0.125, -0.125, -0.25])
    assert weights.grad is None, "weights are constants"


def test_constant_by_hand():
    examples = [Example((1,), (2, 3, 4), 0.5), Example((1,), (2,), 1.0)]
    assert loss_constant(examples, 8) == pytest.approx(8 * (1.5 + 1.0) / 2)


def test_a_uniform_model_begins_at_log_vocabulary(make_model):
    """The constant makes the loss a mean over tokens when all weights are one and all responses equally long."""
    model = make_model(vocabulary=20)
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    examples = [Example((token,), (token, 1, token)) for token in range(7)]
    log = finetune(model, examples, TrainSettings(1, batch_size=4), 0)
    assert log.losses[0] == pytest.approx(math.log(20), rel=1e-6)


def test_micro_batches_do_not_change_a_whole_training(make_model):
    """With AdamW; Muon rounds to bfloat16 inside, which turns a last digit into a third."""
    results = []
    for size in (None, 1, 2):
        model = make_model(dtype=torch.float64, vocabulary=20)
        log = finetune(model, EXAMPLES, dataclasses.replace(PLAIN, micro_batch_size=size), 0)
        results.append((log.losses, weights_of(model)))
    for losses, weights in results[1:]:
        assert losses == pytest.approx(results[0][0], rel=1e-9)
        assert_same(weights.values(), results[0][1].values(), 1e-8)


def test_doubling_all_weights_changes_nothing(make_model):
    """The constant is computed from the same weights; doubling is exact in binary, so to the last bit."""
    logs, weights = [], []
    for factor in (1.0, 2.0):
        model = make_model(vocabulary=20)
        examples = [dataclasses.replace(example, weight=factor * example.weight) for example in EXAMPLES]
        logs.append(finetune(model, examples, SHORT, 0))
        weights.append(weights_of(model))
    assert logs[0] == logs[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_weights_matter(make_model):
    logs = []
    for weight in (1.0, 3.0):
        examples = [dataclasses.replace(EXAMPLES[0], weight=weight), *EXAMPLES[1:]]
        logs.append(finetune(make_model(vocabulary=20), examples, SHORT, 0))
    assert logs[0].losses != logs[1].losses


def test_examples_of_weight_zero_are_left_out(make_model):
    """To the last bit: they take no place in a batch and no part in the constant or the count of tokens."""
    useless = [Example((1, 2), (3,) * 9, 0.0), Example((4,), (5,), 0.0)]
    models = [make_model(vocabulary=20) for _ in range(2)]
    logs = [
        finetune(models[0], EXAMPLES, SHORT, 0),
        finetune(models[1], [useless[0], *EXAMPLES, useless[1]], SHORT, 0),
    ]
    assert logs[0] == logs[1]
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_training_learns(make_model):
    model = make_model(vocabulary=20)
    examples = [Example((token,), ((token * 3) % 20, (token + 1) % 20)) for token in range(20)]
    log = finetune(model, examples, TrainSettings(60, batch_size=20, learning_rate=1e-2), 0)
    assert len(log.losses) == len(log.gradient_norms) == 60
    assert log.losses[-1] < 0.3 * log.losses[0]
    assert log.tokens == 60 * 20 * 3
    with torch.no_grad():
        predicted = model(torch.arange(20)[:, None]).logits[:, -1].argmax(-1)
    assert (predicted == torch.arange(20) * 3 % 20).float().mean() > 0.9


def test_the_seed_decides_the_order_and_nothing_else(make_model):
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(runs))  # the caller's stream must not matter
        model = make_model(vocabulary=20)
        runs.append((finetune(model, EXAMPLES, SHORT, seed), weights_of(model)))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[0][1][name], runs[1][1][name]) for name in runs[0][1])
    assert runs[0][0].losses != runs[2][0].losses


# ---- the learning rate, the clip ---------------------------------------------------------------------------------


def test_gradients_are_clipped_and_the_norm_before_is_logged(make_model):
    """The first step of AdamW does not see the gradient's scale, so the clip is looked for in the optimiser's state."""
    model = make_model(vocabulary=20)
    seen = []
    original = training._optimizers

    def remember(*arguments):
        seen.extend(original(*arguments))
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_optimizers", remember)
        settings = dataclasses.replace(PLAIN, steps=1, clip=1e-3, betas=(0.0, 0.95), batch_size=6)
        log = finetune(model, EXAMPLES, settings, 0)
    (adamw,) = seen
    norm = math.sqrt(sum(state["exp_avg"].square().sum().item() for state in adamw.state.values()))
    assert norm == pytest.approx(1e-3, rel=1e-3)
    assert log.gradient_norms[0] > 1e-2


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 10), (0.05, 40), (0.25, 8), (1.0, 5)])
def test_learning_rate_warms_up_then_falls(make_model, warmup, steps):
    """As the optimiser sees it at each step, against the formula: linear, then a half cosine."""
    rates = []

    class Spy(torch.optim.AdamW):
        def step(self, *arguments, **keywords):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments, **keywords)

    settings = dataclasses.replace(PLAIN, steps=steps, warmup=warmup, learning_rate=0.5, batch_size=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Spy)
        finetune(make_model(vocabulary=20), EXAMPLES[1:2], settings, 0)
    ramp = max(1, round(warmup * steps))
    for step, rate in enumerate(rates):
        if step < ramp:
            assert rate == pytest.approx(0.5 * (step + 1) / ramp)
        else:
            assert rate == pytest.approx(0.25 * (1 + math.cos(math.pi * (step - ramp) / (steps - ramp))))
    assert len(rates) == steps


# ---- batches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size", "window"), [(10, 3, 16), (32, 4, 2), (5, 5, 1), (3, 8, 4), (40, 8, 1)])
def test_every_epoch_takes_each_example_once(count, size, window):
    """Within any whole number of windows an example has been used floor or ceil of (draws / examples) times."""
    examples = [Example((1,), (2,) * (1 + index * 7 % 5)) for index in range(count)]
    stream = batches(examples, size, 0, window=window)
    window = max(1, min(window, count // size))  # a window is never longer than an epoch
    used: Counter[int] = Counter()
    for turn in range(1, 9):
        block = list(itertools.islice(stream, window))
        assert all(len(batch) == size for batch in block)
        used.update(index for batch in block for index in batch)
        low, high = turn * size * window // count, -(-turn * size * window // count)
        assert all(low <= used[index] <= high for index in range(count))
    assert set(used) == set(range(count))


def test_a_window_of_a_whole_epoch_is_that_epoch():
    block = list(itertools.islice(batches([Example((1,), (2,))] * 12, 4, 0, window=3), 3))
    assert sorted(index for batch in block for index in batch) == list(range(12))


def test_a_small_set_does_not_fill_a_batch_with_one_example():
    """Sorted over many epochs at once, the copies of an example would stand side by side."""
    examples = [Example((1,), (2,) * length) for length in range(1, 13)]
    for batch in itertools.islice(batches(examples, 4, 0), 50):
        assert len(set(batch)) == 4


def test_batches_are_of_similar_length_and_in_random_order():
    rng = random.Random(0)
    examples = [Example((1,), (2,) * rng.randint(1, 100)) for _ in range(128)]
    found = list(itertools.islice(batches(examples, 8, 0, window=16), 16))
    lengths = [[examples[i].num_tokens for i in batch] for batch in found]
    spread = sum(max(batch) - min(batch) for batch in lengths) / len(lengths)
    assert spread < 15, "random batches of eight would spread over some 78 of 100 tokens"
    assert [sum(batch) for batch in lengths] != sorted(map(sum, lengths))
    assert found == list(itertools.islice(batches(examples, 8, 0, window=16), 16))
    assert found != list(itertools.islice(batches(examples, 8, 1, window=16), 16))


# ---- interruption ------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


def stop_after(steps: int):
    """An `advance` that breaks off once so many steps were made in this process."""
    made = {"steps": -1}  # the first call reports where training starts

    def advance(amount: int) -> None:
        made["steps"] += amount if made["steps"] >= 0 else 1
        if made["steps"] >= steps:
            raise Interrupted

    return advance


@pytest.mark.parametrize("muon", [True, False])
@pytest.mark.parametrize("stops", [(1,), (3,), (5,), (7,), (4, 2), (4, 1, 1, 3)])
def test_an_interrupted_training_ends_with_the_same_bits(make_model, tmp_path, muon, stops):
    """Broken off anywhere, any number of times, each time by a process that starts from the untrained model."""
    settings = dataclasses.replace(SHORT, muon=muon, micro_batch_size=2)
    whole = make_model(vocabulary=20)
    expected = finetune(whole, EXAMPLES, settings, 0)
    for stop in stops:
        with pytest.raises(Interrupted):
            finetune(make_model(vocabulary=20), EXAMPLES, settings, 0, checkpoints=tmp_path, advance=stop_after(stop))
    model = make_model(vocabulary=20)
    assert finetune(model, EXAMPLES, settings, 0, checkpoints=tmp_path) == expected
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, dict(whole.named_parameters())[name]), name


def test_a_resumed_training_does_only_what_is_left(make_model, tmp_path):
    with pytest.raises(Interrupted):
        finetune(make_model(vocabulary=20), EXAMPLES, SHORT, 0, checkpoints=tmp_path, advance=stop_after(7))
    advanced = []
    finetune(make_model(vocabulary=20), EXAMPLES, SHORT, 0, checkpoints=tmp_path, advance=advanced.append)
    assert advanced == [6, 1, 1], "saved after steps 3 and 6 of 8"


def test_without_a_folder_nothing_is_written(make_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finetune(make_model(vocabulary=20), EXAMPLES, SHORT, 0)
    assert list(tmp_path.iterdir()) == []


# ---- examples that a callable gives ------------------------------------------------------------------------------


def signed(step: int) -> list[Example]:
    """Examples of both signs, others at every step."""
    rng = random.Random(step)
    return [dataclasses.replace(example, weight=rng.uniform(-2, 2)) for example in EXAMPLES]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_gradient_of_weights_of_both_signs_at_a_temperature(model, monkeypatch, temperature):
    """That of a policy gradient, A log pi summed over tokens, against one example at a time."""
    loss, expected = by_hand(model, signed(0), 5.0, temperature)
    found = []
    monkeypatch.setattr(training, "_update", lambda *_: found.append([p.grad.clone() for p in model.parameters()]))
    settings = dataclasses.replace(PLAIN, steps=1, clip=math.inf, micro_batch_size=4)
    log = train(model, lambda step: (signed(step), {}), 5.0, settings, temperature=temperature)
    assert log.losses == pytest.approx([loss], rel=1e-12)
    assert max(gradient.abs().max() for gradient in expected) > 1e-3
    assert_same(found[0], expected)


@pytest.mark.parametrize("muon", [True, False])
def test_a_step_without_examples_changes_nothing(make_model, muon):
    """Not even by the momentum of the steps before it, or by weight decay."""
    model, seen = make_model(vocabulary=20), []

    def draw(step):
        seen.append(weights_of(model))
        return ([] if step == 3 else signed(step)), {}

    log = train(model, draw, 5.0, dataclasses.replace(SHORT, muon=muon, weight_decay=0.1))
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(seen)]
    assert same == [False, False, False, True, False, False, False]
    assert (log.losses[3], log.gradient_norms[3]) == (0.0, 0.0)


@pytest.mark.parametrize(("stops", "left"), [((2,), 0), ((4,), 3), ((4, 1, 1), 3), ((4, 4), 6)])
def test_examples_that_depend_on_the_model_are_the_same_after_an_interruption(make_model, tmp_path, stops, left):
    """With what was noted of every step; steps that are done are not drawn again."""
    drawn = []

    def run(model, **options):
        def draw(step):
            drawn.append(step)
            size = sum(float(parameter.detach().abs().sum()) for parameter in model.parameters())
            weights = [math.sin(1e3 * size + place) for place in range(len(EXAMPLES))]
            examples = [dataclasses.replace(e, weight=w) for e, w in zip(EXAMPLES, weights, strict=True)]
            return examples, {"size": size}

        return train(model, draw, 5.0, SHORT, **options)

    whole = make_model(vocabulary=20)
    expected = run(whole)
    assert drawn == list(range(8))
    assert len(set(expected.notes["size"])) == 8
    for stop in stops:
        with pytest.raises(Interrupted):
            run(make_model(vocabulary=20), checkpoints=tmp_path, advance=stop_after(stop))
    drawn.clear()
    model = make_model(vocabulary=20)
    assert run(model, checkpoints=tmp_path) == expected
    assert drawn == list(range(left, 8))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, dict(whole.named_parameters())[name]), name


# ---- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("examples", [[], [Example((1,), (2,), 0.0)], [Example((1,), (), 1.0)]])
def test_nothing_to_learn_from_is_an_error_with_a_way_out(model, examples):
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"nothing to learn from.*mix in curated"):
        finetune(model, examples, SHORT, 0)
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("weight", [-1.0, math.inf, -math.inf, math.nan])
def test_impossible_weights_are_errors(model, weight):
    with pytest.raises(ValueError, match="finite and >= 0"):
        finetune(model, [*EXAMPLES, Example((1,), (2,), weight)], SHORT, 0)


def test_an_empty_prompt_is_an_error(model):
    with pytest.raises(ValueError, match="every prompt needs at least one token"):
        finetune(model, [*EXAMPLES, Example((), (2,))], SHORT, 0)


# ---- who trains what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_muon_takes_the_blocks_matrices_and_adamw_all_else_once(make_model, tied):
    model = make_model(vocabulary=20)
    if not tied:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    optimizers = training._optimizers(model, SHORT)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    owned = {
        type(optimizer).__name__: [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
        for optimizer in optimizers
    }
    expected = {
        f"model.layers.{layer}.{part}.weight"
        for layer in range(2)
        for part in (
            *(f"self_attn.{x}_proj" for x in "qkvo"),
            *(f"mlp.{x}_proj" for x in ("gate", "up", "down")),
        )
    }
    assert set(owned["Muon"]) == expected
    assert sorted(owned["Muon"] + owned["AdamW"]) == sorted(names.values()), "each parameter exactly once"
    assert owned["AdamW"].count("model.embed_tokens.weight") == 1
    assert ("lm_head.weight" in owned["AdamW"]) == (not tied)


def test_without_muon_adamw_takes_everything(make_model):
    (adamw,) = training._optimizers(make_model(vocabulary=20), PLAIN)
    assert isinstance(adamw, torch.optim.AdamW)
    model = make_model(vocabulary=20)
    (adamw,) = training._optimizers(model, PLAIN)
    assert {id(p) for group in adamw.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}


def test_settings_reach_the_optimisers(make_model):
    settings = dataclasses.replace(
        SHORT, learning_rate=0.125, muon_learning_rate=0.25, betas=(0.5, 0.75), weight_decay=0.0625
    )
    adamw, muon = training._optimizers(make_model(vocabulary=20), settings)
    assert (adamw.param_groups[0]["lr"], muon.param_groups[0]["lr"]) == (0.125, 0.25)
    assert adamw.param_groups[0]["betas"] == (0.5, 0.75)
    assert {group["weight_decay"] for o in (adamw, muon) for group in o.param_groups} == {0.0625}


def test_copies_train_apart(make_model):
    """A stage trains a deep copy: the tied head must stay tied in it, and the original must not move."""
    original = make_model(vocabulary=20)
    before = weights_of(original)
    twin = copy.deepcopy(original)
    finetune(twin, EXAMPLES, SHORT, 0)
    assert twin.get_output_embeddings().weight is twin.get_input_embeddings().weight
    assert all(torch.equal(before[name], parameter) for name, parameter in original.named_parameters())
    assert not torch.equal(twin.get_input_embeddings().weight, original.get_input_embeddings().weight)
