"""Task 5.5: what is kept of a trace."""

import torch

from varcore.exercises.t05_a_language_model_end_to_end.response_log_probs import response_log_probs
from varcore.exercises.t05_a_language_model_end_to_end.small import CLOSE, small_qwen3, some_ids
from varcore.exercises.task import Case, Task


def cases(generator):
    reasoner, helper = small_qwen3(generator), small_qwen3(generator)

    def arguments(trace, verdicts, temperature):
        prompts = some_ids(generator, 4), some_ids(generator, 6)
        return reasoner, helper, *prompts, trace, verdicts, CLOSE, temperature

    def thought(length):
        return some_ids(generator, length)

    mixed = ["right", "unparsed", "wrong", "right", "timeout", "right"]
    return [
        Case("a closed trace with four answers", arguments((*thought(4), CLOSE), ["right", "wrong"] * 2, 1.0)),
        Case("answers that are right, wrong, unparsed or out of time", arguments((*thought(3), CLOSE), mixed, 0.7)),
        Case("a trace that was cut", arguments(thought(6), [], 0.7)),
    ]


def examine(ledger_row, generator):
    row = ledger_row(*cases(generator)[0].arguments)
    if row["log_pi"].requires_grad or row["log_q"].requires_grad:
        return (
            "the row holds on to the gradient of a model, and so to its memory. What stands in a ledger are numbers: "
            "score inside `with torch.no_grad():`."
        )
    return ""


def ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    with torch.no_grad():
        log_pi = response_log_probs(reasoner, [(prompt, trace)], temperature)
        log_q = response_log_probs(helper, [(hinted_prompt, trace)], temperature)
    return {
        "prompt_ids": prompt,
        "trace_ids": trace,
        "closed": trace[-1] == close,
        "log_pi": log_pi,
        "log_q": log_q,
        "num_correct": verdicts.count("right"),
        "num_answers": len(verdicts),
    }


