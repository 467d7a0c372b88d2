"""The prototype of tutorial 7's experiment: a policy over listed traces, trained on what a helper with hints writes.

A question has twenty traces.  Two are careful and long, one of them with a slip; four are sloppy; fourteen are guesses,
each of another number, so that exactly one is right.  The policy knows how it likes each style, at each level, and
nothing about single traces: its parameters are theta [2 levels, 3 styles].  The helper has seen the answer, and where
it guesses it guesses right.
"""

import torch
from torch import Tensor

STYLES, LEVELS = ("careful", "sloppy", "guess"), ("easy", "hard")
STYLE = torch.tensor([0] * 2 + [1] * 4 + [2] * 14)
TOKENS = torch.tensor([24, 18, 9, 8, 7, 8] + [3] * 14)
THETA = torch.tensor([[0.30, 0.40, 0.30], [0.06, 0.24, 0.70]], dtype=torch.float64).log()
SHARE = torch.tensor([0.85, 0.15, 0.55, 0.15, 0.15, 0.15] + [1 / 14] * 14, dtype=torch.float64)  # of its style
ACCURACY = torch.tensor(
    [[0.95, 0.05, 0.9, 0.1, 0.1, 0.1, 1.0] + [0.0] * 13, [0.9, 0.05, 0.02, 0.02, 0.02, 0.02, 1.0] + [0.0] * 13],
    dtype=torch.float64,
)  # pi(Y|x,z), a row a level; the first guess is the right one
HELPER = torch.tensor([0.26, 0.04, 0.06, 0.02, 0.01, 0.01, 0.60] + [0.0] * 13, dtype=torch.float64)

WORLDS, QUESTIONS, GROUP, STEPS, STEP_SIZE = 8, 12, 8, 150, 0.4
LEVEL = torch.arange(QUESTIONS) % 2  # every second question is hard


def log_policy(theta: Tensor) -> Tensor:
    """log pi(z|x) of all twenty traces, [..., 2 levels, 20]."""
    return theta.log_softmax(-1)[..., STYLE] + SHARE.log()


def accuracy(theta: Tensor) -> Tensor:
    """p(x) at each level, [..., 2], with nothing left to chance."""
    return (log_policy(theta).exp() * ACCURACY).sum(-1)


def train(objective, generator: torch.Generator, worlds: int = WORLDS) -> tuple[Tensor, Tensor]:
    """Styles of the policy before and after training with an objective, theta of [worlds, 2 levels, 3 styles].

    At each of 150 steps the helper writes eight traces for each of twelve questions, and the policy answers once after
    each.  ``objective(log_pi, log_q, rewards, num_tokens)``, all [worlds, 12, 8], gives the coefficient of each trace.
    """
    theta = THETA + 0.2 * torch.randn(worlds, *THETA.shape, generator=generator, dtype=torch.float64)
    before = theta.clone()
    for _ in range(STEPS):
        z = torch.multinomial(HELPER, worlds * QUESTIONS * GROUP, replacement=True, generator=generator)
        z = z.view(worlds, QUESTIONS, GROUP)
        theta.requires_grad_()
        log_pi = log_policy(theta)[:, LEVEL].gather(-1, z)
        rewards = torch.bernoulli(ACCURACY[LEVEL].expand(worlds, -1, -1).gather(-1, z), generator=generator)
        found = objective(log_pi.detach(), HELPER.log()[z], rewards, TOKENS[z])
        loss = -(_constants(found, rewards) * log_pi).sum(-1).mean(-1).sum()  # per question; worlds are apart
        (slope,) = torch.autograd.grad(loss, theta)
        theta = theta.detach() - STEP_SIZE * slope
    return before, theta


def _constants(found, rewards):
    if not isinstance(found, Tensor) or found.shape != rewards.shape:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"train: the objective must return coefficients of the rewards' shape {tuple(rewards.shape)}, got {got}."
        )
    return found.detach().to(rewards.dtype)
