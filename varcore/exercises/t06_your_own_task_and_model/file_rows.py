"""Task 6.5: rows of a data file that a run can use."""

from varcore.exercises.t06_your_own_task_and_model.coins import draw, payments, rng_of
from varcore.exercises.t06_your_own_task_and_model.make_question import make_question
from varcore.exercises.t06_your_own_task_and_model.template import SPELLED, TEMPLATE
from varcore.exercises.task import Case, Task
from varcore.tasks import Question


def cases(generator):
    rng = rng_of(generator)

    def some(count, coins=5):
        """Questions whose worked traces have `coins` coins."""
        found = []
        while len(found) < count:
            amount, kinds = draw(rng)
            u = rng.random()
            if len(payments(amount, kinds)[int(u * len(payments(amount, kinds)))]) == coins:
                found.append(make_question(amount, kinds, u))
        return found

    def changed(question, **changes):
        return Question(**{**vars(question), **changes})

    plain, mixed = some(3), [*some(1, 3), *some(1, 5), *some(1, 4), *some(1, 5), *some(1, 3)]
    bare = [changed(question, curated_trace=None) if n % 2 else question for n, question in enumerate(some(4))]
    closing = [plain[0], changed(plain[1], curated_trace=f"{plain[1].curated_trace} = OK"), plain[2]]
    answers = [plain[0], changed(plain[1], reference=f"{plain[1].reference} = 9"), plain[2]]
    short = changed(plain[0], curated_trace="OK", reference="12 12 12 12 12 12")
    large = changed(plain[0], reference="100 11 11 11 11")
    return [
        Case("three questions and room for all of them", (plain, TEMPLATE, 30, 20)),
        Case("questions some of which have no worked trace", (bare, TEMPLATE, 30, 20)),
        Case("traces of 7, 9 and 11 tokens, and a limit of 9", (mixed, TEMPLATE, 9, 20)),
        Case("a limit of 11 tokens for traces that have just so many", (plain, TEMPLATE, 11, 20)),
        Case("answers of 4, 5 and 6 tokens, and a limit of 4", (mixed, TEMPLATE, 30, 4)),
        Case("an answer of 7 tokens after a trace of 2, and limits of 30 and 6", ([short, plain[1]], TEMPLATE, 30, 6)),
        Case("an answer with a number of two tokens, and a limit of 5", ([large, plain[1]], TEMPLATE, 30, 5)),
        Case("a trace that spells its closing marker", (closing, SPELLED, 30, 20)),
        Case("an answer that spells its closing marker", (answers, SPELLED, 30, 20)),
        Case("traces without worth: none has room", (plain, TEMPLATE, 8, 20)),
    ]


def file_rows(questions, template, max_trace_tokens, max_answer_tokens):
    rows = []
    for question in questions:
        try:
            trace = template.trace(question.curated_trace) if question.curated_trace is not None else ()
            answer = template.answer(question.reference)
        except ValueError:
            continue
        if len(trace) <= max_trace_tokens and len(answer) <= max_answer_tokens:
            rows.append({"question": question.text, "answer": question.reference, "trace": question.curated_trace})
    return rows


def with_a_helper(questions, template, max_trace_tokens, max_answer_tokens):
    def room(write, text, limit):
        try:
            return text is None or len(write(text)) <= limit
        except ValueError:
            return False

    def fits(q):
        traced = room(template.trace, q.curated_trace, max_trace_tokens)
        return traced and room(template.answer, q.reference, max_answer_tokens)

    return [dict(question=q.text, answer=q.reference, trace=q.curated_trace) for q in questions if fits(q)]


def by_ids(questions, template, max_trace_tokens, max_answer_tokens):
    rows = []
    for question in questions:
        good = True
        for text, close, limit in (
            (question.curated_trace, template.trace_close, max_trace_tokens),
            (question.reference, template.answer_close, max_answer_tokens),
        ):
            ids = (*template.text(text), *close) if text is not None else close
            ends = [n for n in range(len(ids)) if ids[n : n + len(close)] == close]
            good = good and len(ids) <= limit and len(ends) == 1
        if good:
            names = ("question", "answer", "trace")
            rows.append(dict(zip(names, (question.text, question.reference, question.curated_trace), strict=True)))
    return rows


