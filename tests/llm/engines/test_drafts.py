"""Segments of a sample: what is asked for, what is taken, and what is refused."""

from __future__ import annotations

import math

import pytest

from varcore.llm.engines.drafts import Draft, EngineError, check_vllm_settings, fold_seed
from varcore.llm.sampling import Request


@pytest.fixture
def draft() -> Draft:
    return Draft(Request((5, 6), 7), temperature=0.7, max_tokens=5, stop=(1, 2))


def test_a_sample_in_three_segments(draft):
    asked = []
    for ids in ([4, 2], [2], [1, 2]):
        asked.append((draft.prompt, draft.parameters["max_tokens"], draft.parameters["seed"]))
        assert not draft.finished
        draft.extend(ids, [-0.5] * len(ids))
    assert [(prompt, room) for prompt, room, _ in asked] == [([5, 6], 5), ([5, 6, 4, 2], 3), ([5, 6, 4, 2, 2], 2)]
    assert len({seed for _, _, seed in asked}) == 3, "each segment has a stream of its own"
    assert draft.finished
    assert (draft.sample().ids, draft.sample().stopped) == ((4, 2, 2, 1, 2), True)


def test_only_the_marker_ends_a_sample(draft):
    parameters = draft.parameters
    assert parameters["stop_token_ids"] == [2]
    assert parameters["ignore_eos"] is True
    assert (parameters["temperature"], parameters["top_p"], parameters["top_k"]) == (0.7, 1.0, 0)


def test_the_limit_ends_a_sample_unclosed(draft):
    draft.extend([4, 4, 4, 4, 1], [-1.0] * 5)
    assert draft.finished
    assert not draft.sample().stopped


def test_half_a_marker_in_the_prompt_is_no_marker():
    draft = Draft(Request((5, 1), 7), temperature=1.0, max_tokens=5, stop=(1, 2))
    draft.extend([2], [-1.0])
    assert not draft.stopped


@pytest.mark.parametrize("ids", [[], [4], [2, 4, 4, 4, 4], [4, 2, 2], [4] * 6])
def test_a_segment_that_ends_elsewhere_is_refused(draft, ids):
    """Nothing, cut short, past a stop token, past two, past the limit."""
    with pytest.raises(EngineError, match="until token 2 or 5 tokens"):
        draft.extend(ids, [-1.0] * len(ids))
    assert draft.ids == []


@pytest.mark.parametrize("log_probs", [[-1.0], [-1.0] * 3, [-1.0, 0.5], [-1.0, math.nan], [-1.0, -9999.0]])
def test_log_probs_that_cannot_be_are_refused(draft, log_probs):
    with pytest.raises(EngineError, match="each token needs one"):
        draft.extend([4, 2], log_probs)
    assert draft.log_probs == []


def test_folded_seeds_are_63_bits_and_differ_in_their_low_32_too():
    """10,100 seeds in a row, and apart in the high bits alone: two share their low 32 bits in 1% of such tests, and
    this one is fixed."""
    seeds = [*range(10_000), *(high << 56 for high in range(1, 101)), 2**64 - 1]
    folded = [fold_seed(seed, 0) for seed in seeds]
    assert all(0 <= seed < 2**63 for seed in folded)
    assert len({seed % 2**32 for seed in folded}) == len(seeds)
    assert len({fold_seed(7, segment) for segment in range(1000)}) == 1000


def test_a_temperature_that_vllm_would_change_or_refuse():
    for temperature in (0.01, 2.0):
        check_vllm_settings(temperature, 1, (3,))
    for temperature in (0.005, 2.5):
        with pytest.raises(ValueError, match=rf"temperatures from 0\.01 to 2\.0, got {temperature}"):
            check_vllm_settings(temperature, 1, (3,))
