"""Task 4.1: the expected gradient of REINFORCE, with every rollout listed."""

import torch

from varcore.exercises.drawing import normal
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, dtype=torch.float64):
        accuracies = torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)
        return normal(generator, *shape, scale=1.0, dtype=dtype), accuracies

    theta, some = draw(3, 4)
    never = some * torch.tensor([[1.0], [0.0], [1.0]])
    return [
        Case("one question of five traces", draw(5)),
        Case("three questions of four traces", draw(3, 4)),
        Case("tensors of shape (2, 3, 4)", draw(2, 3, 4)),
        Case("a question that no trace solves", (theta, never)),
        Case("logits far from zero", (theta + 1000.0, some)),
        Case("float32", draw(3, 4, dtype=torch.float32)),
    ]


def reinforce_gradient(theta, correctness):
    pi = theta.softmax(-1)
    p = (pi * correctness).sum(-1, keepdim=True)
    return pi * (p - correctness)


def by_autograd(theta, correctness):
    with torch.enable_grad():
        leaf = theta.detach().clone().requires_grad_()
        log_pi = leaf.log_softmax(-1)
        loss = -(log_pi.detach().exp() * correctness * log_pi).sum()
    return torch.autograd.grad(loss, leaf)[0]


def p_times_the_kl(theta, correctness):
    joint = theta.softmax(-1) * correctness
    p = joint.sum(-1, keepdim=True)
    posterior = joint / torch.where(p == 0, 1.0, p)
    return p * (theta.softmax(-1) - posterior)


def looped(theta, correctness):
    pi, total = theta.softmax(-1), torch.zeros_like(theta)
    for z in range(theta.shape[-1]):
        score = -pi.clone()  # the gradient of log π(z) in θ is onehot(z) - π
        score[..., z] += 1.0
        total = total - pi[..., z : z + 1] * correctness[..., z : z + 1] * score
    return total


def uphill(theta, correctness):
    """the sign is turned: this is the gradient of the accuracy, which one would climb. The loss is minimised."""
    return -reinforce_gradient(theta, correctness)


def in_log_pi(theta, correctness):
    """it is the gradient in log π(z), as if these were free. They sum to one as probabilities: raising one logit lowers
    the others. What is ∇ log π(z) in θ?"""
    return -theta.softmax(-1) * correctness


def own_logit_only(theta, correctness):
    """log π(z) is differentiated in its own logit only, 1 - π(z). It depends on every logit: each trace also pushes the
    logits of the others."""
    pi = theta.softmax(-1)
    return -pi * correctness * (1 - pi)


def sampling_differentiated(theta, correctness):
    """the chance of *drawing* a trace was differentiated as well. Rollouts are drawn first, and are then fixed: only
    log π learns."""
    with torch.enable_grad():
        leaf = theta.detach().clone().requires_grad_()
        log_pi = leaf.log_softmax(-1)
        loss = -(log_pi.exp() * correctness * log_pi).sum()
    return torch.autograd.grad(loss, leaf)[0]


def traces_alike(theta, correctness):
    """every trace counts alike, 1/Z. The traces are drawn from π: a trace counts by how often it comes up."""
    pi = theta.softmax(-1)
    return (correctness.sum(-1, keepdim=True) * pi - correctness) / theta.shape[-1]


def traces_once(theta, correctness):
    """every trace counts once, however rarely the habit draws it: the sum is over Z traces, and should be an
    expectation under π."""
    return theta.softmax(-1) * correctness.sum(-1, keepdim=True) - correctness


def own_logit_and_once(theta, correctness):
    """two things: every trace counts once, without its chance π(z); and log π(z) is differentiated in its own logit
    only."""
    return -correctness * (1 - theta.softmax(-1))


def first_axis(theta, correctness):
    """the softmax is taken over the first axis, over questions. The traces are on the last."""
    pi = theta.softmax(0)
    return pi * ((pi * correctness).sum(-1, keepdim=True) - correctness)


def one_accuracy(theta, correctness):
    """the accuracy is summed over the whole batch: its `sum` has no axis, and so every question gets the same number.
    Each question has its own p(x): sum over its traces, the last axis."""
    pi = theta.softmax(-1)
    return pi * ((pi * correctness).sum() - correctness)


def not_drawn(theta, correctness):
    """it is p - a(z), without the chance π(z) that the trace comes up."""
    pi = theta.softmax(-1)
    return (pi * correctness).sum(-1, keepdim=True) - correctness


def kl_alone(theta, correctness):
    """it is the gradient of KL(P‖π), without the accuracy in front: REINFORCE does not divide by p(x). (And a question
    that nothing solves would give NaN.)"""
    joint = theta.softmax(-1) * correctness
    return theta.softmax(-1) - joint / joint.sum(-1, keepdim=True)


def of_log_p(theta, correctness):
    """it is the gradient of log p(x): divided by p(x), and uphill. REINFORCE descends -E[r log π], which is p(x) times
    that with the sign turned."""
    return -kl_alone(theta, correctness)


def averaged_over_traces(theta, correctness):
    """it is too small by the factor Z: the terms of the traces are averaged, `mean` in place of `sum`. Their chances
    sum to one already, so they are added."""
    return reinforce_gradient(theta, correctness) / theta.shape[-1]


TASK = Task(
    name="4.1",
    title="REINFORCE, with nothing left to chance",
    tier="warm-up",
    hints=(
        "Write the expected loss as a sum over traces: its chance, times its expected reward, times -log π(z). The "
        "first two are numbers, fixed when the rollout was drawn. Only log π(z) = log softmax(θ) is differentiated.",
        "∂ log π(z) / ∂θ_j = 1[z = j] - π(j). Sum over z: ∂ loss / ∂θ_j = -π(j) a(j) + π(j) Σ_z π(z) a(z), and the "
        "last sum is p(x).",
        "pi = theta.softmax(-1)\np = (... * correctness).sum(-1, keepdim=True)\nreturn pi * (... - ...)",
    ),
    cases=cases,
    solution=reinforce_gradient,
    alternatives=(by_autograd, p_times_the_kl, looped),
    mistakes=(
        uphill,
        in_log_pi,
        own_logit_only,
        sampling_differentiated,
        traces_alike,
        traces_once,
        own_logit_and_once,
        first_axis,
        one_accuracy,
        not_drawn,
        kl_alone,
        of_log_p,
        averaged_over_traces,
    ),
)