def _row(question, changes):
    return {"question": question.text, "answer": question.reference, "trace": question.curated_trace, **changes}


def _kept(questions, template, max_trace_tokens, max_answer_tokens, changes=lambda question: {}):
    """The right rows, changed."""
    texts = [row["question"] for row in file_rows(questions, template, max_trace_tokens, max_answer_tokens)]
    return [_row(question, changes(question)) for question in questions if question.text in texts]


def _sized(questions, template, max_trace_tokens, max_answer_tokens, size, least=0):
    """Rows by another measure of length, of those that do not close themselves."""
    whole = _kept(questions, template, 10**6, 10**6)
    return [
        row
        for row in whole
        if size(row["trace"] or "") <= max_trace_tokens - least and size(row["answer"]) <= max_answer_tokens - least
    ]


def marker_not_counted(questions, template, max_trace_tokens, max_answer_tokens):
    """it counts the tokens of the text alone. The closing marker is drawn as well, and has to fit under the limit:
    `template.trace` and `template.answer` give all of them."""
    return _sized(questions, template, max_trace_tokens, max_answer_tokens, lambda text: len(template.text(text)))


def characters(questions, template, max_trace_tokens, max_answer_tokens):
    """it measures in characters. Limits are in tokens."""
    return _sized(questions, template, max_trace_tokens, max_answer_tokens, len)


def words(questions, template, max_trace_tokens, max_answer_tokens):
    """it measures in words. Limits are in tokens, of this tokenizer, and the closing marker is one or several of
    them."""
    return _sized(questions, template, max_trace_tokens, max_answer_tokens, lambda text: len(text.split()))


def limit_left_out(questions, template, max_trace_tokens, max_answer_tokens):
    """it leaves out what has just as many tokens as the limit. That many may be drawn."""
    return file_rows(questions, template, max_trace_tokens - 1, max_answer_tokens - 1)


def trace_alone(questions, template, max_trace_tokens, max_answer_tokens):
    """it does not look at the length of the answer. One that cannot be drawn to its end is never right."""
    return file_rows(questions, template, max_trace_tokens, 10**6)


def answer_alone(questions, template, max_trace_tokens, max_answer_tokens):
    """it does not look at the length of the trace. A reasoner that has learned to think longer than it may is cut, and
    a trace that was cut has no weight."""
    return file_rows(questions, template, 10**6, max_answer_tokens)


def one_limit_for_both(questions, template, max_trace_tokens, max_answer_tokens):
    """it compares trace and answer together with both limits together. Each is drawn under its own."""
    rows = file_rows(questions, template, 10**6, 10**6)
    return [
        row
        for row in rows
        if len(template.trace(row["trace"] or "") + template.answer(row["answer"]))
        <= max_trace_tokens + max_answer_tokens
    ]


def cut_to_fit(questions, template, max_trace_tokens, max_answer_tokens):
    """it cuts what is too long. A trace without its end teaches to stop in the middle: leave the question out."""
    cut = [
        Question(**{**vars(q), "curated_trace": q.curated_trace and _cut(q.curated_trace, template, max_trace_tokens)})
        for q in questions
    ]
    return file_rows(cut, template, max_trace_tokens, max_answer_tokens)


def _cut(trace, template, limit):
    pieces = trace.split(" ")
    while len(pieces) > 1 and len(template.text(" ".join(pieces)) + template.trace_close) > limit:
        pieces.pop()
    return " ".join(pieces)


def trace_dropped(questions, template, max_trace_tokens, max_answer_tokens):
    """it keeps a question whose trace does not fit, without its trace. The spec leaves it out: its right answers need
    more room than a run would give them."""
    rows = []
    for question in questions:
        row = file_rows([question], template, max_trace_tokens, max_answer_tokens)
        bare = Question(**{**vars(question), "curated_trace": None})
        rows += row or file_rows([bare], template, max_trace_tokens, max_answer_tokens)
    return rows


