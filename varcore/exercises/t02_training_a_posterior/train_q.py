"""Task 2.8: train a q until it is near, with the traces that you have."""

import torch
from torch import Tensor

import varcore
from varcore.exercises.t02_training_a_posterior.world import BUDGET, WORLDS, Spent, World
from varcore.exercises.task import Task

TARGET = 0.04  # nats


def examine(train_q, generator):
    worlds = [World(generator) for _ in range(WORLDS)]
    found = []
    for world in worlds:
        try:
            log_q = train_q(world)
        except Spent:
            return f"it asks for more than the {BUDGET} traces. Count the steps: traces a step times steps."
        because = _malformed(log_q)
        if because:
            return because
        found.append(log_q)
    return _missed(worlds, found)


def _malformed(log_q) -> str:
    if log_q is None:
        return "it returns None: is the `return` missing?"
    if not isinstance(log_q, Tensor) or log_q.shape != (12,) or not log_q.is_floating_point():
        return "it should return log q of the twelve traces, a tensor of shape (12,)."
    if bool(log_q.isnan().any()):
        return "the log q that it returns is NaN. Which traces did the loss see when that began?"
    total = log_q.detach().double().exp().sum().item()
    if abs(total - 1) < 1e-3:
        return ""
    if bool((log_q >= 0).all()) and abs(log_q.detach().sum().item() - 1) < 1e-3:
        return "these are probabilities; their logarithms are asked for."
    return "the exponentials of what it returns do not sum to one. Did you return logits? `log_softmax(-1)` them."


def _missed(worlds: list[World], found: list[Tensor]) -> str:
    gaps = torch.tensor([world.gap(log_q) for world, log_q in zip(worlds, found, strict=True)])
    began = torch.tensor([world.gap(world.start) for world in worlds])
    gap = gaps.mean()
    if gap <= TARGET:
        unused = all(world.left == BUDGET for world in worlds)
        return "no trace was drawn: q was trained on the gap itself, which knows P." if unused else ""
    if bool(gaps.isinf().any()):
        return "some q gives a trace that can be right the probability 0: then KL(P‖q) is infinite."
    if gap > began.mean():
        return "q ends farther from P than it began. The sign? The size of the steps? Or whose traces it learns from?"
    if all(torch.equal(log_q.double(), world.start) for world, log_q in zip(worlds, found, strict=True)):
        return "q is still what it was at the start. Is the result of the steps what you return?"
    if gap > 2 * TARGET:
        return (
            f"the mean of KL(P‖q) over {WORLDS} worlds is more than twice the target of {TARGET} nats. Print the gap "
            "along the way: does it still fall at the end (steps too small), or has it long settled (steps too large, "
            "or the traces of a q that has to find P by itself)?"
        )
    return (
        f"the mean of KL(P‖q) over {WORLDS} worlds is near the target of {TARGET} nats, and above it. What is left is "
        "the noise of the last steps and what small steps never reached: larger steps, and less noise at the end."
    )


def train_q(world):
    theta = world.start.clone().requires_grad_()
    average, steps = torch.zeros(12, dtype=theta.dtype), 125
    for step in range(steps):
        log_q = theta.log_softmax(-1)
        z, right = world.from_reasoner(32)
        (slope,) = torch.autograd.grad(varcore.forward_kl_loss(log_q[z], right), theta)
        theta = (theta - 3.0 * slope).detach().requires_grad_()
        if step >= steps // 4:
            average = average + theta.detach().softmax(-1)  # large steps get there, the average takes their noise out
    return (average / average.sum()).log()


