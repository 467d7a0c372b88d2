"""Sampling: what is drawn depends on the request alone, has the right distribution, and ends where it should."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
import torch
from drawn import chi_square, next_probabilities
from hypothesis import example, given
from hypothesis import strategies as st

from varcore.llm.sampling import Request, TransformersSampler, draw, uniform_numbers
from varcore.llm.scoring import score

BELOW_ONE = 1 - 2.0**-53  # the largest uniform number there is


@pytest.fixture
def make_sampler(make_model):
    def make(model=None, **settings) -> TransformersSampler:
        settings = {"temperature": 1.0, "max_tokens": 12, "stop": (3,), **settings}
        return TransformersSampler(make_model() if model is None else model, **settings)

    return make


@pytest.fixture
def small(make_model):
    """A model of twelve tokens: every token and every marker of two comes up often."""
    return make_model(seed=1, vocabulary=12)


# ---- a sample belongs to its request -----------------------------------------------------------------------------


def test_ids_do_not_depend_on_the_company_a_request_keeps(make_sampler, make_model):
    """Ids equal; log-probabilities within float32.  Batches round differently (1e-6 of a distribution's mass), so one
    of the 40 x 12 draws falls between two roundings with probability below 1e-3 on any one machine."""
    model, rng = make_model(), random.Random(0)
    prompts = [(5, 6), (7, 8), (9,), (1, 2, 4, 5, 6), (5, 6)]
    requests = [Request(rng.choice(prompts), rng.getrandbits(63)) for _ in range(40)]
    together = make_sampler(model).sample(requests)
    alone = [make_sampler(model).sample([request])[0] for request in requests]
    order = rng.sample(range(40), 40)
    shuffled = make_sampler(model, batch_size=7).sample([requests[i] for i in order])
    back = [shuffled[order.index(i)] for i in range(40)]
    for other in (alone, back, make_sampler(model, batch_size=1).sample(requests)):
        assert [sample.ids for sample in other] == [sample.ids for sample in together]
        assert [sample.stopped for sample in other] == [sample.stopped for sample in together]
        for ours, theirs in zip(other, together, strict=True):
            assert ours.log_probs == pytest.approx(theirs.log_probs, abs=1e-4)
    assert make_sampler(model).sample(requests) == together, "and the same call gives the same bits"


def test_a_shorter_limit_gives_the_beginning_of_the_same_sample(make_sampler, small):
    requests = [Request((5, 6), seed) for seed in range(50)]
    long = make_sampler(small, max_tokens=12).sample(requests)
    short = make_sampler(small, max_tokens=4).sample(requests)
    assert [sample.ids[:4] for sample in long] == [sample.ids for sample in short]


def test_a_group_is_not_one_rollout_copied(make_sampler):
    samples = make_sampler().sample([Request((5, 6), seed) for seed in range(64)])
    assert len({sample.ids for sample in samples}) > 60
    first = [sample.ids[0] for sample in samples]
    assert len(set(first)) > 20, "neighbouring seeds already differ in their first token"


def test_equal_seeds_after_different_prompts_are_not_in_step(make_sampler, small):
    """The same stream of uniforms meets other probabilities; seeds name the question all the same."""
    one, other = make_sampler(small).sample([Request((5, 6), 1), Request((7,), 1)])
    again, _ = make_sampler(small).sample([Request((5, 6), 1), Request((7,), 2)])
    assert one == again
    assert one.ids != other.ids


def test_no_requests_no_samples(make_sampler):
    assert make_sampler().sample([]) == []


def test_progress_counts_every_sample(make_sampler, small):
    finished = []
    make_sampler(small, batch_size=4, advance=finished.append).sample([Request((5,), seed) for seed in range(10)])
    assert sum(finished) == 10


# ---- the distribution --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.6])
def test_frequencies_follow_the_softmax_at_the_temperature(make_sampler, small, temperature):
    """First tokens, and second tokens after the commonest first: chi-square below the 1 - 1e-6 quantile (50.0 for 11
    degrees of freedom), so a false alarm in 2e-6 of runs.  That they would fail at another temperature is checked."""
    requests = [Request((5, 6), seed) for seed in range(6000)]
    sampler = make_sampler(small, temperature=temperature, max_tokens=2, stop=(99,))
    samples = sampler.sample(requests)
    firsts = Counter(sample.ids[0] for sample in samples)
    counts = [firsts[token] for token in range(12)]
    assert chi_square(counts, next_probabilities(small, (5, 6), temperature)) < 50.0
    assert chi_square(counts, next_probabilities(small, (5, 6), temperature * 1.3)) > 50.0
    common = firsts.most_common(1)[0][0]
    seconds = Counter(sample.ids[1] for sample in samples if sample.ids[0] == common)
    after = next_probabilities(small, (5, 6, common), temperature)
    assert chi_square([seconds[token] for token in range(12)], after) < 50.0


def test_a_very_low_temperature_is_greedy(make_sampler, small):
    samples = make_sampler(small, temperature=1e-5, max_tokens=8, stop=(99,)).sample(
        [Request((5, 6), seed) for seed in range(5)]
    )
    ids = [5, 6]
    for _ in range(8):
        probabilities = next_probabilities(small, tuple(ids), 1.0)
        ids.append(max(range(12), key=probabilities.__getitem__))
    assert {sample.ids for sample in samples} == {tuple(ids[2:])}
    assert samples[0].log_probs == pytest.approx([0.0] * 8, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_log_probs_are_the_scorers_at_the_same_temperature(make_sampler, make_model, temperature):
    """Cache against one pass over the whole: 1e-4, a float32 rounding of logits of size ten, divided by 0.5."""
    model = make_model()
    requests = [Request(prompt, seed) for prompt in ((5, 6), (7,), (1, 2, 4)) for seed in range(6)]
    samples = make_sampler(model, temperature=temperature).sample(requests)
    scores = score(model, [(r.prompt, s.ids) for r, s in zip(requests, samples, strict=True)], temperature=temperature)
    for sample, values in zip(samples, scores, strict=True):
        assert len(sample.log_probs) == len(sample.ids)
        assert list(sample.log_probs) == pytest.approx(values, abs=1e-4)


# ---- where a sample ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [(3,), (1, 2), (4, 4, 7)])
def test_a_sample_ends_with_its_first_stop_marker_or_at_the_limit(make_sampler, small, stop):
    samples = make_sampler(small, stop=stop, max_tokens=20).sample([Request((5,), seed) for seed in range(400)])
    assert {sample.stopped for sample in samples} == {True, False}
    size = len(stop)
    for sample in samples:
        ends = [end for end in range(size, len(sample.ids) + 1) if sample.ids[end - size : end] == stop]
        if sample.stopped:
            assert ends == [len(sample.ids)]
        else:
            assert ends == []
            assert len(sample.ids) == 20
        assert len(sample.log_probs) == len(sample.ids)


def test_a_marker_that_begins_in_the_prompt_does_not_stop(make_sampler, small):
    """The prompt ends with half a marker; drawing the other half first is no end.  Some 300 of 400 would be expected to
    do otherwise only if token 2 had probability 0."""
    samples = make_sampler(small, stop=(1, 2), max_tokens=3).sample([Request((5, 1), seed) for seed in range(400)])
    continued = [sample for sample in samples if sample.ids[0] == 2]
    assert continued
    assert all(len(sample.ids) == 3 or (sample.stopped and sample.ids[1:] == (1, 2)) for sample in continued)
    assert all(len(sample.ids) >= 2 for sample in samples)


def test_a_limit_of_one_token(make_sampler, small):
    samples = make_sampler(small, max_tokens=1).sample([Request((5,), seed) for seed in range(300)])
    assert {len(sample.ids) for sample in samples} == {1}
    assert all(sample.stopped == (sample.ids == (3,)) for sample in samples)
    assert {sample.stopped for sample in samples} == {True, False}


def test_a_marker_on_the_last_allowed_token_counts_as_stopped(make_sampler, small):
    reference = make_sampler(small, max_tokens=20).sample([Request((5,), seed) for seed in range(50)])
    for seed, sample in enumerate(reference):
        if sample.stopped:
            (again,) = make_sampler(small, max_tokens=len(sample.ids)).sample([Request((5,), seed)])
            assert again.ids == sample.ids
            assert again.stopped


@pytest.mark.parametrize(
    "bad", [{"temperature": 0.0}, {"temperature": -1.0}, {"max_tokens": 0}, {"stop": ()}], ids=lambda bad: str(bad)
)
def test_bad_settings_are_refused(make_sampler, bad):
    with pytest.raises(ValueError, match=next(iter(bad)) if "stop" not in bad else "stop marker"):
        make_sampler(**bad)


# ---- inverse-CDF draws -------------------------------------------------------------------------------------------

uniforms = st.one_of(st.sampled_from([0.0, 5e-324, 0.5, BELOW_ONE]), st.floats(0, BELOW_ONE))
logits = st.one_of(st.just(-math.inf), st.floats(-40, 40, width=32), st.sampled_from([-200.0, 0.0, 60.0]))


@given(st.lists(logits, min_size=1, max_size=30).filter(lambda row: max(row) > -math.inf), uniforms)
@example([-math.inf, 0.0, -math.inf], 0.0)
@example([-math.inf, 0.0, -math.inf], BELOW_ONE)
@example([0.0] * 7 + [-math.inf] * 5, BELOW_ONE)
@example([0.0] * 29 + [-200.0], BELOW_ONE)
def test_draw_inverts_the_distribution_function(row, uniform):
    token, log_prob = draw(torch.tensor([row], dtype=torch.float32), torch.tensor([uniform], dtype=torch.float64))
    index = token.item()
    assert 0 <= index < len(row)
    assert row[index] > -math.inf, "a token of probability zero"
    top = max(row)
    masses = [math.exp(value - top) for value in row]
    total = math.fsum(masses)
    assert log_prob.item() == pytest.approx(math.log(masses[index] / total), abs=1e-4, rel=1e-5)
    # the uniform lies in the token's part of [0, 1), up to float32 rounding of the probabilities
    low, high = math.fsum(masses[:index]) / total, math.fsum(masses[: index + 1]) / total
    assert low - 1e-5 <= uniform <= high + 1e-5


def test_draw_never_leaves_a_large_vocabulary():
    """151,936 tokens, Qwen3's number: the sum of the probabilities is farthest from one here."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(8, 151_936, generator=generator) * 3
    wide[:, -1000:] = -math.inf
    token, log_prob = draw(wide, torch.full((8,), BELOW_ONE, dtype=torch.float64))
    assert (token < 151_936 - 1000).all()
    assert log_prob.isfinite().all()


def test_uniforms_are_uniform_and_unrelated_from_step_to_step_and_seed_to_seed():
    """20,000 numbers each: mean, variance and lag correlations within z = 5 of their values (6e-7 each)."""
    grid = np.stack([uniform_numbers(np.arange(200, dtype=np.uint64), step) for step in range(100)])  # [steps, seeds]
    assert grid.min() >= 0.0
    assert grid.max() < 1.0
    assert len(np.unique(grid)) == grid.size
    centred, size = grid - 0.5, grid.size
    assert abs(centred.mean()) < 5 * math.sqrt(1 / 12 / size)
    assert abs((centred**2).mean() - 1 / 12) < 5 * math.sqrt(1 / 180 / size)
    for pairs in (centred[1:] * centred[:-1], centred[:, 1:] * centred[:, :-1], centred[1:, 1:] * centred[:-1, :-1]):
        assert abs(pairs.mean()) < 5 / 12 / math.sqrt(pairs.size)


def test_the_largest_hash_is_below_one():
    assert float(np.uint64(2**64 - 1) >> np.uint64(11)) * 2.0**-53 == BELOW_ONE < 1.0
