"""Task 2.2: how often a question has anything to teach."""

import torch

from varcore.exercises.drawing import accuracies
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, dtype=torch.float64):
        return accuracies(generator, *shape, dtype=dtype)

    ends = torch.tensor([0.0, 1.0, 0.3], dtype=torch.float64)
    return [
        Case("three questions, M = 8", (draw(3), 8)),
        Case("five questions, M = 3", (draw(5), 3)),
        Case("a tensor of shape (2, 3), M = 2", (draw(2, 3), 2)),
        Case("a single trace (M = 1)", (draw(3), 1)),
        Case("hard questions, M = 64", (draw(3) / 100, 64)),
        Case("p = 0, p = 1 and p = 0.3", (ends, 8)),
        Case("float32", (draw(3, dtype=torch.float32), 8)),
    ]


def chance_to_learn(p, M):
    return 1 - (1 - p) ** M


def by_logarithms(p, M):
    return -torch.expm1(M * torch.log1p(-p))


def looped(p, M):
    all_wrong = torch.ones_like(p)
    for _ in range(M):
        all_wrong = all_wrong * (1 - p)
    return 1 - all_wrong


def all_wrong(p, M):
    """it is the chance that all M traces are wrong, the questions that are skipped; the others are asked for."""
    return (1 - p) ** M


def all_right(p, M):
    """it is the chance that all M traces are right. One right trace is enough for a question to teach something."""
    return p**M


def one_wrong(p, M):
    """it is the chance that some trace is wrong: p and 1 - p have changed places."""
    return 1 - p**M


def added(p, M):
    """it adds the chances of M traces. Two right traces in one group are then counted twice, and the sum passes one."""
    return M * p


def capped(p, M):
    """it adds the chances of M traces and cuts the sum off at one. Two right traces in one group are counted twice."""
    return (M * p).clamp(max=1.0)


def exactly_one(p, M):
    """it is the chance of exactly one right trace; two or three right ones teach as well."""
    return M * p * (1 - p) ** (M - 1)


def one_draw_too_few(p, M):
    """it is the chance of a right trace among M - 1. All M are drawn before the question is judged."""
    return 1 - (1 - p) ** (M - 1)


def for_rare_ones(p, M):
    """it is 1 - exp(-M p), which comes near for small p only. M traces are a whole number of independent draws."""
    return 1 - (-M * p).exp()


def one_trace(p, M):
    """it is the chance that one trace is right, whatever M is."""
    return p + 0.0


TASK = Task(
    name="2.2",
    title="How often is there anything to learn?",
    tier="warm-up",
    hints=(
        "At least one right trace: the opposite is easier. In which single case is a question skipped?",
        "P(skipped) = (1 - p)^M, because the traces are drawn independently. The rest learns.",
        "return 1 - ...",
    ),
    cases=cases,
    solution=chance_to_learn,
    alternatives=(by_logarithms, looped),
    mistakes=(all_wrong, all_right, one_wrong, added, capped, exactly_one, one_draw_too_few, for_rare_ones, one_trace),
    library="varcore.forward_kl_question_weight",
)