def with_adam(world):
    theta, steps = world.start.clone().requires_grad_(), 125
    optimizer = torch.optim.Adam([theta], lr=0.3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        z, right = world.from_reasoner(32)
        loss = varcore.forward_kl_loss(theta.log_softmax(-1)[z], right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return theta.detach().log_softmax(-1)


def counted(world):
    # a q that can be anything is fitted to right traces by their frequencies; the start stands in for the unseen
    z, right = world.from_reasoner(world.left)
    counts = torch.zeros(12, dtype=right.dtype).index_add(0, z, right) + 2 * world.start.exp()
    return (counts / counts.sum()).log()


def _descended(world, loss_of, rate, size=32):
    theta = world.start.clone().requires_grad_()
    for _ in range(BUDGET // size):
        (slope,) = torch.autograd.grad(loss_of(theta.log_softmax(-1)), theta)
        theta = (theta - rate * slope).detach().requires_grad_()
    return theta.detach().log_softmax(-1)


def small_steps(world):
    """the mean of KL(P‖q) over 8 worlds is more than twice the target of 0.04 nats. Print the gap along the way: does
    it still fall at the end (steps too small), or has it long settled (steps too large, or the traces of a q that has
    to find P by itself)?"""

    def loss(log_q):
        z, right = world.from_reasoner(32)
        return varcore.forward_kl_loss(log_q[z], right)

    return _descended(world, loss, rate=0.1)


def not_quite(world):
    """the mean of KL(P‖q) over 8 worlds is near the target of 0.04 nats, and above it. What is left is the noise of the
    last steps and what small steps never reached: larger steps, and less noise at the end."""
    theta = world.start.clone().requires_grad_()
    for step in range(125):
        z, right = world.from_reasoner(32)
        (slope,) = torch.autograd.grad(varcore.forward_kl_loss(theta.log_softmax(-1)[z], right), theta)
        theta = (theta - (1 - step / 125) * slope).detach().requires_grad_()
    return theta.detach().log_softmax(-1)


def sign_turned(world):
    """q ends farther from P than it began. The sign? The size of the steps? Or whose traces it learns from?"""

    def loss(log_q):
        z, right = world.from_reasoner(32)
        return -varcore.forward_kl_loss(log_q[z], right)

    return _descended(world, loss, rate=0.3)


def too_many_traces(world):
    """it asks for more than the 4000 traces. Count the steps: traces a step times steps."""

    def loss(log_q):
        z, right = world.from_reasoner(40)
        return varcore.forward_kl_loss(log_q[z], right)

    return _descended(world, loss, rate=0.3)


def right_ones_counted(world):
    """some q gives a trace that can be right the probability 0: then KL(P‖q) is infinite."""
    z, right = world.from_reasoner(world.left)
    counts = torch.zeros(12, dtype=right.dtype).index_add(0, z, right)
    return (counts / counts.sum()).log()


def logits(world):
    """the exponentials of what it returns do not sum to one. Did you return logits? `log_softmax(-1)` them."""
    return counted(world) + 3.0


def probabilities(world):
    """these are probabilities; their logarithms are asked for."""
    return counted(world).exp()


def on_the_gap(world):
    """no trace was drawn: q was trained on the gap itself, which knows P."""
    gaps = torch.tensor([world.gap(table) for table in torch.eye(12, dtype=torch.float64).log_softmax(-1)])
    return ((gaps.sum() + 1) / 12 - gaps).clamp(min=1e-9).log().log_softmax(-1)  # gap: linear in log q, with slope -P


def untrained(world):
    """q is still what it was at the start. Is the result of the steps what you return?"""
    return world.start


TASK = Task(
    name="2.8",
    title="Near, with 4,000 traces",
    tier="core",
    kind="experiment",
    hints=(
        "First choose whose traces, and look at what a verdict of 0 does to each loss. Then look at the gap along the "
        "way. A gap that still falls at the end wants larger steps. A gap that has settled jitters around P: what is "
        "left is noise, and noise averages out.",
        "Forward KL, 32 traces from the reasoner a step, 125 steps, θ ← θ - rate · slope. Try rates from 0.1 to 3. "
        "Then return the logarithm of the mean of q over the later steps (or let the rate fall to 0).",
        "theta = world.start.clone().requires_grad_()\naverage = torch.zeros(12)\nfor step in range(125):\n"
        "    z, right = world.from_reasoner(...)\n"
        "    loss = varcore.forward_kl_loss(theta.log_softmax(-1)[z], ...)\n"
        "    (slope,) = torch.autograd.grad(loss, theta)\n"
        "    theta = (theta - ... * slope).detach().requires_grad_()\n"
        "    if step >= ...:\n        average = average + theta.detach().softmax(-1)\n"
        "return (average / average.sum()).log()",
    ),
    examine=examine,
    solution=train_q,
    alternatives=(with_adam, counted),
    mistakes=(
        small_steps,
        not_quite,
        sign_turned,
        too_many_traces,
        right_ones_counted,
        logits,
        probabilities,
        on_the_gap,
        untrained,
    ),
    seconds=120.0,
)