def without_helper_function(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    row = {"prompt_ids": prompt, "trace_ids": trace, "closed": close in trace}
    for name, model, before in (("log_pi", reasoner, prompt), ("log_q", helper, hinted_prompt)):
        logits = model(input_ids=torch.tensor([before + trace])).logits[0, len(before) - 1 : -1].detach()
        log_probs = (logits / temperature).log_softmax(-1)
        row[name] = log_probs.gather(-1, torch.tensor(trace)[:, None])[:, 0]
    counted = sum(verdict == "right" for verdict in verdicts)
    return {**row, "num_correct": counted, "num_answers": len(verdicts)}


def detached(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    scores = {
        name: response_log_probs(model, [(before, trace)], temperature).detach()
        for name, model, before in [("log_pi", reasoner, prompt), ("log_q", helper, hinted_prompt)]
    }
    right = len([verdict for verdict in verdicts if verdict == "right"])
    counts = {"num_correct": right, "num_answers": len(verdicts)}
    return dict(prompt_ids=prompt, trace_ids=trace, closed=trace[-1:] == (close,), **scores, **counts)


def reasoner_saw_the_hint(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """`log_pi` is scored after the hinted prompt. π(z|x) is what the reasoner would think without the answer beside
    it; just that difference has to show in the weight."""
    row = ledger_row(reasoner, helper, hinted_prompt, hinted_prompt, trace, verdicts, close, temperature)
    return {**row, "prompt_ids": prompt}


def helper_without_hint(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """`log_q` is scored after the plain prompt. The trace was drawn after the hinted one, and with the probabilities
    there."""
    return ledger_row(reasoner, helper, prompt, prompt, trace, verdicts, close, temperature)


def models_swapped(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """the two models are exchanged: `log_pi` is of the reasoner, `log_q` of the helper."""
    return ledger_row(helper, reasoner, prompt, hinted_prompt, trace, verdicts, close, temperature)


def names_swapped(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """`log_pi` and `log_q` are exchanged: every ratio would be upside down."""
    row = ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature)
    return {**row, "log_pi": row["log_q"], "log_q": row["log_pi"]}


def one_model(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """both are scored with the reasoner. The trace was drawn by the helper, so q is the helper's."""
    return ledger_row(reasoner, reasoner, prompt, hinted_prompt, trace, verdicts, close, temperature)


def no_temperature(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """the temperature is not used: the trace was drawn at that temperature, and both models are scored at it."""
    return ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, 1.0)


def sums(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """`log_pi` and `log_q` are sums. Keep one number per token: a ledger is there so that weights can be chosen later,
    and some need the tokens."""
    row = ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature)
    return {**row, "log_pi": row["log_pi"].sum(), "log_q": row["log_q"].sum()}


def end_not_scored(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """the closing marker is not scored. It was drawn like every other token and belongs to z."""
    row = ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature)
    kept = len(trace) - row["closed"]
    return {**row, "log_pi": row["log_pi"][:kept], "log_q": row["log_q"][:kept]}


def always_closed(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """every trace is called closed. One that the length limit cut has no closing marker at its end."""
    row = ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature)
    return {**row, "closed": True}


def not_wrong_is_right(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """it counts every answer that is not `wrong` as right. An answer that cannot be read, or that ran out of time, is
    not right."""
    row = ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature)
    return {**row, "num_correct": sum(verdict != "wrong" for verdict in verdicts)}


def unread_left_out(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """`num_answers` leaves out answers that were neither right nor wrong. They were drawn, so they count: a trace
    after which the answer cannot be read is a bad trace."""
    row = ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature)
    return {**row, "num_answers": sum(verdict in ("right", "wrong") for verdict in verdicts)}


def hinted_for_training(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """`prompt_ids` is the hinted prompt. These are the ids that the reasoner is trained after: its own prompt."""
    row = ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature)
    return {**row, "prompt_ids": hinted_prompt}


def graph_kept(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """the row holds on to the gradient of a model, and so to its memory. What stands in a ledger are numbers: score
    inside `with torch.no_grad():`."""
    row = ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature)
    return {**row, "log_pi": response_log_probs(reasoner, [(prompt, trace)], temperature)}


def reasoner_at_one(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature):
    """`log_pi` is taken at temperature 1, `log_q` at yours. Then their difference is not of the two models alone: score
    both at the temperature at which the trace was drawn."""
    row = ledger_row(reasoner, helper, prompt, hinted_prompt, trace, verdicts, close, temperature)
    return {**row, "log_pi": response_log_probs(reasoner, [(prompt, trace)], 1.0).detach()}


TASK = Task(
    name="5.5",
    title="One row of the ledger",
    tier="core",
    hints=(
        "Ask for each number: which model, after which prompt? The helper drew the trace after the hinted prompt. The "
        "reasoner will have to think without the hint. The trace is the same ids both times.",
        "log_pi = log π(z_t | x, z_<t): reasoner, plain prompt. log_q = log q(z_t | x, y', z_<t): helper, hinted "
        "prompt. Both per token, at the temperature of the sampling. closed: is the last id `close`?",
        "with torch.no_grad():\n    log_pi = response_log_probs(..., [(..., trace)], temperature)\n"
        "    log_q = response_log_probs(..., [(..., trace)], temperature)\nreturn {\n"
        '    "prompt_ids": ...,\n    "trace_ids": trace,\n    "closed": ...,\n    "log_pi": log_pi,\n'
        '    "log_q": log_q,\n    "num_correct": verdicts.count(...),\n    "num_answers": ...,\n}',
    ),
    cases=cases,
    examine=examine,
    solution=ledger_row,
    alternatives=(without_helper_function, detached),
    mistakes=(
        reasoner_saw_the_hint,
        helper_without_hint,
        models_swapped,
        names_swapped,
        one_model,
        no_temperature,
        sums,
        end_not_scored,
        always_closed,
        not_wrong_is_right,
        unread_left_out,
        hinted_for_training,
        graph_kept,
        reasoner_at_one,
    ),
)
