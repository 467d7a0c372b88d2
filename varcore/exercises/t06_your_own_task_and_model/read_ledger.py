"""Task 6.7: what a ledger says of a run."""

from collections import defaultdict

from varcore.exercises.t06_your_own_task_and_model.coins import rng_of
from varcore.exercises.task import Case, Task


def cases(generator):
    """Drawn until no two mistakes do the same: shares of few questions agree by chance too often."""
    rng = rng_of(generator)
    while True:
        drawn = _drawn(rng)
        codes = (read_ledger, *TASK.mistakes)
        if len({repr([code(*case.arguments) for case in drawn]) for code in codes}) == len(codes):
            return drawn


def _drawn(rng):
    def rows(questions, traces, chance, weighted):
        """Rows of this many traces a question.  The first questions of those with no weight have no right answer."""
        found = []
        for question in questions:
            own = []
            for index in range(traces):
                closed = rng.random() < 0.9
                num_answers = rng.randrange(1, 4) if closed else 0
                num_correct = sum(rng.random() < chance for _ in range(num_answers))
                row = {"question_id": question, "trace_index": index, "closed": closed, "honest": rng.random() < 0.6}
                own.append({**row, "num_correct": num_correct, "num_answers": num_answers})
            worth = [rng.random() * row["num_correct"] for row in own]
            for row, rho in zip(own, worth, strict=True):
                weight = rho / sum(worth) if sum(worth) else 0.0
                found.append({**row, "weight": weight if weighted else None})
        return found

    def both(count, from_pi, from_q, chances, turned=False):
        questions = [f"{n} = 2 3 5" for n in rng.sample(range(10, 60), count)]
        other_way = questions[::-1] if turned else questions
        return rows(questions, from_pi, chances[0], False), rows(other_way, from_q, chances[1], True)

    return [
        Case("seven questions, three traces of each model", both(7, 3, 3, (0.15, 0.3))),
        Case("the questions of the two models in another order", both(6, 2, 2, (0.2, 0.35), turned=True)),
        Case("two traces of π and five of q", both(6, 2, 5, (0.2, 0.2))),
        Case("five traces of π and three of q", both(6, 5, 3, (0.15, 0.25))),
        Case("a helper whose traces are never right", both(4, 3, 3, (0.4, 0.0))),
    ]


def read_ledger(prior, posterior):
    traces = 1 + min(max(row["trace_index"] for row in rows) for rows in (prior, posterior))

    def solved(rows):
        return {row["question_id"] for row in rows if row["trace_index"] < traces and row["num_correct"] > 0}

    by_pi, by_q = solved(prior), solved(posterior)
    questions = len({row["question_id"] for row in prior})
    total = sum(row["weight"] for row in posterior)
    honest = sum(row["weight"] for row in posterior if row["honest"])
    return {
        "coverage_pi": len(by_pi) / questions,
        "coverage_q": len(by_q) / questions,
        "hint_alone": len(by_q - by_pi) / questions,
        "honest_weight": honest / total if total else 0.0,
    }


def grouped(prior, posterior):
    def groups(rows):
        found = defaultdict(list)
        for row in sorted(rows, key=lambda row: row["trace_index"]):
            found[row["question_id"]].append(row["num_correct"])
        return found

    pi, q = groups(prior), groups(posterior)
    n = min(len(next(iter(pi.values()))), len(next(iter(q.values()))))
    pairs = [(any(pi[question][:n]), any(q[question][:n])) for question in pi]
    weights = [(row["weight"], row["honest"]) for row in posterior]
    everything = sum(weight for weight, _ in weights)
    return {
        "coverage_pi": sum(by_pi for by_pi, _ in pairs) / len(pairs),
        "coverage_q": sum(by_q for _, by_q in pairs) / len(pairs),
        "hint_alone": sum(by_q and not by_pi for by_pi, by_q in pairs) / len(pairs),
        "honest_weight": sum(weight * honest for weight, honest in weights) / (everything or 1.0),
    }


