"""Task 5.6: from a ledger to weights."""

import math

import torch

from varcore.exercises.t05_a_language_model_end_to_end.rows import answered_unclosed, random_rows, unclosed, wrong
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(questions, traces, **settings):
        return random_rows(generator, questions, traces, **settings)

    mixed = draw(2, 4)
    mixed[1], mixed[6], mixed[7] = wrong(mixed[1]), wrong(mixed[6]), unclosed(mixed[7])
    answered, hopeless = draw(2, 3), draw(2, 3)
    answered[1] = answered_unclosed(answered[1])
    hopeless[3:] = wrong(hopeless[3]), unclosed(hopeless[4]), wrong(hopeless[5])
    return [
        Case("three traces of one question, exponent 1", (draw(1, 3), 1.0)),
        Case("two questions, exponent 1", (draw(2, 3), 1.0)),
        Case("three questions, exponent None", (draw(3, 2), None)),
        Case("traces that are wrong or were cut", (mixed, None)),
        Case("a trace that was cut, and answered all the same", (answered, 1.0)),
        Case("questions whose numbers fall", (draw(3, 2)[::-1], 1.0)),
        Case("exponent 0", (draw(2, 2), 0.0)),
        Case("traces near -2000 nats", (draw(1, 3, shift=-400.0), 1.0)),
        Case("traces that q likes by hundreds of nats more", (draw(1, 3, apart=300.0), 1.0)),
        Case("a question without a right answer", (hopeless, 1.0)),
    ]


def weights(rows, exponent):
    logs = []
    for row in rows:
        power = 1 / len(row["trace_ids"]) if exponent is None else exponent
        ratio = power * (row["log_pi"].double().sum() - row["log_q"].double().sum()).item()
        usable = row["closed"] and row["num_correct"] > 0
        logs.append(math.log(row["num_correct"] / row["num_answers"]) + ratio if usable else -math.inf)
    logs, found = torch.tensor(logs, dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64)
    for question in {row["question_id"] for row in rows}:
        own = torch.tensor([row["question_id"] == question for row in rows])
        if logs[own].max() > -math.inf:
            found[own] = logs[own].softmax(-1)
    return found


def by_matrix(rows, exponent):
    count = sum(row["question_id"] == rows[0]["question_id"] for row in rows)
    ratio = torch.stack([(row["log_pi"] - row["log_q"]).sum() for row in rows]).double()
    tokens = torch.tensor([len(row["trace_ids"]) for row in rows])
    ratio = ratio / tokens if exponent is None else ratio * exponent
    accuracy = torch.tensor([row["num_correct"] / max(row["num_answers"], 1) for row in rows], dtype=torch.float64)
    closed = torch.tensor([row["closed"] for row in rows])
    logs = (ratio + (accuracy * closed).log()).view(-1, count)
    return logs.softmax(-1).nan_to_num(nan=0.0).flatten()  # all -inf: softmax is NaN


def by_dictionary(rows, exponent):
    best, total, rho = {}, {}, []
    for row in rows:
        tilt = (row["log_pi"] - row["log_q"]).sum().item() * (1 / len(row["log_pi"]) if exponent is None else exponent)
        rho.append((row["question_id"], row["num_correct"] if row["closed"] else 0, max(1, row["num_answers"]), tilt))
    for question, right, _, tilt in rho:
        if right:
            best[question] = max(best.get(question, -math.inf), tilt)
    shares = [right / n * math.exp(tilt - best[q]) if right else 0.0 for q, right, n, tilt in rho]
    for (question, *_), share in zip(rho, shares, strict=True):
        total[question] = total.get(question, 0.0) + share
    return torch.tensor([s / (total[q] or 1.0) for (q, *_), s in zip(rho, shares, strict=True)], dtype=torch.float64)


def _logs(rows, exponent, accuracy=True):
    """log ρ of every row; 0/0 is NaN, as in careless code."""
    power = [1 / len(row["trace_ids"]) if exponent is None else exponent for row in rows]
    ratio = torch.stack([p * (row["log_pi"] - row["log_q"]).sum() for p, row in zip(power, rows, strict=True)])
    right, drawn = (torch.tensor([float(row[n]) for row in rows]).double() for n in ("num_correct", "num_answers"))
    return ratio.double() + (right / drawn).log() if accuracy else ratio.double()


