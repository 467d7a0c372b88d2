"""Task 3.3: the accuracy estimator, from sampled answers and a verifier."""

import math

import torch

from varcore.exercises.task import Case, Task


def cases(generator):
    def counts(*shape, N):
        return torch.randint(1, N, shape, generator=generator)

    def asked(*shape):
        return torch.randint(6, 12, shape, generator=generator)

    verdicts, several = counts(3, 4, N=5), asked(3, 4)
    unasked = several.clone()
    unasked[1, 2] = 0
    return [
        Case("three questions of four traces, N = 8", (counts(3, 4, N=8), 8)),
        Case("one question of five traces, N = 3", (counts(5, N=3), 3)),
        Case("another N for each trace", (verdicts, several)),
        Case("tensors of shape (2, 3, 4)", (counts(2, 3, 4, N=5), asked(2, 3, 4))),
        Case("counts in float64", (counts(3, 4, N=8).double(), 8)),
        Case("a trace whose answers are all right", (torch.tensor([3, 8, 5]), 8)),
        Case("a trace whose answers are all wrong", (torch.tensor([3, 0, 5]), 8)),
        Case("a trace that was not asked for answers", (verdicts * (unasked > 0), unasked)),
        Case("not one answer for any trace (N = 0)", (torch.zeros(2, 3, dtype=torch.long), 0)),
        Case("counts in float32", (counts(3, 4, N=8).float(), 8)),
        Case("counts in float32, another N for each trace", (verdicts.float(), several)),
    ]


def log_accuracy_correctness(num_correct, num_answers):
    sampled = torch.as_tensor(num_answers).clamp(min=1)  # no answer: 0 / 1
    return (num_correct / sampled).log()


def difference_of_logs(num_correct, num_answers):
    sampled = torch.as_tensor(num_answers).to((num_correct / 1).dtype)
    return torch.where(num_correct == 0, -math.inf, num_correct.log() - sampled.log())


def looped(num_correct, num_answers):
    asked = torch.as_tensor(num_answers).expand(num_correct.shape)
    logs = [
        math.log(right / count) if right > 0 else -math.inf
        for right, count in zip(num_correct.flatten().tolist(), asked.flatten().tolist(), strict=True)
    ]
    return torch.tensor(logs, dtype=(num_correct / 1).dtype).reshape(num_correct.shape)


def a_share(num_correct, num_answers):
    """it is the share of right answers; its logarithm is asked for."""
    return log_accuracy_correctness(num_correct, num_answers).exp()


def counted(num_correct, num_answers):
    """it is the logarithm of the count. Of how many? Divide by the number of answers that were sampled."""
    return (num_correct / 1).log()


def any_right(num_correct, num_answers):
    """one right answer makes the thought as good as right: that is Pass@N, which only grows with N. The share of right
    answers is asked for."""
    return ((num_correct > 0) / torch.ones_like(num_correct)).log()


def majority(num_correct, num_answers):
    """it takes a majority vote, right or wrong. The share itself is the estimate; rounding it makes it biased."""
    return ((2 * num_correct > num_answers) / torch.ones_like(num_correct)).log()


def all_right(num_correct, num_answers):
    """one wrong answer makes the thought worthless: that estimates the N-th power of the accuracy."""
    return ((num_correct == num_answers) / torch.ones_like(num_correct)).log()


def wrong_ones(num_correct, num_answers):
    """it is the share of *wrong* answers."""
    return (1 - num_correct / torch.as_tensor(num_answers).clamp(min=1)).log()


def smoothed(num_correct, num_answers):
    """it adds a right and a wrong answer that nobody gave. That is biased, and a thought without a right answer gets a
    weight after all; the spec gives it probability 0."""
    return ((num_correct + 1) / (torch.as_tensor(num_answers) + 2)).log()


def floored(num_correct, num_answers):
    """it keeps the logarithm from becoming -inf. But -inf is the right one: a thought without a right answer has weight
    0. A floor pays it, and with K such thoughts the floor decides all the weights."""
    return (num_correct / torch.as_tensor(num_answers).clamp(min=1)).clamp(min=1e-6).log()


def odds(num_correct, num_answers):
    """it is the logarithm of right over wrong, the odds; right over *all* is asked for."""
    return (num_correct / (num_answers - num_correct)).log()


def among_traces(num_correct, num_answers):
    """it divides by the right answers of all traces of a question. Each thought is compared with its own answers."""
    return (num_correct / num_correct.sum(-1, keepdim=True).clamp(min=1)).log()


def one_less(num_correct, num_answers):
    """it divides by N - 1. That belongs to a variance; a share is the mean of N verdicts."""
    return (num_correct / (torch.as_tensor(num_answers) - 1).clamp(min=1)).log()


def nan_for_no_answer(num_correct, num_answers):
    """a trace that was not asked for answers gives NaN, 0 over 0. NaN spoils the whole batch; nothing speaks for this
    trace, so -inf."""
    return (num_correct / num_answers).log()


def in_double(num_correct, num_answers):
    """`num_answers` was made a tensor of float64, and takes the result with it. The result has the dtype of
    `num_correct`, or torch's default dtype where that holds integers."""
    return (num_correct / torch.as_tensor(num_answers).double().clamp(min=1)).log()


TASK = Task(
    name="3.3",
    title="Ask, and count",
    tier="core",
    hints=(
        "A share of right answers, and its logarithm. torch knows the logarithm of 0. The one trap is a trace that "
        "nobody asked: 0 over 0. What could you divide by there?",
        "log(c / N); c = 0 gives -inf by itself. Where N = 0, c is 0 too: divide by 1.",
        "sampled = torch.as_tensor(num_answers).clamp(min=...)\nreturn (...).log()",
    ),
    cases=cases,
    solution=log_accuracy_correctness,
    alternatives=(difference_of_logs, looped),
    mistakes=(
        a_share,
        counted,
        any_right,
        majority,
        all_right,
        wrong_ones,
        smoothed,
        floored,
        odds,
        among_traces,
        one_less,
        nan_for_no_answer,
        in_double,
    ),
    library="varcore.log_accuracy_correctness",
)