def counting(prior, posterior):
    questions = sorted({row["question_id"] for row in posterior})
    limit = min(len(prior), len(posterior)) // len(questions)
    answer = dict.fromkeys(("coverage_pi", "coverage_q", "hint_alone", "honest_weight"), 0.0)
    for question in questions:
        by = {}
        for name, rows in (("pi", prior), ("q", posterior)):
            own = [row for row in rows if row["question_id"] == question and row["trace_index"] in range(limit)]
            by[name] = max(row["num_correct"] for row in own) >= 1
        answer["coverage_pi"] += by["pi"] / len(questions)
        answer["coverage_q"] += by["q"] / len(questions)
        answer["hint_alone"] += (by["q"] and not by["pi"]) / len(questions)
    weight = {kind: sum(row["weight"] for row in posterior if row["honest"] is kind) for kind in (True, False)}
    if weight[True] + weight[False] > 0:
        answer["honest_weight"] = weight[True] / (weight[True] + weight[False])
    return answer


def _first(rows, traces):
    return [row for row in rows if row["trace_index"] < traces]


def _traces(prior, posterior):
    return 1 + min(max(row["trace_index"] for row in rows) for rows in (prior, posterior))


def _mean(values):
    values = list(values)
    return sum(values) / len(values)


def all_traces(prior, posterior):
    """it compares coverage over different numbers of traces. Whoever may try more often covers more: look at the first
    n of each, n the smaller number."""
    found = read_ledger(prior, posterior)
    by_pi, by_q = ({row["question_id"] for row in rows if row["num_correct"]} for rows in (prior, posterior))
    questions = len({row["question_id"] for row in prior})
    covered = {"coverage_pi": len(by_pi) / questions, "coverage_q": len(by_q) / questions}
    return {**found, **covered, "hint_alone": len(by_q - by_pi) / questions}


def last_traces(prior, posterior):
    """it takes the last traces of whom has more, not the first."""
    traces = _traces(prior, posterior)

    def turned(rows):
        most = max(row["trace_index"] for row in rows)
        return [{**row, "trace_index": most - row["trace_index"]} for row in rows if most - row["trace_index"] < traces]

    return {**read_ledger(turned(prior), turned(posterior)), "honest_weight": _honest(posterior)}


def _honest(posterior):
    total = sum(row["weight"] for row in posterior)
    return sum(row["weight"] for row in posterior if row["honest"]) / total if total else 0.0


def accuracies(prior, posterior):
    """its coverage is an accuracy: the share of right answers. Coverage asks of every question whether *any* trace led
    to a right answer; one is enough to learn from."""
    traces = _traces(prior, posterior)

    def accuracy(rows):
        some = _first(rows, traces)
        return sum(row["num_correct"] for row in some) / max(1, sum(row["num_answers"] for row in some))

    found = read_ledger(prior, posterior)
    return {**found, "coverage_pi": accuracy(prior), "coverage_q": accuracy(posterior)}


def share_of_traces(prior, posterior):
    """its coverage is the share of *traces* that led to a right answer. It is asked of questions."""
    traces = _traces(prior, posterior)
    found = read_ledger(prior, posterior)
    shares = [_mean(row["num_correct"] > 0 for row in _first(rows, traces)) for rows in (prior, posterior)]
    return {**found, "coverage_pi": shares[0], "coverage_q": shares[1]}


def all_answers_right(prior, posterior):
    """it asks for a trace all of whose answers are right. One right answer is enough for a weight."""

    def strict(rows):
        return [{**row, "num_correct": int(0 < row["num_answers"] == row["num_correct"])} for row in rows]

    found = read_ledger(strict(prior), strict(posterior))
    return {**found, "honest_weight": _honest(posterior)}


def closed_is_enough(prior, posterior):
    """it counts a question as covered if a trace of it came to its end. A right answer has to follow."""

    def closed(rows):
        return [{**row, "num_correct": int(row["closed"])} for row in rows]

    return read_ledger(closed(prior), closed(posterior))


def difference(prior, posterior):
    """`hint_alone` is the difference of the two coverages. A question that π solves and q does not would be taken off:
    count the questions that q covers *and* π does not."""
    found = read_ledger(prior, posterior)
    return {**found, "hint_alone": found["coverage_q"] - found["coverage_pi"]}


