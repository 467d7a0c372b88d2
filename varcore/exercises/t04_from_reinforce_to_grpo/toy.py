"""The model of tutorial 4: three ways to think, two questions, one habit.  And copies in which rules are tried."""

import torch

TRACES, QUESTIONS = ("recall", "work it out", "ramble"), ("easy", "hard")
THETA = torch.tensor([0.3, 0.05, 0.65], dtype=torch.float64).log()  # the habit is softmax(THETA)
CORRECTNESS = torch.tensor([[0.95, 0.50, 0.05], [0.01, 0.40, 0.00]], dtype=torch.float64)  # pi(Y|x,z), a row a question

WORLDS, STEPS, GROUP, STEP_SIZE = 128, 500, 8, 0.2


def train(rule, generator):
    """Accuracies before and after training with an advantage rule, [128, 2] each: easy and hard, in each of 128 worlds.

    A world is the toy with jittered logits.  At each of 500 steps every question gets a group of eight rollouts; the
    rule sees all their rewards at once, [128, 2, 8] of 0. and 1., and which of a world's two questions comes first is
    drawn anew for every world.  Logits then take a step of 0.2 along the mean of A grad log pi, summed over both.
    """
    theta = THETA + 0.2 * torch.randn(WORLDS, 3, generator=generator, dtype=torch.float64)
    swapped = torch.rand(WORLDS, generator=generator) < 0.5
    correctness = torch.where(swapped[:, None, None], CORRECTNESS.flip(0), CORRECTNESS)
    before = theta.softmax(-1) @ CORRECTNESS.T
    for _ in range(STEPS):
        habit = theta.softmax(-1)
        z = torch.multinomial(habit, 2 * GROUP, replacement=True, generator=generator).view(WORLDS, 2, GROUP)
        rewards = torch.bernoulli(correctness.gather(-1, z), generator=generator)
        advantages = _constants(rule(rewards), rewards)
        pull = torch.zeros_like(theta).scatter_add(1, z.flatten(1), advantages.flatten(1))
        theta = theta + STEP_SIZE * (pull - advantages.sum((1, 2))[:, None] * habit) / GROUP  # grad log pi: onehot - pi
    return before, theta.softmax(-1) @ CORRECTNESS.T


def _constants(advantages, rewards):
    if not isinstance(advantages, torch.Tensor) or advantages.shape != rewards.shape:
        got = f"shape {tuple(advantages.shape)}" if isinstance(advantages, torch.Tensor) else type(advantages).__name__
        raise ValueError(
            f"train: the rule must return advantages of the rewards' shape {tuple(rewards.shape)}, got {got}."
        )
    return advantages.detach().to(rewards.dtype)
