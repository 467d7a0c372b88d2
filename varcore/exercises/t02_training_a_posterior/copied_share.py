"""Task 2.7: how much of the hint stands in a trace?"""

import difflib
import itertools

import torch

from varcore.exercises.task import Case, Task


def cases(generator):
    def length(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    words = [f"w{number}" for number in torch.randperm(60, generator=generator).tolist()]
    hint, others = words[: length(8, 30)], words[30:]
    n = len(hint)
    start, run = length(1, 3), length(4, 6)
    piece = hint[start : start + run]
    scattered = [word for pair in zip(hint, others, strict=False) for word in pair]
    repeated = [hint[0]] * 3 + hint[:5]
    long = scattered * (200 // len(scattered) + 1)
    return [
        Case("a trace with a piece of the hint in it", (hint, [*others[:4], *piece, *others[4:7]])),
        Case("a trace that writes the hint and goes on", (hint, [*others[:2], *hint, *others[2:5]])),
        Case("a trace with two pieces of the hint", (hint, [*hint[:3], others[0], *piece, *hint[-2:]])),
        Case("a trace with the hint's words, but never two in a row", (hint, scattered)),
        Case("a trace with the hint's words backwards", (hint, hint[::-1])),
        Case("a trace shorter than the hint, all of it copied", (hint, piece)),
        Case("a hint that begins with one word several times", ([hint[0], hint[0], *hint[1:]], repeated)),
        Case("a trace of some hundred words", (hint, [*long, *piece, *long])),
        Case("a trace with nothing of the hint", (hint, others)),
        Case("a hint of 1 and 2, and a trace that says 12", (["1", "2"] * n, ["12", "12", others[0]])),
        Case("an empty trace", (hint, [])),
        Case("an empty hint", ([], others)),
    ]


def copied_share(hint, trace):
    best = 0
    for start in range(len(hint)):
        for end in range(start + best + 1, len(hint) + 1):  # only pieces longer than the best so far
            piece = hint[start:end]
            if not any(trace[at : at + len(piece)] == piece for at in range(len(trace))):
                break  # a longer piece from here is not in it either
            best = len(piece)
    return best / len(hint) if hint else 0.0


def by_table(hint, trace):
    best, ends = 0, [0] * (len(hint) + 1)  # ends[j]: longest run that ends at hint[j - 1] and the current word
    for word in trace:
        ends = [0] + [ends[j] + 1 if hint[j] == word else 0 for j in range(len(hint))]
        best = max(best, *ends)
    return best / max(len(hint), 1)


def by_diagonals(hint, trace):
    best = 0
    for i in range(len(hint)):
        for j in range(len(trace)):
            run = 0
            while i + run < len(hint) and j + run < len(trace) and hint[i + run] == trace[j + run]:
                run += 1
            best = max(best, run)
    return best / len(hint) if len(hint) > 0 else 0.0


def by_library(hint, trace):
    matcher = difflib.SequenceMatcher(None, hint, trace, autojunk=False)
    return matcher.find_longest_match().size / (len(hint) or 1)


def words_counted(hint, trace):
    """it counts the hint's words wherever they stand. A trace that solves the puzzle itself uses many of them; only a
    piece in the hint's own order, in a row, speaks of copying."""
    return sum(word in trace for word in hint) / len(hint) if hint else 0.0


def any_order(hint, trace):
    """it counts words in a row that are somewhere in the hint, whatever their order. The hint backwards is no copy."""
    best = run = 0
    for word in trace:
        run = run + 1 if word in hint else 0
        best = max(best, run)
    return best / len(hint) if hint else 0.0


def with_gaps(hint, trace):
    """it allows other words in between. A piece is copied in a row: what is wanted is the longest *run*."""
    table = [[0] * (len(trace) + 1) for _ in range(len(hint) + 1)]
    for i, a in enumerate(hint):
        for j, b in enumerate(trace):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1] / len(hint) if hint else 0.0


def all_or_nothing(hint, trace):
    """it only sees a hint that is copied whole. Half a hint is half a leak."""
    return float(bool(hint) and any(trace[at : at + len(hint)] == hint for at in range(len(trace))))


def of_the_trace(hint, trace):
    """it divides by the length of the trace. A long trace that copies the whole hint would then look innocent: divide
    by the hint's length."""
    return copied_share(hint, trace) * len(hint) / len(trace) if trace else 0.0


def run_length(hint, trace):
    """it is the length of the longest run in words; the share of the hint is asked for."""
    return float(round(copied_share(hint, trace) * len(hint)))


def from_the_start(hint, trace):
    """it only looks for pieces with which the hint begins. A piece from its middle is copied as well."""
    best = max((n for n in range(len(hint) + 1) if _stands_in(hint[:n], trace)), default=0)
    return best / len(hint) if hint else 0.0


def _stands_in(piece, trace):
    return any(trace[at : at + len(piece)] == piece for at in range(len(trace)))


def place_by_place(hint, trace):
    """it compares word by word from the start of both. A copied piece may stand anywhere in the trace."""
    return sum(a == b for a, b in zip(hint, trace, strict=False)) / len(hint) if hint else 0.0


def all_runs(hint, trace):
    """it adds up every piece of two words or more. Only the longest one counts: two short pieces are no long one."""
    pairs = set(itertools.pairwise(hint))
    total = sum(pair in pairs for pair in itertools.pairwise(trace)) + 1
    return min(total, len(hint)) / len(hint) if hint else 0.0


def letters(hint, trace):
    """it joins the words and compares letters. `1 2` and `12` are different tokens; compare the lists."""
    return _share_of_text(hint, trace, "")


def blanks(hint, trace):
    """it joins the words with blanks and compares text. `2 1` stands in the text `12 12`, but no such tokens: compare
    the lists."""
    return _share_of_text(hint, trace, " ")


def _share_of_text(hint, trace, between):
    text, best = between.join(trace), 0
    for start in range(len(hint)):
        while start + best < len(hint) and between.join(hint[start : start + best + 1]) in text:
            best += 1
    return best / len(hint) if hint else 0.0


def last_word_missed(hint, trace):
    """it never looks at the trace's last word. Python's ranges and slices stop one before their end."""
    return copied_share(hint, trace[:-1])


def common_words_missed(hint, trace):
    """it does not see words that come often: in a long trace `difflib` takes these for junk, unless told not to."""
    return difflib.SequenceMatcher(None, hint, trace).find_longest_match().size / (len(hint) or 1)


def alike_on_the_whole(hint, trace):
    """it is `difflib`'s ratio: how alike the two lists are on the whole, all pieces added and both lengths below. Asked
    for is the longest piece alone, over the hint's length."""
    return difflib.SequenceMatcher(None, hint, trace).ratio()


def first_place_alone(hint, trace):
    """it looks at the first place alone where a word of the hint stands in the trace. The longest run may begin where
    the word comes again."""
    best = 0
    for i, word in enumerate(hint):
        start, run = trace.index(word) if word in trace else len(trace), 0
        while i + run < len(hint) and start + run < len(trace) and hint[i + run] == trace[start + run]:
            run += 1
        best = max(best, run)
    return best / (len(hint) or 1)


def never_steps_back(hint, trace):
    """it walks through the hint with one finger, and after a mismatch begins again at the hint's start. Where a word
    comes twice, or a piece begins elsewhere, it misses the run."""
    best = finger = 0
    for word in trace:
        finger = finger + 1 if finger < len(hint) and hint[finger] == word else 0
        best = max(best, finger)
    return best / len(hint) if hint else 0.0


def empty_hint_breaks(hint, trace):
    """an empty hint breaks it, 0 over 0: nothing can be copied from nothing, so the share is 0.0."""
    return copied_share(hint, trace) if hint else float("nan")


TASK = Task(
    name="2.7",
    title="How much of the hint is in the trace?",
    tier="core",
    hints=(
        "Every run begins somewhere in the hint and somewhere in the trace. Try all pairs of beginnings: how far do "
        "the two agree from there? Slow is fine, these are short.",
        "max over i, j of the largest n with hint[i:i+n] == trace[j:j+n], divided by len(hint); 0.0 for an empty hint.",
        "best = 0\nfor i in range(len(hint)):\n    for j in range(len(trace)):\n        run = 0\n"
        "        while ... and hint[i + run] == trace[j + run]:\n            run += 1\n        best = max(best, run)\n"
        "return ...",
    ),
    cases=cases,
    solution=copied_share,
    alternatives=(by_table, by_diagonals, by_library),
    mistakes=(
        words_counted,
        any_order,
        with_gaps,
        all_or_nothing,
        of_the_trace,
        run_length,
        from_the_start,
        place_by_place,
        all_runs,
        letters,
        blanks,
        last_word_missed,
        common_words_missed,
        alike_on_the_whole,
        first_place_alone,
        never_steps_back,
        empty_hint_breaks,
    ),
)
