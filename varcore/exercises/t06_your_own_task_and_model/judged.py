"""Task 6.8: find what lets answers through that never ended."""

from varcore.exercises.t06_your_own_task_and_model.coins import draw, payments, rng_of, text_of
from varcore.exercises.t06_your_own_task_and_model.template import SPELLED, TEMPLATE
from varcore.exercises.t06_your_own_task_and_model.verify import verify
from varcore.exercises.task import Case, Task
from varcore.tasks import Question


def cases(generator):
    rng = rng_of(generator)

    def asked():
        """A question, and a right answer that ends with a coin of 9, a wrong and an unreadable one."""
        ways = []
        while not ways:
            amount, coins = draw(rng)
            ways = [way for way in payments(amount, coins) if len(way) > 2 and way[0] != 9 == way[-1]]
        right = " ".join(map(str, rng.choice(ways)))
        question = Question(text_of(amount, coins), text_of(amount, coins), 1, right)
        return question, [right, f"{right} {coins[0]}", f"{right} OK"]

    def answers(template, *kinds):
        """Arguments with answers of these kinds: (0 right, 1 wrong, 2 unreadable; number of ids of its ending)."""
        question, texts = asked()
        ids = [template.text(texts[kind]) + template.answer_close[:ends] for kind, ends in kinds]
        return template, verify, question, ids

    question, (right, *_) = asked()
    cut, backwards = SPELLED.text(right), SPELLED.text(" ".join(right.split(" ")[::-1]))
    longer = TEMPLATE.text(right) + TEMPLATE.answer_close + TEMPLATE.text("12")
    return [
        Case("answers that are all ended", answers(TEMPLATE, *rng.sample([(0, 1), (1, 1), (2, 1), (0, 1)], 4))),
        Case("answers of which some were cut", answers(TEMPLATE, *rng.sample([(0, 1), (0, 0), (1, 0), (2, 1)], 4))),
        Case("answers that were all cut", answers(TEMPLATE, (0, 0), (0, 0), (1, 0))),
        Case("an ending of two ids", answers(SPELLED, *rng.sample([(0, 2), (1, 2), (0, 2), (0, 0)], 4))),
        Case("an ending of two ids, cut between them", answers(SPELLED, (0, 1), (0, 2), (1, 1))),
        Case("a cut answer whose last coin is the last id of the ending", (SPELLED, verify, question, [cut])),
        Case("a cut answer whose first coin is an id of the ending", (SPELLED, verify, question, [backwards])),
        Case("an answer that goes on behind its ending", (TEMPLATE, verify, question, [longer])),
        Case("a trace after which nothing was drawn", (TEMPLATE, verify, question, [])),
    ]


def judged(template, verify, question, answer_ids):
    verdicts = []
    for ids in answer_ids:
        if ids[-len(template.answer_close) :] == template.answer_close:
            verdicts.append(str(verify(question, template.read_answer(ids))))
        else:
            verdicts.append("unparsed")
    return verdicts


def in_one_line(template, verify, question, answer_ids):
    close = template.answer_close
    ended = [tuple(ids[max(0, len(ids) - len(close)) :]) == close for ids in answer_ids]
    texts = [template.read_answer(ids) for ids in answer_ids]
    return [verify(question, text).value if end else "unparsed" for text, end in zip(texts, ended, strict=True)]


def by_verdict(template, verify, question, answer_ids):
    found = list(map(str, (verify(question, template.read_answer(ids)) for ids in answer_ids)))
    width = len(template.answer_close)
    for place, ids in enumerate(answer_ids):
        if len(ids) < width or any(a != b for a, b in zip(ids[-width:], template.answer_close, strict=True)):
            found[place] = "unparsed"
    return found


def as_it_was(template, verify, question, answer_ids):
    """this does what the function at the start does: it judges texts, and a text does not show whether the model ended
    it or the limit cut it. Look at the ids."""
    return [str(verify(question, template.read_answer(ids))) for ids in answer_ids]


def cut_is_wrong(template, verify, question, answer_ids):
    """it calls an answer that was cut `wrong`. It is no answer: `unparsed`."""
    right = judged(template, verify, question, answer_ids)
    width = len(template.answer_close)
    return [
        verdict if ids[-width:] == template.answer_close else "wrong"
        for verdict, ids in zip(right, answer_ids, strict=True)
    ]


