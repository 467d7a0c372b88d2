"""Task 7.2: a flat batch of rollouts as a grid, one row a question."""

import math

import torch

from varcore.exercises.drawing import normal
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*questions, fill=-math.inf, dtype=torch.float64):
        return normal(generator, len(questions), dtype=dtype), torch.tensor(questions), fill

    return [
        Case("two questions of three rollouts, mixed", draw(0, 1, 1, 0, 1, 0), slopes=(0,)),
        Case("questions that are not in order", draw(2, 0, 2, 1, 0, 1), slopes=(0,)),
        Case("groups of different sizes, with fill 7", draw(1, 0, 1, 1, 2, 0, fill=7.0), slopes=(0,)),
        Case("groups of different sizes, with fill -inf", draw(4, 9, 9, 4, 4, 5, 4, 9), slopes=(0,)),
        Case("one rollout", draw(3), slopes=(0,)),
        Case("float32, with fill 0", draw(1, 0, 0, 2, 0, fill=0.0, dtype=torch.float32)),
    ]


def by_question(values, question, fill):
    groups = [values[question == x] for x in question.unique()]  # unique sorts
    return torch.nn.utils.rnn.pad_sequence(groups, batch_first=True, padding_value=fill)


def by_places(values, question, fill):
    _, row, counts = question.unique(return_inverse=True, return_counts=True)
    column = (row[:, None] == row).tril(-1).sum(-1)  # how many of the same question came before
    return values.new_full((len(counts), int(counts.max())), fill).index_put((row, column), values)


def one_by_one(values, question, fill):
    rows = {x: [] for x in sorted(set(question.tolist()))}
    for value, x in zip(values, question.tolist(), strict=True):
        rows[x].append(value)
    longest = max(map(len, rows.values()))
    nothing = values.new_tensor(fill)
    return torch.stack([torch.stack(row + [nothing] * (longest - len(row))) for row in rows.values()])


def as_they_come(values, question, fill):
    """it cuts the batch into rows as the rollouts come. They are mixed: `question` says which belong together."""
    return values.view(len(question.unique()), -1)


def neighbours_only(values, question, fill):
    """only neighbours are taken together, so a question that comes back later gets a second row. Shuffled batches and
    several workers mix the rollouts of all questions."""
    counts = question.unique_consecutive(return_counts=True)[1]
    return torch.nn.utils.rnn.pad_sequence(values.split(counts.tolist()), batch_first=True, padding_value=fill)


def first_come(values, question, fill):
    """the rows are in the order in which questions first appear. They are asked for in ascending order: another
    tensor of the same batch must come out in the same order, whichever rows it has."""
    seen = list(dict.fromkeys(question.tolist()))
    groups = [values[question == x] for x in seen]
    return torch.nn.utils.rnn.pad_sequence(groups, batch_first=True, padding_value=fill)


def number_as_row(values, question, fill):
    """it takes the number of a question for the number of its row, and numbers that do not occur get rows of their
    own, empty ones."""
    groups = [values[question == x] for x in range(int(question.max()) + 1)]
    return torch.nn.utils.rnn.pad_sequence(groups, batch_first=True, padding_value=fill)


def always_zero(values, question, fill):
    """empty places hold 0, whatever `fill` says. For a log weight, 0 is the weight 1: a trace that nobody drew would
    get a share."""
    return by_question(values, question, 0.0)


def always_infinite(values, question, fill):
    """empty places hold -inf, whatever `fill` says. That is right for log weights; for log-probabilities that a
    weight of 0 will multiply it gives NaN."""
    return by_question(values, question, -math.inf)


def not_a_number(values, question, fill):
    """empty places hold NaN, whatever `fill` says."""
    return by_question(values, question, math.nan)


def cut_to_the_shortest(values, question, fill):
    """rollouts are lost: every row was cut to the smallest group. They were paid for; fill the short rows up."""
    counts = question.unique(return_counts=True)[1]
    return by_question(values, question, fill)[:, : int(counts.min())]


def filled_in_front(values, question, fill):
    """the short rows are filled up in front. The rollouts come first, in their order, then the fill."""
    groups = [values[question == x].flip(0) for x in question.unique()]
    return torch.nn.utils.rnn.pad_sequence(groups, batch_first=True, padding_value=fill).flip(-1)


def turned_round(values, question, fill):
    """the rollouts of a row are in reversed order. They stay in the order of the batch."""
    groups = [values[question == x].flip(0) for x in question.unique()]
    return torch.nn.utils.rnn.pad_sequence(groups, batch_first=True, padding_value=fill)


def sorted_by_value(values, question, fill):
    """the rollouts of a row are sorted by value. Then the columns of two tensors of one batch speak of different
    rollouts; they stay in the order of the batch."""
    groups = [values[question == x].sort().values for x in question.unique()]
    return torch.nn.utils.rnn.pad_sequence(groups, batch_first=True, padding_value=fill)


def transposed(values, question, fill):
    """questions are in the columns. varcore's functions take traces on the last axis: `[B, K]`."""
    return by_question(values, question, fill).T


def cut_off(values, question, fill):
    """the values are right, and gradient does not pass: `.tolist()`, `.item()` or `torch.tensor(...)` on the way cuts
    it off. Log-probabilities of the policy go through here."""
    return by_question(values.detach(), question, fill)


TASK = Task(
    name="7.2",
    title="Rollouts in a heap, questions in rows",
    tier="warm-up",
    hints=(
        "Go through the questions in ascending order, pick the rollouts of each with a boolean mask, and put the "
        "pieces into one grid. torch has a function that pads a list of tensors.",
        "found[b, k] = the k-th value whose question is the b-th smallest; fill where there is none.",
        "groups = [values[question == ...] for x in question.unique()]\n"
        "return torch.nn.utils.rnn.pad_sequence(..., batch_first=True, padding_value=...)",
    ),
    cases=cases,
    solution=by_question,
    alternatives=(by_places, one_by_one),
    mistakes=(
        as_they_come,
        neighbours_only,
        first_come,
        number_as_row,
        always_zero,
        always_infinite,
        not_a_number,
        cut_to_the_shortest,
        filled_in_front,
        turned_round,
        sorted_by_value,
        transposed,
        cut_off,
    ),
)