def by_place(prior, posterior):
    """it goes by place: the n-th question of one ledger need not be the n-th of the other. Go by `question_id`."""
    traces = _traces(prior, posterior)

    def solved(rows):
        order = list(dict.fromkeys(row["question_id"] for row in rows))
        some = _first(rows, traces)
        return [any(row["num_correct"] for row in some if row["question_id"] == question) for question in order]

    pairs = list(zip(solved(prior), solved(posterior), strict=True))
    return {**read_ledger(prior, posterior), "hint_alone": _mean(q and not pi for pi, q in pairs)}


def other_way_round(prior, posterior):
    """`hint_alone` counts what π covers and q does not. The spec has it the other way round."""
    found = read_ledger(prior, posterior)
    return {**found, "hint_alone": found["coverage_pi"] - found["coverage_q"] + found["hint_alone"]}


def rows_counted(prior, posterior):
    """`honest_weight` is the share of honest *traces*. Wrong traces have no weight, and the others do not have the
    same: add up weights."""
    return {**read_ledger(prior, posterior), "honest_weight": _mean(row["honest"] for row in posterior)}


def rows_with_weight_counted(prior, posterior):
    """`honest_weight` counts the traces that have a weight, and not how much of it."""
    some = [row["honest"] for row in posterior if row["weight"] > 0]
    return {**read_ledger(prior, posterior), "honest_weight": _mean(some) if some else 0.0}


def over_all_questions(prior, posterior):
    """`honest_weight` is divided by the number of questions. Some have no weight at all: divide by the sum of all
    weights."""
    honest = sum(row["weight"] for row in posterior if row["honest"])
    return {**read_ledger(prior, posterior), "honest_weight": honest / len({row["question_id"] for row in posterior})}


def weight_of_the_first(prior, posterior):
    """`honest_weight` looks at the first traces only. Their number was made equal for the coverages; weights were
    shared out among *all* traces of q."""
    return {**read_ledger(prior, posterior), "honest_weight": _honest(_first(posterior, _traces(prior, posterior)))}


def right_is_honest(prior, posterior):
    """`honest_weight` is the weight of traces with a right answer, which is all of it. What is asked is whether the
    *steps* are right."""
    total = sum(row["weight"] for row in posterior)
    return {**read_ledger(prior, posterior), "honest_weight": 1.0 if total else 0.0}


def percents(prior, posterior):
    """the numbers are per cent; the spec asks for shares, from 0 to 1."""
    return {name: 100 * share for name, share in read_ledger(prior, posterior).items()}


TASK = Task(
    name="6.7",
    title="What did the hint bring?",
    tier="core",
    hints=(
        "Coverage is a statement about questions: collect, for π and for q, the *set* of questions that some trace "
        "among the first n solves. The rest is sizes of sets. Weight is a statement about traces: add it up.",
        "S_π, S_q = {x : num_correct > 0 for a trace with index < n}, n = min(M, K); |S_π|/Q, |S_q|/Q, |S_q \\ S_π|/Q; "
        "Σ_honest w / Σ w.",
        'traces = 1 + min(max(row["trace_index"] for row in rows) for rows in (prior, posterior))\n\n'
        'def solved(rows):\n    return {row["question_id"] for row in rows if ... and ...}\n\n'
        "by_pi, by_q = solved(prior), ...\nquestions = len({...})\ntotal = sum(...)\nreturn {\n"
        '    "coverage_pi": len(by_pi) / ...,\n    "coverage_q": ...,\n    "hint_alone": len(by_q - ...) / ...,\n'
        '    "honest_weight": ... / total if total else 0.0,\n}',
    ),
    cases=cases,
    solution=read_ledger,
    alternatives=(grouped, counting),
    mistakes=(
        all_traces,
        last_traces,
        accuracies,
        share_of_traces,
        all_answers_right,
        closed_is_enough,
        difference,
        by_place,
        other_way_round,
        rows_counted,
        rows_with_weight_counted,
        over_all_questions,
        weight_of_the_first,
        right_is_honest,
        percents,
    ),
)
