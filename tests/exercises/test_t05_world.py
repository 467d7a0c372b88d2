"""The world of tutorial 5: its models can do what the notebook says, and its experiment tells what a model lacks."""

import random

import pytest
import torch

from varcore.exercises.t05_a_language_model_end_to_end.prompts import prompts
from varcore.exercises.t05_a_language_model_end_to_end.tokens import CLOSE_ID
from varcore.exercises.t05_a_language_model_end_to_end.train_reasoner import TARGET, examine
from varcore.exercises.t05_a_language_model_end_to_end.uniforms import uniforms
from varcore.exercises.t05_a_language_model_end_to_end.world import (
    GUESSES,
    HONEST,
    QUESTIONS,
    TRACES,
    _text,
    draw_questions,
    helper,
    ids_of,
    ledger,
    question_of,
    reasoner,
    tried,
)
from varcore.llm.sampling import Request, TransformersSampler
from varcore.llm.scoring import score


def test_a_question_asks_for_the_sum():
    assert question_of([3, 1, 4]) == ("3 1 4", "3")


@pytest.mark.parametrize("hinted", [False, True])
def test_texts_stand_after_the_prompts_that_readers_build(hinted: bool):
    prompt, response = _text(random.Random(1), 1.0, hinted)
    digits = [ids_of(n)[0] for n in range(10)]
    question = question_of([digits.index(id_) for id_ in prompt[:8]])
    assert prompts(*question)[hinted] == prompt
    assert response[7:10] == (*ids_of(question[1]), CLOSE_ID, *ids_of(question[1]))


def test_numbers_are_those_that_the_sampler_draws_with():
    """Nearly equal chances everywhere: with another u, a token would be another one."""
    model = reasoner()
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()
    sampler = TransformersSampler(model, temperature=1.0, max_tokens=3, stop=(0,))
    vocabulary = model.config.vocab_size
    for seed in range(5):
        (drawn,) = sampler.sample([Request((1, 2), seed)])
        wanted = [int(uniforms([seed], t).item() * vocabulary) for t in range(len(drawn.ids))]
        assert list(drawn.ids) == wanted


@pytest.mark.parametrize("hinted", [False, True])
def test_both_models_can_add_and_the_helper_copies(hinted: bool):
    """Mean probabilities of the tokens after the first, over 100 questions: sums, and what a blurted trace says."""
    model = helper() if hinted else reasoner()
    rows = [_text(random.Random(n), 1.0, hinted) for n in range(100)]
    honest = torch.tensor(score(model, rows)).exp().mean(0)
    assert honest[1:].min() > 0.95
    rows = [_text(random.Random(n), 0.0, hinted) for n in range(100)]
    blurted = torch.tensor(score(model, rows)).exp().mean(0)
    assert blurted[0].item() == pytest.approx(1 - HONEST, abs=0.1)
    assert blurted[1].item() == pytest.approx(1.0 if hinted else 1 / GUESSES, abs=0.05)


def test_the_ledger_has_rows_of_both_kinds_and_its_verdicts_do_not_tell_them_apart():
    rows = ledger()
    assert len(rows) == QUESTIONS * TRACES
    blurted = [row["trace_ids"][:1] == ids_of("OK") for row in rows]
    for kind in (False, True):
        own = [row for row, is_blurted in zip(rows, blurted, strict=True) if is_blurted == kind]
        assert len(own) > 100
        assert sum(row["num_correct"] for row in own) > 0.9 * sum(row["num_answers"] for row in own)


def test_the_reasoner_misses_the_target_by_far_at_the_start():
    right, blurted = tried(reasoner(), draw_questions(random.Random(2), 800), 0)
    assert right < 0.6 * TARGET
    assert blurted == pytest.approx(1 - HONEST, abs=0.1)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda model, rows: None, "returns None"),
        (lambda model, rows: rows, "should return the model"),
        (lambda model, rows: (model, 0.1), "should return the model"),
    ],
    ids=["none", "rows", "pair"],
)
def test_a_malformed_answer_is_told_what_it_is(answer, said: str):
    assert said in examine(answer, torch.Generator().manual_seed(0))
