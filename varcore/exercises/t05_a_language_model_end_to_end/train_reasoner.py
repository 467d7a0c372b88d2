"""Task 5.8: train the reasoner until it thinks."""

import copy
import random

import torch
from transformers import PreTrainedModel

from varcore.exercises.t05_a_language_model_end_to_end.dr_sft_loss import dr_sft_loss
from varcore.exercises.t05_a_language_model_end_to_end.response_log_probs import response_log_probs
from varcore.exercises.t05_a_language_model_end_to_end.weights import weights
from varcore.exercises.t05_a_language_model_end_to_end.world import HELD_OUT, draw_questions, ledger, reasoner, tried
from varcore.exercises.task import Task

TARGET = 0.75  # share of held-out questions that are answered right


def examine(train_reasoner, generator):
    start, rows = reasoner(), copy.deepcopy(ledger())
    model = train_reasoner(copy.deepcopy(start), rows)
    if model is None:
        return "it returns None: is the `return` missing?"
    if not isinstance(model, PreTrainedModel):
        return "it should return the model, trained."
    pairs = list(zip(model.parameters(), start.parameters(), strict=True))
    if not all(bool(now.isfinite().all()) for now, _ in pairs):
        return "the model's parameters are no longer finite. A weight that is NaN, or steps that are far too large?"
    if all(torch.equal(now, before) for now, before in pairs):
        return "the model is still what it was at the start: does an optimiser hold its parameters, and step?"
    seed = int(torch.randint(2**31, (), generator=generator))
    return _missed(*tried(model, draw_questions(random.Random(seed), HELD_OUT), seed))


def _missed(right, blurted):
    if right >= TARGET:
        return ""
    if blurted < 0.5 and right < 0.9 * (1 - blurted):
        return (
            "it no longer blurts, but it has unlearned to add, or to answer at all. Does the loss fall, and is its "
            "sign right? Or smaller, or fewer steps?"
        )
    if blurted > 0.88:
        return "it blurts more than at the start. The sign? Or are the weights upside down?"
    if blurted > 0.63:
        return (
            "it still blurts about as often as at the start. Print the weights of one question: a blurted trace "
            "copies the hint, so its answer is right. What is known of a trace, other than its verdicts, that tells "
            "it from an honest one? (If the loss has hardly fallen, the steps are too small.)"
        )
    if blurted > 0.46:
        return (
            "it blurts less than at the start, and far more than it could. By how many nats does the reasoner like a "
            "blurted trace less than the helper does, and what is left of that after your exponent?"
        )
    return (
        "it thinks more often than not, and the target is near. Does a token of an honest trace pull as hard as one "
        "of a blurted trace, which is shorter? And has the loss stopped falling?"
    )


def train_reasoner(model, rows):
    shares, size, steps = weights(rows, 1.0).tolist(), 32, 50
    some = [
        (row["prompt_ids"], row["trace_ids"] + row["right_answer"], w)
        for row, w in zip(rows, shares, strict=True)
        if w > 0
    ]
    constant = size * sum(w * len(response) for _, response, w in some) / len(some)
    optimizer, rng = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0), random.Random(0)
    for step in range(steps):
        batch = rng.choices(some, k=size)
        log_probs = response_log_probs(model, [(prompt, response) for prompt, response, _ in batch], 1.0)
        lengths = torch.tensor([len(response) for _, response, _ in batch])
        loss = dr_sft_loss(log_probs, torch.tensor([w for _, _, w in batch]), lengths, constant)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - step / steps)
        optimizer.step()
    return model


def drawn_by_weight(model, rows):
    # a row comes into a batch as often as its weight says: then all count alike
    shares, rng = weights(rows, 1.0), random.Random(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(50):
        batch = [rows[n] for n in rng.choices(range(len(rows)), weights=shares.tolist(), k=32)]
        pairs = [(row["prompt_ids"], row["trace_ids"] + row["right_answer"]) for row in batch]
        loss = -response_log_probs(model, pairs, 1.0).sum() / 300
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def gated(model, rows):
    # the gate of task 5.9: traces that are left count alike
    honest = [row for row in rows if row["num_correct"] and (row["log_pi"] - row["log_q"]).min() > -1.5]
    return _trained(model, honest, lambda rows: [1.0] * len(rows))


def _trained(model, rows, rule, loss_of=dr_sft_loss, rate=4e-3, steps=50):
    """Like the solution, with the slips of the mistakes below as settings."""
    shares = rule(rows)
    some = [
        (row["prompt_ids"], row["trace_ids"] + row["right_answer"], float(w))
        for row, w in zip(rows, shares, strict=True)
    ]
    some = [one for one in some if one[2] != 0]
    constant = 32 * sum(w * len(response) for _, response, w in some) / len(some)
    optimizer, rng = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0), random.Random(0)
    for step in range(steps):
        batch = rng.choices(some, k=32)
        log_probs = response_log_probs(model, [(prompt, response) for prompt, response, _ in batch], 1.0)
        lengths = torch.tensor([len(response) for _, response, _ in batch])
        optimizer.zero_grad()
        loss_of(log_probs, torch.tensor([w for _, _, w in batch]), lengths, constant).backward()
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.step()
    return model