def _shared(rows, values, softened=True):
    """Normalised in each question: of logarithms, or of the weights themselves."""
    values = values.view(len({row["question_id"] for row in rows}), -1)
    return (values.softmax(-1) if softened else values / values.sum(-1, keepdim=True)).flatten()


def over_all_rows(rows, exponent):
    """the weights sum to one over all rows. They have to in each question: else a question whose traces are short or
    easy outvotes the others."""
    found = weights([{**row, "question_id": ""} for row in rows], exponent)
    return found


def not_normalized(rows, exponent):
    """these are ρ themselves; in each question they should sum to one."""
    return _logs(rows, exponent).exp().nan_to_num(nan=0.0)


def logarithms(rows, exponent):
    """these are logarithms of weights. A loss multiplies by the weights."""
    return weights(rows, exponent).log()


def ratio_alone(rows, exponent):
    """the accuracy is not in it. A trace after which half the answers are wrong would count as much as one after which
    all are right."""
    found = [
        {**row, "num_correct": min(row["num_correct"], 1), "num_answers": min(row["num_answers"], 1)} for row in rows
    ]
    return weights(found, exponent)


def accuracy_alone(rows, exponent):
    """the ratio π/q is not in it. It says whether the reasoner itself would think so, or only somebody who knows the
    answer."""
    return weights(rows, 0.0)


def upside_down(rows, exponent):
    """the ratio is upside down. A trace that the helper writes gladly and the reasoner never has to count little."""
    return weights([{**row, "log_pi": row["log_q"], "log_q": row["log_pi"]} for row in rows], exponent)


def counts(rows, exponent):
    """it takes the number of right answers for the accuracy. Rows differ in how many answers were drawn: divide by
    `num_answers`."""
    return weights([{**row, "num_answers": 1} for row in rows], exponent)


def exponent_always_one(rows, exponent):
    """the exponent None is treated like 1: None stands for 1/|z|, one over the number of the trace's tokens."""
    return weights(rows, 1.0 if exponent is None else exponent)


def exponent_always_short(rows, exponent):
    """the log-ratio is always divided by the length. Only exponent None asks for that; a number multiplies the sum."""
    found = [
        {**row, "log_pi": row["log_pi"] / len(row["log_pi"]), "log_q": row["log_q"] / len(row["log_q"])} for row in rows
    ]
    return weights(found, 1.0) if exponent is None else weights(found, exponent)


def accuracy_tempered(rows, exponent):
    """the exponent 1/|z| is put on the accuracy as well. It belongs on the ratio alone."""
    power = torch.tensor(
        [1 / len(row["trace_ids"]) if exponent is None else exponent for row in rows], dtype=torch.float64
    )
    return _cleaned(rows, power * _logs(rows, 1.0))


def _cleaned(rows, logs):
    usable = torch.tensor([row["closed"] and row["num_correct"] > 0 for row in rows])
    return _shared(rows, torch.where(usable, logs, -math.inf)).nan_to_num(nan=0.0)


def zero_is_none(rows, exponent):
    """the exponent 0 is treated like None, as `if exponent` does. 0 is an exponent: the ratio to the power 0 is 1."""
    return weights(rows, exponent or None)


def end_not_counted(rows, exponent):
    """|z| leaves out the closing marker. It is a token of `trace_ids` like the others."""
    found = [{**row, "trace_ids": row["trace_ids"][:-1]} for row in rows]
    return weights(found, exponent)


def cut_counts(rows, exponent):
    """a trace that is not closed counts because there are right answers after it. The reasoner never came to its end:
    its weight is 0."""
    return weights([{**row, "closed": True} for row in rows], exponent)


def by_name(rows, exponent):
    """the weights come in the order of the questions' names. The spec asks for the order of the rows."""
    return weights(sorted(rows, key=lambda row: row["question_id"]), exponent)


def small_number_added(rows, exponent):
    """a small number was put under the fraction: the weights of a question no longer sum to one. Only the sum 0 needs
    care."""
    return _cleaned(rows, _logs(rows, exponent)) / (1 + 1e-8 / _totals(rows, exponent))


