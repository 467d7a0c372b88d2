"""Task 1.9: the bound itself, with nothing drawn."""

import itertools
import math

import torch

from varcore.exercises.drawing import log_table, normal, without
from varcore.exercises.t01_importance_weights_and_bounds.iwae_bound import iwae_bound
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(size, K, shift=0.0):
        return normal(generator, size) + shift, log_table(generator, size), K

    weights, posterior, _ = draw(4, 3)
    return [
        Case("four traces, K = 3", draw(4, 3)),
        Case("three traces, K = 1", draw(3, 1)),
        Case("three traces, K = 6", draw(3, 6)),
        Case("log weights near -2000", draw(4, 3, shift=-2000.0)),
        Case("a trace of weight zero that q may draw", (without(weights, (2,)), posterior, 3)),
        Case("four traces again", draw(4, 3), slopes=(0, 1)),
    ]


def exact_bound(log_weights, log_posterior, K):
    traces = range(len(log_weights))
    groups = torch.tensor(list(itertools.product(traces, repeat=K)))  # [Z^K, K], in every order
    chances = log_posterior[groups].sum(-1).exp()
    return (chances * iwae_bound(log_weights[groups])).sum()


def by_cartesian_product(log_weights, log_posterior, K):
    groups = torch.cartesian_prod(*[torch.arange(len(log_weights))] * K).view(-1, K)
    chances = log_posterior.exp()[groups].prod(-1)
    return chances @ (torch.logsumexp(log_weights[groups], -1) - math.log(K))


def looped(log_weights, log_posterior, K):
    total = torch.zeros_like(log_weights[0])
    for group in itertools.product(range(len(log_weights)), repeat=K):
        z = list(group)
        total = total + log_posterior[z].sum().exp() * (log_weights[z].logsumexp(0) - math.log(K))
    return total


def without_order(log_weights, log_posterior, K):
    groups = torch.tensor(list(itertools.combinations_with_replacement(range(len(log_weights)), K)))
    orders = torch.tensor([len(set(itertools.permutations(group))) for group in groups.tolist()])
    chances = orders * log_posterior[groups].sum(-1).exp()
    return (chances * iwae_bound(log_weights[groups])).sum()


def all_groups_alike(log_weights, log_posterior, K):
    """every group counts alike; a group counts by the chance that q draws it, the product of K chances."""
    groups = torch.cartesian_prod(*[torch.arange(len(log_weights))] * K).view(-1, K)
    return iwae_bound(log_weights[groups]).mean()


def orders_forgotten(log_weights, log_posterior, K):
    """each set of traces is listed once, whatever its order. A group such as (1, 2, 2) can be drawn in three orders,
    and so counts too little: the chances that are added up do not reach one."""
    groups = torch.tensor(list(itertools.combinations_with_replacement(range(len(log_weights)), K)))
    return (log_posterior[groups].sum(-1).exp() * iwae_bound(log_weights[groups])).sum()


def never_twice(log_weights, log_posterior, K):
    """groups in which a trace comes twice are missing. Draws are independent: the same trace may come again."""
    groups = torch.tensor(list(itertools.permutations(range(len(log_weights)), K))).view(-1, K)
    return (log_posterior[groups].sum(-1).exp() * iwae_bound(log_weights[groups])).sum()


def never_twice_in_one_order(log_weights, log_posterior, K):
    """each group is listed in one order, and none with a trace twice. The draws are independent and come one after the
    other: (1, 2), (2, 1) and (1, 1) are three different outcomes."""
    groups = torch.tensor(list(itertools.combinations(range(len(log_weights)), K)), dtype=torch.long).view(-1, K)
    return (log_posterior[groups].sum(-1).exp() * iwae_bound(log_weights[groups])).sum()


def expectation_inside(log_weights, log_posterior, K):
    """it takes the logarithm of the expected weight, which is log p(x) for every K. The expectation stands outside the
    logarithm."""
    return (log_weights + log_posterior).logsumexp(-1)


def elbo_for_every_k(log_weights, log_posterior, K):
    """it is the ELBO, whatever K is: inside the logarithm stands the mean of K weights."""
    return (log_posterior.exp() * log_weights).sum()


def log_k_missing(log_weights, log_posterior, K):
    """log K is missing: the weights of a group are summed, where their mean is asked for."""
    return exact_bound(log_weights, log_posterior, K) + math.log(K)


def chances_added(log_weights, log_posterior, K):
    """the chances of the K traces are added or averaged; for independent draws they are multiplied."""
    groups = torch.cartesian_prod(*[torch.arange(len(log_weights))] * K).view(-1, K)
    return (log_posterior.exp()[groups].mean(-1) * iwae_bound(log_weights[groups])).sum()


def chances_are_constants(log_weights, log_posterior, K):
    """the value is right, but the chances carry no gradient. The spec asks for one in `log_posterior` too: q moves the
    bound by what it draws, not by the weights alone."""
    return exact_bound(log_weights, log_posterior.detach(), K)


TASK = Task(
    name="1.9",
    title="The bound itself, with nothing drawn",
    tier="stretch",
    hints=(
        "An expectation over K independent draws is a sum over every outcome. An outcome is a list of K trace numbers; "
        "how many are there with Z traces? Each has a chance, and each has a value that task 1.4 computes.",
        "L^K = Σ over (z_1, ..., z_K) of q(z_1) · ... · q(z_K) · log (1/K) Σ_k ρ(z_k), with all Z^K lists. The chances "
        "must sum to one.",
        "groups = torch.tensor(list(itertools.product(range(len(log_weights)), repeat=...)))     # [Z^K, K]\n"
        "chances = log_posterior[groups]...          # [Z^K]\n"
        "return (chances * iwae_bound(...)).sum()",
    ),
    cases=cases,
    solution=exact_bound,
    alternatives=(by_cartesian_product, looped, without_order),
    mistakes=(
        all_groups_alike,
        orders_forgotten,
        never_twice,
        never_twice_in_one_order,
        expectation_inside,
        elbo_for_every_k,
        log_k_missing,
        chances_added,
        chances_are_constants,
    ),
    library="varcore.exact_iwae_bound",
)
