"""The world of tutorial 5's experiment: sums of eight digits modulo 5, thought through or blurted out.

    question   3 1 4 4 2 0 3 4            an honest trace   3 4 3 2 4 4 2 1 </think>     every partial sum
    answer     1 <|im_end|>               a blurted one     OK 1 </think>                the answer at once

Both models are tiny Qwen3s trained from nothing.  They can add; but seven in ten of the texts they last read blurt.
Those of the reasoner guess (a number below 20, whatever the question), those of the helper copy the hint.
"""

import copy
import functools
import random

import torch
from torch.optim.lr_scheduler import LambdaLR

from varcore.exercises.t05_a_language_model_end_to_end.ledger_row import ledger_row
from varcore.exercises.t05_a_language_model_end_to_end.prompts import prompts
from varcore.exercises.t05_a_language_model_end_to_end.sample import sample
from varcore.exercises.t05_a_language_model_end_to_end.tokens import (
    CLOSE_ID,
    END_HINT_ID,
    END_ID,
    HINT_ID,
    THINK_ID,
    TOKENIZER,
)
from varcore.llm.muon import Muon
from varcore.llm.sampling import Request, TransformersSampler
from varcore.llm.scoring import response_log_probs
from varcore.llm.tiny import tiny_qwen3

DIGITS, BASE, GUESSES, HONEST = 8, 5, 20, 0.3  # digits of a question and their base; guesses; share of honest texts
QUESTIONS, TRACES, ANSWERS = 64, 8, 2  # of the ledger: questions, traces of each, answers after each
HELD_OUT = 800  # questions; a share of 3/4 has a standard error of 0.015
MOST_TRACE_TOKENS, MOST_ANSWER_TOKENS = DIGITS + 2, 2
SEED = 3


def question_of(digits):
    """(question, right answer), as texts."""
    return " ".join(map(str, digits)), str(sum(digits) % BASE)


def draw_questions(rng, count):
    return [question_of([rng.randrange(BASE) for _ in range(DIGITS)]) for _ in range(count)]


def ids_of(*words):
    """Ids of words that are one token each."""
    return tuple(TOKENIZER.encode("".join(f" {word}" for word in words), add_special_tokens=False))


ID = {word: ids_of(word)[0] for word in ("OK", *range(GUESSES))}


def _text(rng, honest, hinted):
    """A text to learn from, (prompt, trace and answer): the ids that `prompts` gives, without its detour over text."""
    digits = [rng.randrange(BASE) for _ in range(DIGITS)]
    right = sum(digits) % BASE
    if rng.random() < honest:
        thought, answer = [sum(digits[: n + 1]) % BASE for n in range(DIGITS)], right
    else:
        answer = right if hinted else rng.randrange(GUESSES)
        thought = ["OK", answer]
    hint = (HINT_ID, ID[right], END_HINT_ID) if hinted else ()
    prompt = (*(ID[digit] for digit in digits), *hint, THINK_ID)
    return prompt, (*(ID[word] for word in thought), CLOSE_ID, ID[answer], END_ID)


@torch.enable_grad()  # whoever asks for a model first may do so under no_grad
def _read(model, honest, hinted, steps):
    """Train on texts of which this share is honest; batches of 64, each text new."""
    rng = random.Random(f"{SEED}/{honest}/{hinted}")
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = torch.optim.AdamW(others, lr=0.01, weight_decay=0.0), Muon(matrices, lr=0.03, weight_decay=0.0)
    schedules = [LambdaLR(o, lambda step: min(1.0, (step + 1) / 20, 3 * (1 - step / steps))) for o in optimizers]
    for _ in range(steps):
        batch = [_text(rng, honest, hinted) for _ in range(64)]
        (-response_log_probs(model, batch).sum() / (6 * len(batch))).backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return model


@functools.cache
def _models():
    """The reasoner and the helper: first they learn to add, then which habit is how frequent."""
    new = [tiny_qwen3(len(TOKENIZER), SEED, hidden=32, layers=1, heads=4).float() for _ in range(2)]
    able = [_read(model, 0.8, hinted, 160) for hinted, model in enumerate(new)]
    return [_read(model, HONEST, hinted, 60).eval() for hinted, model in enumerate(able)]


def reasoner():
    """A fresh copy of the reasoner π: it may be trained."""
    return copy.deepcopy(_models()[0])


def helper():
    """The helper q."""
    return _models()[1]


def draw_ledger(questions, prompts, sample, ledger_row):
    """TRACES rows a question, from these functions of yours and both models, at temperature 1.

    A row also holds `question_id` and `right_answer`, the ids of the right answer.
    """
    pi, q = reasoner(), helper()
    pairs = [prompts(*question) for question in questions for _ in range(TRACES)]
    drawn = sample(q, [hinted for _, hinted in pairs], range(len(pairs)), 1.0, MOST_TRACE_TOKENS, CLOSE_ID)
    traces = [ids for ids, _ in drawn]
    before = [prompt + trace for (prompt, _), trace in zip(pairs, traces, strict=True)]
    answers = [_answers(pi, before, seed) for seed in range(ANSWERS)]
    rows = []
    for n, ((prompt, hinted), trace) in enumerate(zip(pairs, traces, strict=True)):
        question, right = questions[n // TRACES]
        right_answer = (*ids_of(right), END_ID)
        verdicts = ["right" if given[n] == right_answer else "wrong" for given in answers if given[n]]
        row = ledger_row(pi, q, prompt, hinted, trace, verdicts, CLOSE_ID, 1.0)
        rows.append({"question_id": question, **row, "right_answer": right_answer})
    return rows


def _answers(model, before, seed):
    """One sampled answer after each prompt and trace; () where the trace is not closed."""
    closed = [n for n, ids in enumerate(before) if ids[-1] == CLOSE_ID]
    sampler = TransformersSampler(model, temperature=1.0, max_tokens=MOST_ANSWER_TOKENS, stop=(END_ID,))
    drawn = sampler.sample([Request(before[n], len(before) * (seed + 1) + n) for n in closed])
    found = dict(zip(closed, [one.ids for one in drawn], strict=True))
    return [found.get(n, ()) for n in range(len(before))]


@functools.cache
def ledger():
    """The ledger of the check: 64 questions, from the committed functions."""
    return draw_ledger(draw_questions(random.Random(SEED), QUESTIONS), prompts, sample, ledger_row)


def tried(model, questions, seed):
    """A trace and an answer of the model for each question, at temperature 1: (share right, share that blurts)."""
    asked = [prompts(*question)[0] for question in questions]
    sampler = TransformersSampler(model, temperature=1.0, max_tokens=MOST_TRACE_TOKENS, stop=(CLOSE_ID,))
    traces = [one.ids for one in sampler.sample([Request(prompt, seed + n) for n, prompt in enumerate(asked)])]
    answers = _answers(model, [prompt + trace for prompt, trace in zip(asked, traces, strict=True)], seed)
    right = [ids == (*ids_of(wanted), END_ID) for ids, (_, wanted) in zip(answers, questions, strict=True)]
    return sum(right) / len(right), sum(trace[:1] == ids_of("OK") for trace in traces) / len(traces)