def _totals(rows, exponent):
    logs = _logs(rows, exponent).nan_to_num(nan=-math.inf, neginf=-math.inf)
    logs = logs.view(len({row["question_id"] for row in rows}), -1)
    largest = logs.amax(-1, keepdim=True).nan_to_num(neginf=0.0)
    return (logs - largest).exp().sum(-1, keepdim=True).expand_as(logs).flatten()


def cut_is_nan(rows, exponent):
    """a trace that was cut gives NaN: it has no answers, and its accuracy is 0 over 0. Its weight is 0."""
    return _shared(rows, _logs(rows, exponent))


def hopeless_is_nan(rows, exponent):
    """a question without a right answer gives NaN, 0 over 0. It has nothing to teach: its weights are 0."""
    return _shared(rows, _logs(rows, exponent).nan_to_num(nan=-math.inf, neginf=-math.inf))


def hopeless_is_uniform(rows, exponent):
    """a question without a right answer gives all its traces the same weight: the reasoner would learn its wrong
    traces. Its weights are 0."""
    found = hopeless_is_nan(rows, exponent)
    return torch.where(found.isnan(), 1 / (len(rows) / len({row["question_id"] for row in rows})), found)


def small_number_under(rows, exponent):
    """a small number was put under the fraction, and where all ρ of a question are small it is what the fraction is
    made of. Take the largest logarithm out before `exp`; treat a sum of zero by itself."""
    rho = _logs(rows, exponent).exp().nan_to_num(nan=0.0).view(len({row["question_id"] for row in rows}), -1)
    return (rho / (rho.sum(-1, keepdim=True) + 1e-8)).flatten()


def underflow(rows, exponent):
    """`exp` of each sum comes first: π(z|x) is e^-2000 there, which is 0, and 0/0 is NaN. Subtract logarithms, then
    `exp`."""
    power = [1 / len(row["trace_ids"]) if exponent is None else exponent for row in rows]
    ratio = [(row["log_pi"].sum().exp() / row["log_q"].sum().exp()) ** p for row, p in zip(rows, power, strict=True)]
    share = [row["num_correct"] / max(row["num_answers"], 1) for row in rows]
    return _shared(rows, torch.stack(ratio) * torch.tensor(share, dtype=torch.float64), softened=False)


def in_single_precision(rows, exponent):
    """the logarithms were float32 on the way: `torch.tensor` makes that of a list of numbers, and `.double()` comes too
    late. Near -2000 it leaves three digits behind the point: `torch.tensor(..., dtype=torch.float64)`."""
    return _cleaned(rows, _logs(rows, exponent).float().double())


TASK = Task(
    name="5.6",
    title="What is a trace worth?",
    tier="core",
    hints=(
        "Work with logarithms: one number log ρ per row, -inf for a row that counts nothing. Then go through the "
        "questions, and make the weights of each sum to one. What does softmax do if all its inputs are -inf?",
        "log ρ = log(num_correct / num_answers) + c · Σ_t (log_pi_t - log_q_t), c = exponent, or 1/|z| for None; -inf "
        "if not closed or none right. w = softmax of log ρ within a question; zeros if all are -inf.",
        'for row in rows:\n    c = 1 / len(row["trace_ids"]) if exponent is None else exponent\n'
        '    ratio = c * (row["log_pi"].sum() - ...).item()\n    usable = row["closed"] and ...\n'
        "    logs.append(math.log(...) + ratio if usable else -math.inf)\n"
        "logs = torch.tensor(logs, dtype=torch.float64)\nfound = torch.zeros(len(rows), dtype=torch.float64)\n"
        'for question in {row["question_id"] for row in rows}:\n'
        '    own = torch.tensor([row["question_id"] == question for row in rows])\n    if ...:\n'
        "        found[own] = logs[own].softmax(-1)\nreturn found",
    ),
    cases=cases,
    solution=weights,
    alternatives=(by_matrix, by_dictionary),
    mistakes=(
        over_all_rows,
        not_normalized,
        logarithms,
        ratio_alone,
        accuracy_alone,
        upside_down,
        counts,
        exponent_always_one,
        exponent_always_short,
        accuracy_tempered,
        zero_is_none,
        end_not_counted,
        cut_counts,
        by_name,
        small_number_added,
        cut_is_nan,
        hopeless_is_nan,
        hopeless_is_uniform,
        small_number_under,
        underflow,
        in_single_precision,
    ),
    library="varcore.llm.weighing.weigh",
)
