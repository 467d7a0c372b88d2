"""Task 2.4: a baseline that does not know the trace it is subtracted from."""

import torch

from varcore.exercises.drawing import normal
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, **settings):
        return normal(generator, *shape, **settings)

    return [
        Case("three questions of four traces", (draw(3, 4),)),
        Case("one question of five traces", (draw(5),)),
        Case("a tensor of shape (2, 3, 4)", (draw(2, 3, 4),)),
        Case("two traces (K = 2)", (draw(3, 2),)),
        Case("rewards near -2000", (draw(3, 4) - 2000,)),
        Case("a single trace (K = 1)", (draw(3, 1),)),
        Case("float32", (draw(3, 4, dtype=torch.float32),)),
    ]


def leave_one_out(rewards):
    K = rewards.shape[-1]
    if K == 1:  # there are no others
        return torch.zeros_like(rewards)
    return (rewards.sum(-1, keepdim=True) - rewards) / (K - 1)


def by_matrix(rewards):
    K = rewards.shape[-1]
    others = 1 - torch.eye(K, dtype=rewards.dtype)
    return rewards @ others / max(K - 1, 1)


def looped(rewards):
    columns = []
    for k in range(rewards.shape[-1]):
        rest = torch.cat([rewards[..., :k], rewards[..., k + 1 :]], dim=-1)
        columns.append(rest.mean(-1) if rest.shape[-1] else torch.zeros_like(rewards[..., k]))
    return torch.stack(columns, dim=-1)


def from_the_mean(rewards):
    K = rewards.shape[-1]
    return (K * rewards.mean(-1, keepdim=True) - rewards) / max(1, K - 1)


def own_included(rewards):
    """it is the mean of all K rewards, the trace's own among them. What a trace is measured by must not depend on that
    trace: only the others count."""
    return rewards.mean(-1, keepdim=True).expand_as(rewards)


def one_for_all(rewards):
    """it is one mean for the whole question, the trace's own reward among the others. Each trace has a baseline of its
    own: the result has the shape of the rewards."""
    return rewards.mean(-1, keepdim=True)


def divided_by_k(rewards):
    """it divides the sum of the others by K; there are K - 1 of them."""
    return (rewards.sum(-1, keepdim=True) - rewards) / rewards.shape[-1]


def sum_of_others(rewards):
    """it is the sum of the others; their mean is asked for."""
    return rewards.sum(-1, keepdim=True) - rewards


def own_kept_in_the_sum(rewards):
    """it divides the sum of all K rewards by K - 1; the trace's own reward has to be taken out first."""
    K = rewards.shape[-1]
    return (rewards.sum(-1, keepdim=True) / max(K - 1, 1)).expand_as(rewards)


def difference(rewards):
    """it is the reward minus the baseline. The baseline itself is asked for; task 2.5 subtracts it."""
    return rewards - leave_one_out(rewards)


def all_questions(rewards):
    """it averages over all questions. A baseline is there to take out the level of *its* question, which differs from
    question to question."""
    return leave_one_out(rewards.flatten()).reshape(rewards.shape)


def first_axis(rewards):
    """it averages over the other questions; the traces of one question are on the last axis."""
    return leave_one_out(rewards.movedim(0, -1)).movedim(-1, 0)


def best_of_others(rewards):
    """it is the best of the other rewards; their mean is asked for."""
    K = rewards.shape[-1]
    if K == 1:
        return torch.zeros_like(rewards)
    top = rewards.topk(2, dim=-1).values
    return torch.where(rewards == top[..., :1], top[..., 1:], top[..., :1])


def small_number_added(rewards):
    """a small number was put under the fraction, and shows where rewards are large. Only K = 1 has nothing to divide
    by: treat that by itself."""
    return (rewards.sum(-1, keepdim=True) - rewards) / (rewards.shape[-1] - 1 + 1e-8)


def itself_for_one(rewards):
    """a single trace is measured by its own reward. There are no others: the spec asks for 0 there."""
    return rewards if rewards.shape[-1] == 1 else leave_one_out(rewards)


def nan_for_one(rewards):
    """a single trace gives NaN, 0 over 0: there are no others. The spec asks for 0 there."""
    return (rewards.sum(-1, keepdim=True) - rewards) / (rewards.shape[-1] - 1)


TASK = Task(
    name="2.4",
    title="What would the others have earned?",
    tier="core",
    hints=(
        "The others are all without one. Take the sum of all, and take one's own out of it. How many are left? And "
        "what if there are none?",
        "b_k = (Σ_j r_j - r_k) / (K - 1); 0 for K = 1.",
        "K = rewards.shape[-1]\nif K == 1:\n    return torch.zeros_like(...)\n"
        "return (rewards.sum(-1, keepdim=True) - ...) / ...",
    ),
    cases=cases,
    solution=leave_one_out,
    alternatives=(by_matrix, looped, from_the_mean),
    mistakes=(
        own_included,
        one_for_all,
        divided_by_k,
        sum_of_others,
        own_kept_in_the_sum,
        difference,
        all_questions,
        first_axis,
        best_of_others,
        small_number_added,
        itself_for_one,
        nan_for_one,
    ),
)
