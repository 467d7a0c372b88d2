"""Task 2.1: the share of each trace in its question's lesson."""

import torch

from varcore.exercises.drawing import normal
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, dtype=torch.float64):
        return torch.rand(*shape, generator=generator, dtype=torch.float64).add(0.05).div(1.05).to(dtype)

    half_wrong = draw(3, 4) * torch.tensor([1.0, 0.0, 1.0, 0.0])
    all_wrong = draw(3, 4) * torch.tensor([[1.0], [0.0], [1.0]])
    return [
        Case("three questions of four traces", (draw(3, 4),)),
        Case("one question of five traces", (draw(5),)),
        Case("a tensor of shape (2, 3, 4)", (draw(2, 3, 4),)),
        Case("traces of which half are wrong", (half_wrong,)),
        Case("a question whose traces are all wrong", (all_wrong,)),
        Case("a single trace (M = 1)", (draw(3, 1),)),
        Case("likelihoods of long answers, near 1e-30", (1e-30 * normal(generator, 3, 4).exp(),)),
        Case("float32, and a question whose traces are all wrong", (all_wrong.float(),)),
    ]


def trace_shares(correctness):
    total = correctness.sum(-1, keepdim=True)
    return correctness / torch.where(total == 0, 1.0, total)  # all wrong: 0 / 1


def nan_to_zero(correctness):
    return (correctness / correctness.sum(dim=-1, keepdim=True)).nan_to_num(nan=0.0)


def looped(correctness):
    rows = []
    for row in correctness.reshape(-1, correctness.shape[-1]):
        rows.append(row / row.sum() if row.sum() > 0 else torch.zeros_like(row))
    return torch.stack(rows).reshape(correctness.shape)


def nan_for_all_wrong(correctness):
    """a question whose traces are all wrong gives NaN, 0 over 0. NaN in one question spoils the whole batch: the spec
    asks for zeros there."""
    return correctness / correctness.sum(-1, keepdim=True)


def uniform_for_all_wrong(correctness):
    """a question whose traces are all wrong gives each of them a share. Then q would learn to write wrong traces: the
    spec asks for zeros."""
    total = correctness.sum(-1, keepdim=True)
    shares = correctness / torch.where(total == 0, 1.0, total)
    return torch.where(total == 0, 1 / correctness.shape[-1], shares)


def small_number_added(correctness):
    """a small number was put under the fraction. It is not small beside the likelihood of a long answer: near 1e-30 the
    shares do not sum to one any more. Treat the sum 0, and only that, by itself."""
    return correctness / (correctness.sum(-1, keepdim=True) + 1e-8)


def small_number_of_double(correctness):
    """in float32 a question whose traces are all wrong gives NaN: there the number under the fraction is 0 as well.
    Treat the sum 0, and only that, by itself."""
    return correctness / correctness.sum(-1, keepdim=True).clamp(min=1e-300)


def mean_is_one(correctness):
    """the shares of a question have mean one; they should sum to one."""
    return trace_shares(correctness) * correctness.shape[-1]


def divided_by_m(correctness):
    """it divides by the number of traces. Each trace is divided by the sum over its question."""
    return correctness / correctness.shape[-1]


def best_is_one(correctness):
    """the best trace of each question has 1; it is their sum that should be 1."""
    largest = correctness.amax(-1, keepdim=True)
    return correctness / torch.where(largest == 0, 1.0, largest)


def first_axis(correctness):
    """it divides by the sum over the first axis, so that questions compete with each other; the traces of *one*
    question share its 1, and they are on the last axis."""
    return trace_shares(correctness.movedim(0, -1)).movedim(-1, 0)


def whole_batch(correctness):
    """all shares of the batch together sum to one; those of each question should."""
    return trace_shares(correctness.flatten()).reshape(correctness.shape)


def softmaxed(correctness):
    """it takes a softmax. The accuracies are probabilities, not logarithms: a trace of accuracy 0 must have share 0."""
    return correctness.softmax(-1)


def right_ones_alike(correctness):
    """every trace with an accuracy above 0 gets the same share. A trace that leads to the answer nine times in ten
    counts more than one that does so once in ten."""
    return trace_shares((correctness > 0).to(correctness.dtype))


TASK = Task(
    name="2.1",
    title="Whose lesson is it?",
    tier="warm-up",
    hints=(
        "Each accuracy over the sum of its question's accuracies. Then think of the question whose sum is zero: 0 over "
        "0 is NaN. What should come out there, and how can you get it without touching the other questions?",
        "v_m = a_m / Σ_j a_j over the last axis; where the sum is 0, divide by 1 in its place.",
        "total = correctness.sum(-1, keepdim=...)\nreturn correctness / torch.where(total == 0, ..., total)",
    ),
    cases=cases,
    solution=trace_shares,
    alternatives=(nan_to_zero, looped),
    mistakes=(
        nan_for_all_wrong,
        uniform_for_all_wrong,
        small_number_added,
        small_number_of_double,
        mean_is_one,
        divided_by_m,
        best_is_one,
        first_axis,
        whole_batch,
        softmaxed,
        right_ones_alike,
    ),
)
