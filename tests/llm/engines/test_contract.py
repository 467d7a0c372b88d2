"""One contract for every sampler: the same request in, the same kind of record out."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from drawn import chi_square, next_probabilities

from varcore.llm.engines.drafts import EngineError
from varcore.llm.sampling import Request, Sample, Sampler
from varcore.llm.scoring import score

FLOAT32 = 1e-4  # between two ways to compute a log-probability from logits of size ten, divided by 0.5


def mixed_requests(count: int) -> list[Request]:
    """Prompts of 1 to 40 tokens, in no order, with 63-bit seeds."""
    rng = random.Random(0)
    return [
        Request(tuple(rng.randrange(12) for _ in range(rng.randint(1, 40))), rng.getrandbits(63)) for _ in range(count)
    ]


def ids_of(samples: list[Sample]) -> list[tuple[int, ...]]:
    return [sample.ids for sample in samples]


def test_every_engine_is_a_sampler(make_sampler):
    assert isinstance(make_sampler(), Sampler)
    assert make_sampler().sample([]) == []


# ---- what is recorded --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_log_probs_are_the_scorers_of_the_sampled_ids_at_the_temperature(make_sampler, model, temperature):
    """In the order of the requests, too: another prompt's sample would score otherwise by far."""
    requests = mixed_requests(60)
    samples = make_sampler(temperature=temperature).sample(requests)
    scores = score(model, [(r.prompt, s.ids) for r, s in zip(requests, samples, strict=True)], temperature=temperature)
    for sample, values in zip(samples, scores, strict=True):
        assert list(sample.log_probs) == pytest.approx(values, abs=FLOAT32)


@pytest.mark.parametrize("stop", [(3,), (1, 2), (4, 4, 7)])
def test_a_sample_ends_with_its_first_stop_marker_or_at_the_limit(make_sampler, stop):
    """Token 5 is the model's own end of sequence, and no end here."""
    samples = make_sampler(stop=stop, max_tokens=20).sample([Request((5,), seed) for seed in range(300)])
    size = len(stop)
    for sample in samples:
        ends = [end for end in range(size, len(sample.ids) + 1) if sample.ids[end - size : end] == stop]
        assert ends == ([len(sample.ids)] if sample.stopped else [])
        assert sample.stopped or len(sample.ids) == 20
        assert len(sample.log_probs) == len(sample.ids)
    assert {sample.stopped for sample in samples} == {True, False}
    assert any(5 in sample.ids[:-1] for sample in samples)


def test_a_marker_that_begins_in_the_prompt_does_not_stop(make_sampler):
    samples = make_sampler(stop=(1, 2), max_tokens=3).sample([Request((5, 1), seed) for seed in range(200)])
    continued = [sample for sample in samples if sample.ids[0] == 2]
    assert continued
    assert all(len(sample.ids) == 3 for sample in continued)


def test_a_limit_of_one_token_is_flagged_unless_it_is_the_marker(make_sampler):
    samples = make_sampler(max_tokens=1).sample([Request((5,), seed) for seed in range(200)])
    assert {(len(sample.ids), sample.stopped == (sample.ids == (3,))) for sample in samples} == {(1, True)}
    assert {sample.stopped for sample in samples} == {True, False}


def test_more_prompt_than_fits_one_step_is_read_whole(make_sampler, model):
    """50 x 400 tokens: several times what vLLM reads at once, so prompts are put off or cut, and must not end it."""
    rng = random.Random(2)
    requests = [Request(tuple(rng.randrange(12) for _ in range(400)), seed) for seed in range(50)]
    samples = make_sampler(max_tokens=4, stop=(0, 0)).sample(requests)
    scores = score(model, [(r.prompt, s.ids) for r, s in zip(requests, samples, strict=True)])
    for sample, values in zip(samples, scores, strict=True):
        assert list(sample.log_probs) == pytest.approx(values, abs=FLOAT32)


# ---- random streams ----------------------------------------------------------------------------------------------