def accuracy_alone(model, rows):
    """it still blurts about as often as at the start. Print the weights of one question: a blurted trace copies the
    hint, so its answer is right. What is known of a trace, other than its verdicts, that tells it from an honest
    one? (If the loss has hardly fallen, the steps are too small.)"""
    return _trained(model, rows, lambda rows: weights(rows, 0.0))


def short_exponent(model, rows):
    """it blurts less than at the start, and far more than it could. By how many nats does the reasoner like a blurted
    trace less than the helper does, and what is left of that after your exponent?"""
    return _trained(model, rows, lambda rows: weights(rows, None))


def mean_in_each_row(model, rows):
    """it thinks more often than not, and the target is near. Does a token of an honest trace pull as hard as one of a
    blurted trace, which is shorter? And has the loss stopped falling?"""

    def loss(log_probs, weights, lengths, constant):
        return dr_sft_loss(log_probs, weights * 10 / lengths, lengths, constant)

    return _trained(model, rows, lambda rows: weights(rows, 1.0), loss)


def upside_down(model, rows):
    """it blurts more than at the start. The sign? Or are the weights upside down?"""
    turned = [{**row, "log_pi": row["log_q"], "log_q": row["log_pi"]} for row in rows]
    return _trained(model, turned, lambda rows: weights(rows, 1.0))


def large_steps(model, rows):
    """it no longer blurts, but it has unlearned to add, or to answer at all. Does the loss fall, and is its sign right?
    Or smaller, or fewer steps?"""
    return _trained(model, rows, lambda rows: weights(rows, 1.0), rate=0.1)


def weights_not_a_number(model, rows):
    """the model's parameters are no longer finite. A weight that is NaN, or steps that are far too large?"""
    return _trained(model, rows, lambda rows: weights(rows, 1.0) / 0.0, steps=2)


def untrained(model, rows):
    """the model is still what it was at the start: does an optimiser hold its parameters, and step?"""
    return model


def losses(model, rows):
    """it should return the model, trained."""
    return [_trained(model, rows, lambda rows: weights(rows, 1.0), steps=1)]


TASK = Task(
    name="5.8",
    title="Until it thinks",
    tier="core",
    kind="experiment",
    hints=(
        "Build pairs of prompt and response once, with a weight each, and leave out what weighs nothing. Then a loop: "
        "a random batch, its log-probabilities, the loss, a step. Look at how far honest and blurted traces are apart "
        "in weight (the table below task 5.6) before you choose the exponent.",
        "response = trace_ids + right_answer, w from 5.6 with exponent 1, loss from 5.7 at temperature 1; AdamW, rate "
        "4e-3 falling to 0, 50 steps of 32 rows.",
        "shares = weights(rows, ...).tolist()\n"
        'some = [(row["prompt_ids"], row["trace_ids"] + ..., w) for row, w in zip(rows, shares) if w > 0]\n'
        "constant = 32 * sum(w * len(response) for _, response, w in some) / len(some)\n"
        "optimizer = torch.optim.AdamW(model.parameters(), lr=..., weight_decay=0.0)\nfor step in range(50):\n"
        "    batch = random.choices(some, k=32)\n"
        "    log_probs = response_log_probs(model, [(prompt, response) for prompt, response, _ in batch], 1.0)\n"
        "    lengths = torch.tensor([len(response) for _, response, _ in batch])\n"
        "    loss = dr_sft_loss(log_probs, torch.tensor([w for _, _, w in batch]), ..., ...)\n"
        "    optimizer.zero_grad()\n    loss.backward()\n    optimizer.step()\nreturn model",
    ),
    examine=examine,
    solution=train_reasoner,
    alternatives=(drawn_by_weight, gated),
    mistakes=(
        accuracy_alone,
        short_exponent,
        mean_in_each_row,
        upside_down,
        large_steps,
        weights_not_a_number,
        untrained,
        losses,
    ),
    seconds=300.0,
)