def cut_left_out(template, verify, question, answer_ids):
    """it leaves out answers that were cut. They were drawn, and count: an accuracy among those that ended flatters the
    trace."""
    width = len(template.answer_close)
    return judged(template, verify, question, [ids for ids in answer_ids if ids[-width:] == template.answer_close])


def all_or_nothing(template, verify, question, answer_ids):
    """one answer that was cut spoils all the others after its trace. Each is judged by itself."""
    width = len(template.answer_close)
    if all(ids[-width:] == template.answer_close for ids in answer_ids):
        return judged(template, verify, question, answer_ids)
    return ["unparsed"] * len(answer_ids)


def last_id_alone(template, verify, question, answer_ids):
    """it looks at the last id alone. An ending may have several ids, and the last of them may come by itself."""
    ended = [ids[-1:] == template.answer_close[-1:] for ids in answer_ids]
    texts = [template.read_answer(ids) for ids in answer_ids]
    return [str(verify(question, text)) if end else "unparsed" for text, end in zip(texts, ended, strict=True)]


def anywhere(template, verify, question, answer_ids):
    """it looks for the ending anywhere, and reads what stands before it. A run ends an answer at its ending; where
    something follows, it was not drawn by this template: `unparsed`."""
    verdicts, width = [], len(template.answer_close)
    for ids in answer_ids:
        ends = [n for n in range(width, len(ids) + 1) if ids[n - width : n] == template.answer_close]
        verdicts += judged(template, verify, question, [ids[: ends[0]]] if ends else [ids])
    return verdicts


def any_id_of_it(template, verify, question, answer_ids):
    """it takes an answer for ended that holds *some* id of the ending. All of them have to stand there, at the end."""
    verdicts = []
    for ids in answer_ids:
        text = template.read_answer(ids)
        verdicts.append(str(verify(question, text)) if set(ids) & set(template.answer_close) else "unparsed")
    return verdicts


def ending_in_the_text(template, verify, question, answer_ids):
    """it looks for the ending in the text that `read_answer` gives, which has it taken off already: no answer is ended
    any more."""
    return ["unparsed" for _ in answer_ids]


def ending_read(template, verify, question, answer_ids):
    """it hands the ending to the verifier as well: decode without it, as `read_answer` does."""
    verdicts = []
    for ids in answer_ids:
        text = str(template.tokenizer.decode(list(ids))).removeprefix(template.markers.text_prefix)
        verdicts.append(str(verify(question, text)))
    return verdicts


def right_or_not(template, verify, question, answer_ids):
    """it knows `right` and `wrong` only. What the verifier says about an ended answer stays as it is: `unparsed` tells
    that the form was not learned."""
    right = judged(template, verify, question, answer_ids)
    return ["right" if verdict == "right" else "wrong" for verdict in right]


def verdicts_as_objects(template, verify, question, answer_ids):
    """a cut answer gets `unparsed`, but the others keep the verifier's own objects. The spec, like the ledger, has
    text: `str(verdict)`."""
    verdicts, width = [], len(template.answer_close)
    for ids in answer_ids:
        ended = ids[-width:] == template.answer_close
        verdicts.append(verify(question, template.read_answer(ids)) if ended else "unparsed")
    return verdicts


TASK = Task(
    name="6.8",
    title="Right answers that never ended",
    tier="core",
    kind="debugging",
    hints=(
        "What does the verifier see of an answer, and what does it not see? Print the last id of every answer that is "
        "called right. What would a reasoner learn from one that has no end?",
        "ended: ids[-n:] == template.answer_close, n = len(template.answer_close). Not ended: unparsed, whatever the "
        "text says.",
        "verdicts = []\nfor ids in answer_ids:\n    if ids[-len(...) :] == ...:\n"
        "        verdicts.append(str(verify(question, template.read_answer(ids))))\n    else:\n"
        "        verdicts.append(...)\nreturn verdicts",
    ),
    cases=cases,
    solution=judged,
    alternatives=(in_one_line, by_verdict),
    mistakes=(
        as_it_was,
        cut_is_wrong,
        cut_left_out,
        all_or_nothing,
        last_id_alone,
        anywhere,
        any_id_of_it,
        ending_in_the_text,
        ending_read,
        right_or_not,
        verdicts_as_objects,
    ),
)