def test_a_group_is_not_one_rollout_copied_and_can_be_drawn_again(make_sampler):
    """16 seeds in a row and 16 that differ in the high bits only, limit 24: two alike by chance in 1e-6 of runs."""
    requests = [Request((5, 6), seed) for seed in range(16)] + [Request((5, 6), seed << 48) for seed in range(1, 17)]
    sampler = make_sampler(stop=(0, 0, 0, 0), max_tokens=24)
    samples = sampler.sample(requests)
    assert len(set(ids_of(samples))) == 32
    assert ids_of(sampler.sample(requests)) == ids_of(samples)


def test_a_sample_belongs_to_its_request_whatever_the_order(make_sampler):
    """Batches round differently (1e-6 of a distribution's mass): one of 60 x 12 draws changes in 1e-3 of machines."""
    requests = mixed_requests(60)
    order = random.Random(1).sample(range(60), 60)
    samples = make_sampler().sample(requests)
    shuffled = make_sampler().sample([requests[i] for i in order])
    assert [samples[i].ids for i in order] == ids_of(shuffled)


def test_frequencies_follow_the_softmax_at_the_temperature(make_sampler, model):
    """Chi-square of first tokens, and of second ones after the commonest first, below the 1 - 1e-6 quantile (50.0 for
    11 degrees of freedom): a false alarm in 2e-6 of runs.  The marker ends with the commonest token, so engines that
    draw in segments draw the second token in a segment of its own.  Another temperature would be found out."""
    temperature = 1.3
    first = next_probabilities(model, (5, 6), temperature)
    common = max(range(12), key=first.__getitem__)
    sampler = make_sampler(temperature=temperature, max_tokens=2, stop=(common, common, common))
    samples = sampler.sample([Request((5, 6), seed) for seed in range(2000)])
    counts = Counter(sample.ids[0] for sample in samples)
    assert chi_square([counts[token] for token in range(12)], first) < 50.0
    assert chi_square([counts[token] for token in range(12)], next_probabilities(model, (5, 6), temperature * 1.4)) > 50
    seconds = Counter(sample.ids[1] for sample in samples if sample.ids[0] == common)
    after = next_probabilities(model, (5, 6, common), temperature)
    assert chi_square([seconds[token] for token in range(12)], after) < 50.0


# ---- what is refused ---------------------------------------------------------------------------------------------


def test_progress_counts_every_sample(make_sampler):
    finished = []
    make_sampler(advance=finished.append).sample(mixed_requests(20))
    assert sum(finished) == 20


@pytest.mark.parametrize("length", [501, 512, 600])
def test_a_prompt_and_limit_beyond_the_context_are_refused_and_nothing_is_drawn(make_sampler, length):
    finished = []
    with pytest.raises(ValueError, match=rf"Request 1: a prompt of {length} tokens and 12 more .* context of 512"):
        make_sampler(advance=finished.append).sample([Request((5,), 1), Request((5,) * length, 2)])
    assert finished == []


def test_the_longest_prompt_that_fits_is_drawn_whole(make_sampler):
    (sample,) = make_sampler(stop=(0, 0, 0, 0)).sample([Request((5,) * 500, 1)])
    assert len(sample.ids) == 12


def test_an_empty_prompt_is_refused(make_sampler):
    with pytest.raises(ValueError, match="Request 0 has an empty prompt"):
        make_sampler().sample([Request((), 1)])


@pytest.mark.parametrize("prompt", [(5, 12), (5, -1)])
def test_ids_that_the_model_does_not_know_are_refused_and_the_engine_lives_on(make_sampler, prompt):
    with pytest.raises((ValueError, EngineError), match=r"the model knows 0 to 11|refused a request with status 400"):
        make_sampler().sample([Request((5,), 1), Request(prompt, 2)])
    assert len(make_sampler().sample([Request((5,), 1)])) == 1


@pytest.mark.parametrize("bad", [{"temperature": 0.0}, {"max_tokens": 0}, {"stop": ()}], ids=str)
def test_bad_settings_are_refused(make_sampler, bad):
    with pytest.raises(ValueError, match="temperature > 0, max_tokens >= 1 and a stop marker"):
        make_sampler(**bad)
