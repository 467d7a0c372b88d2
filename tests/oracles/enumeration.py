"""A latent model small enough to list: every expectation is a sum that is written out.

A question with 4 traces and 3 answers, answers 0 and 2 correct.  Probabilities are multiplied and added as they stand,
one tuple of traces at a time in a Python loop: slow, obvious, and sharing no line and no logarithm trick with varcore.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

NUM_TRACES, NUM_ANSWERS, CORRECT = 4, 3, (0, 2)


class LatentModel:
    """theta = (trace_logits, answer_logits) is the reasoner pi; phi = posterior_logits is q.  All are leaves."""

    def __init__(self, seed: int = 3):
        generator = torch.Generator().manual_seed(seed)

        def logits(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

        self.trace_logits = logits(NUM_TRACES)
        self.answer_logits = logits(NUM_TRACES, NUM_ANSWERS)
        self.posterior_logits = logits(NUM_TRACES)

    @property
    def theta(self) -> tuple[Tensor, Tensor]:
        return self.trace_logits, self.answer_logits

    @property
    def phi(self) -> tuple[Tensor]:
        return (self.posterior_logits,)

    @property
    def prior(self) -> Tensor:
        return _probabilities(self.trace_logits)

    @property
    def posterior(self) -> Tensor:
        return _probabilities(self.posterior_logits)

    @property
    def correctness(self) -> Tensor:
        """pi(Y|x,z), one number a trace."""
        return sum(_probabilities(self.answer_logits)[:, y] for y in CORRECT)

    @property
    def joint(self) -> Tensor:
        return self.prior * self.correctness

    @property
    def evidence(self) -> Tensor:
        """p(x) = P(Y|x)."""
        return self.joint.sum()

    @property
    def true_posterior(self) -> Tensor:
        return self.joint / self.evidence

    @property
    def weights(self) -> Tensor:
        """rho of each trace."""
        return self.joint / self.posterior

    def bound(self, num_samples: int) -> Tensor:
        """L^K, differentiable in theta and phi, the probabilities of the samples included."""
        return sum(
            chance * torch.log(sum(self.weights[z] for z in traces) / num_samples)
            for chance, traces in tuples(self.posterior, num_samples)
        )


def tuples(probabilities: Tensor, size: int) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Every ordered tuple of outcomes with its probability under independent draws."""
    for outcome in itertools.product(range(len(probabilities)), repeat=size):
        yield torch.stack([probabilities[z] for z in outcome]).prod(), outcome


def expectation(probabilities: Tensor, size: int, value: Callable[[Tensor], Tensor]) -> Tensor:
    """E value(z_1..size) with the probabilities held fixed: gradient flows through `value` alone."""
    return sum(chance.detach() * value(torch.tensor(outcome)) for chance, outcome in tuples(probabilities, size))


def kl(p: Tensor, q: Tensor) -> Tensor:
    return sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def gradient(value: Tensor, parameters: tuple[Tensor, ...]) -> list[Tensor]:
    """Zeros for a parameter that `value` does not depend on."""
    return list(torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True))


def _probabilities(logits: Tensor) -> Tensor:
    return logits.exp() / logits.exp().sum(-1, keepdim=True)
