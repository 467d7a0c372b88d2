"""Ledger rows with random numbers, for the checks that weigh them."""

import torch

from varcore.exercises.drawing import log_probs


def random_rows(generator, questions, traces, **settings):
    """Rows of `traces` traces of each question, those of a question side by side."""
    return [random_row(generator, f"question {q}", **settings) for q in range(questions) for _ in range(traces)]


def random_row(generator, question, shift=0.0, most_tokens=7, apart=1.0):
    """A closed trace of two to seven tokens with at least one right answer out of two to six."""
    length = int(torch.randint(2, most_tokens + 1, (), generator=generator))
    answers = int(torch.randint(2, 7, (), generator=generator))
    log_pi = log_probs(generator, length) + shift
    log_q = log_pi - apart * torch.randn(length, generator=generator, dtype=torch.float64)
    return {
        "question_id": question,
        "trace_ids": tuple(torch.randint(2, 40, (length,), generator=generator).tolist()),
        "closed": True,
        "log_pi": log_pi.float().double(),  # as a ledger would have kept it
        "log_q": log_q.float().double(),
        "num_correct": int(torch.randint(1, answers + 1, (), generator=generator)),
        "num_answers": answers,
    }


def unclosed(row):
    """The row as it would be had the length limit cut the trace: nobody answered after it."""
    return {**row, "closed": False, "num_correct": 0, "num_answers": 0}


def answered_unclosed(row):
    """The row as it would be had somebody asked for answers after a trace that was cut."""
    return {**row, "closed": False}


def wrong(row):
    return {**row, "num_correct": 0}
