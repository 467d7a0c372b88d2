"""Task 5.2: where does a trace end?"""

import torch

from varcore.exercises.task import Case, Task


def cases(generator):
    a, b, c, *others = (torch.randperm(40, generator=generator) + 2).tolist()
    one, three = (a,), (a, a, b)
    text = tuple(others)

    def piece(low, high):
        start, length = torch.randint(low, high, (2,), generator=generator).tolist()
        return text[start : start + length]

    return [
        Case("a trace and an answer", ((*piece(4, 8), *one, *piece(2, 4), c), one)),
        Case("a continuation without the marker", ((*piece(4, 8), c), one)),
        Case("a continuation with two markers", ((*piece(4, 8), *one, *piece(2, 4), *one, c), one)),
        Case("a marker of three ids", (piece(4, 8) + three + piece(2, 4), three)),
        Case(
            "a marker of three ids, with parts of it before",
            ((*piece(2, 4), a, b, *piece(2, 4), b, *three, c), three),
        ),
        Case(
            "a marker of three ids, with other ids between its own before",
            ((a, text[0], a, text[1], b, *piece(4, 8), *three, c), three),
        ),
        Case("a marker of three ids that begins one id too early", ((*piece(4, 8), a, *three, c, c), three)),
        Case("a continuation that ends with the marker", (piece(4, 8) + three, three)),
        Case("a continuation that breaks off inside the marker", ((*piece(4, 8), a, a), three)),
        Case("a marker whose digits, but not whose ids, come earlier", ((c, 10 * c + 1, 25, 1, 2, c), (1, 2))),
        Case("an empty continuation", ((), three)),
    ]


def split(ids, close):
    for end in range(len(close), len(ids) + 1):
        if ids[end - len(close) : end] == close:
            return ids[:end], ids[end:]
    return ids, ()


def by_first_id(ids, close):
    starts = [place for place, id_ in enumerate(ids) if id_ == close[0]]
    ends = [start + len(close) for start in starts if ids[start : start + len(close)] == close]
    end = min(ends, default=len(ids))
    return ids[:end], ids[end:]


def one_by_one(ids, close):
    trace = ()
    while len(trace) < len(ids):
        trace = (*trace, ids[len(trace)])
        if trace[-len(close) :] == close:
            break
    return trace, ids[len(trace) :]


def last_marker(ids, close):
    """it cuts at the last marker. What comes after the first one is answer, whatever it holds; else a model could go
    on thinking in its answer."""
    for end in range(len(ids), len(close) - 1, -1):
        if ids[end - len(close) : end] == close:
            return ids[:end], ids[end:]
    return ids, ()


def marker_dropped(ids, close):
    """the closing marker is gone. It was sampled, it has a probability, and it is the last token of the trace."""
    trace, answer = split(ids, close)
    return (trace[: -len(close)] if trace[-len(close) :] == close else trace), answer


def marker_in_the_answer(ids, close):
    """the closing marker stands at the start of the answer. It belongs to the trace: to stop thinking is a part of
    thinking."""
    trace, answer = split(ids, close)
    if trace[-len(close) :] != close:
        return trace, answer
    return trace[: -len(close)], close + answer


def unclosed_is_answer(ids, close):
    """without a marker all of it is taken for the answer. The model was still thinking when the limit cut it."""
    trace, answer = split(ids, close)
    return (trace, answer) if trace[-len(close) :] == close else ((), ids)


def unclosed_is_none(ids, close):
    """without a marker the answer is None. The spec asks for an empty tuple, which has a length and can be joined."""
    trace, answer = split(ids, close)
    return (trace, answer) if trace[-len(close) :] == close else (ids, None)


def first_id_alone(ids, close):
    """it looks for the marker's first id alone. A marker may have several; only all of them in a row close a trace."""
    if close[0] not in ids:
        return ids, ()
    end = ids.index(close[0]) + len(close)
    return ids[:end], ids[end:]


def last_id_alone(ids, close):
    """it looks for the marker's last id alone. A marker may have several; only all of them in a row close a trace."""
    end = ids.index(close[-1]) + 1 if close[-1] in ids else len(ids)
    return ids[:end], ids[end:]


def never_steps_back(ids, close):
    """it walks through the marker with one finger, and after a mismatch begins again at the marker's start. Where the
    marker begins one id earlier than it seems, it is missed."""
    finger = 0
    for place, id_ in enumerate(ids):
        finger = finger + 1 if id_ == close[finger] else 0
        if finger == len(close):
            return ids[: place + 1], ids[place + 1 :]
    return ids, ()


def with_gaps(ids, close):
    """it allows other ids between those of the marker. Only all of them in a row close a trace."""
    finger = 0
    for place, id_ in enumerate(ids):
        finger += id_ == close[finger]
        if finger == len(close):
            return ids[: place + 1], ids[place + 1 :]
    return ids, ()


def any_id_of_it(ids, close):
    """it stops at the first id that is one of the marker's. A marker may have several; only all of them in a row close
    a trace."""
    end = next((place + 1 for place, id_ in enumerate(ids) if id_ in close), len(ids))
    return ids[:end], ids[end:]


def answer_first(ids, close):
    """the answer comes first; the spec asks for the trace, then the answer."""
    return split(ids, close)[::-1]


def lists(ids, close):
    """the cut is right, and the parts are lists; the spec asks for two tuples, as all ids on this page are."""
    trace, answer = split(ids, close)
    return list(trace), list(answer)


def digits(ids, close):
    """it looks for the marker in a text of digits. `1 2` stands in the text `31 12`, but no such ids: compare ids."""
    text, marker = " ".join(map(str, ids)), " ".join(map(str, close))
    place = text.find(marker)
    if place < 0:
        return ids, ()
    end = text[:place].count(" ") + len(close)
    return ids[:end], ids[end:]


TASK = Task(
    name="5.2",
    title="Where the thinking ends",
    tier="warm-up",
    hints=(
        "Look at every place where the marker could end, from the left. Stop at the first where the last few ids *are* "
        "the marker. If you come to the end, nothing closed the trace.",
        "the smallest n with ids[n - len(close) : n] == close; trace = ids[:n], answer = ids[n:]; none: ids and ().",
        "for end in range(len(close), ...):\n    if ids[... : end] == close:\n        return ids[:end], ...\n"
        "return ids, ...",
    ),
    cases=cases,
    solution=split,
    alternatives=(by_first_id, one_by_one),
    mistakes=(
        last_marker,
        marker_dropped,
        marker_in_the_answer,
        unclosed_is_answer,
        unclosed_is_none,
        first_id_alone,
        last_id_alone,
        any_id_of_it,
        never_steps_back,
        with_gaps,
        answer_first,
        lists,
        digits,
    ),
    library="varcore.llm.templates.Template.split",
)