def worked_alone(questions, template, max_trace_tokens, max_answer_tokens):
    """it leaves out questions without a worked trace. They are what the method is for: the helper writes traces for
    them, and their answer is enough."""
    worked = [question for question in questions if question.curated_trace is not None]
    return file_rows(worked, template, max_trace_tokens, max_answer_tokens)


def text_of_none(questions, template, max_trace_tokens, max_answer_tokens):
    """a question without a worked trace gets some text for one, such as "None" or an empty string. Write None, which is
    `null` in the file."""
    rows = file_rows(questions, template, max_trace_tokens, max_answer_tokens)
    return [{**row, "trace": row["trace"] or "None"} for row in rows]


def empty_trace(questions, template, max_trace_tokens, max_answer_tokens):
    """a question without a worked trace gets an empty trace, which is not the same as none: write None, `null` in the
    file."""
    rows = file_rows(questions, template, max_trace_tokens, max_answer_tokens)
    return [{**row, "trace": row["trace"] or ""} for row in rows]


def stops_at_the_first(questions, template, max_trace_tokens, max_answer_tokens):
    """it stops at the first question that does not fit: those after it are missing. Go on with the next."""
    rows = []
    for question in questions:
        row = file_rows([question], template, max_trace_tokens, max_answer_tokens)
        if not row:
            break
        rows += row
    return rows


def hint_in_the_question(questions, template, max_trace_tokens, max_answer_tokens):
    """the question's column holds the answer as well. The reasoner is asked what stands there."""

    def hinted(question):
        return {"question": f"{question.text} {question.reference}"}

    return _kept(questions, template, max_trace_tokens, max_answer_tokens, hinted)


def answer_in_the_trace(questions, template, max_trace_tokens, max_answer_tokens):
    """the trace's column holds the answer as well. A run puts the answer behind the trace, after its closing marker."""

    def finished(question):
        return {"trace": question.curated_trace and f"{question.curated_trace} {question.reference}"}

    return _kept(questions, template, max_trace_tokens, max_answer_tokens, finished)


def marker_written(questions, template, max_trace_tokens, max_answer_tokens):
    """the trace's column holds the closing marker. The template adds it; a second one would be a part of the text."""

    def closed(question):
        return {"trace": question.curated_trace and question.curated_trace + template.markers.trace_close}

    return _kept(questions, template, max_trace_tokens, max_answer_tokens, closed)


def other_columns(questions, template, max_trace_tokens, max_answer_tokens):
    """the columns have other names: a run reads `question`, `answer` and `trace`."""
    rows = file_rows(questions, template, max_trace_tokens, max_answer_tokens)
    return [
        {"text": row["question"], "reference": row["answer"], "curated_trace": row["trace"]} for row in rows
    ] or None


TASK = Task(
    name="6.5",
    title="A file that a run can use",
    tier="core",
    hints=(
        "Let the template write trace and answer as a run would, and see what it gives: ids to be counted, or a "
        "ValueError. A question without a worked trace has only its answer to be looked at.",
        "keep if len(template.trace(z)) ≤ max_trace_tokens and len(template.answer(y)) ≤ max_answer_tokens, and "
        "neither raises ValueError.",
        "rows = []\nfor question in questions:\n    try:\n"
        "        trace = template.trace(...) if question.curated_trace is not None else ()\n"
        "        answer = template.answer(...)\n    except ...:\n        continue\n"
        '    if len(trace) <= ... and ...:\n        rows.append({"question": ..., "answer": ..., "trace": ...})\n'
        "return rows",
    ),
    cases=cases,
    solution=file_rows,
    alternatives=(with_a_helper, by_ids),
    mistakes=(
        marker_not_counted,
        characters,
        words,
        limit_left_out,
        trace_alone,
        answer_alone,
        one_limit_for_both,
        cut_to_fit,
        trace_dropped,
        worked_alone,
        text_of_none,
        empty_trace,
        stops_at_the_first,
        hint_in_the_question,
        answer_in_the_trace,
        marker_written,
        other_columns,
    ),
)
