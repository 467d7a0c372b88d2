"""Task 2.6: find the line that lets gradient through the weights."""

import torch

from varcore.exercises.drawing import log_probs
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, shift=0.0, dtype=torch.float64):
        return (
            log_probs(generator, *shape, dtype=dtype) + shift,
            log_probs(generator, *shape, dtype=dtype) * 2 + shift,
        )

    log_q, log_joint = draw(3, 4)
    return [
        Case("three questions of four traces", draw(3, 4), slopes=(0,)),
        Case("one question of five traces", draw(5), slopes=(0,)),
        Case("tensors of shape (2, 3, 4)", draw(2, 3, 4), slopes=(0,)),
        Case("traces of thousands of tokens", draw(3, 4, shift=-2000.0), slopes=(0,)),
        Case("traces that q likes by a thousand nats more", (log_q - 1000, log_joint - 2000), slopes=(0,)),
        Case("a single trace (K = 1)", draw(3, 1), slopes=(0,)),
        Case("float32", draw(3, 4, dtype=torch.float32)),
    ]


def weighed_loss(log_posterior, log_joint):
    log_weights = log_joint - log_posterior.detach()  # here log q only says how often the trace is drawn
    largest = log_weights.amax(-1, keepdim=True).detach()
    rho = (log_weights - largest).exp()
    shares = rho / rho.sum(-1, keepdim=True)
    return -(shares * log_posterior).sum(-1)


def detached_later(log_posterior, log_joint):
    shares = torch.softmax(log_joint - log_posterior, -1).detach()
    return -(shares * log_posterior).sum(-1)


def without_grad(log_posterior, log_joint):
    with torch.no_grad():
        log_weights = log_joint - log_posterior
        shares = (log_weights - log_weights.logsumexp(-1, keepdim=True)).exp()
    loss = torch.zeros_like(log_posterior[..., 0])
    for k in range(log_posterior.shape[-1]):
        loss = loss - shares[..., k] * log_posterior[..., k]
    return loss


def as_it_was(log_posterior, log_joint):
    """this does what the function at the start does: the value is right, the gradient is not. log q stands in the loss
    twice; in one of the two places it is only a number."""
    log_weights = log_joint - log_posterior
    return -(log_weights.softmax(-1) * log_posterior).sum(-1)


def nothing_left(log_posterior, log_joint):
    """now no gradient is left at all. log q stands in the loss twice, and in one of the two places it has to learn."""
    return as_it_was(log_posterior.detach(), log_joint)


def the_other_place(log_posterior, log_joint):
    """the gradient now flows through the weights *only*: the factor that has to learn was detached, and the weights
    were not."""
    shares = (log_joint - log_posterior).softmax(-1)
    return -(shares * log_posterior.detach()).sum(-1)


def numerator_left(log_posterior, log_joint):
    """the sum under the fraction was detached, and what stands above it was not: half of the leak is left."""
    log_weights = log_joint - log_posterior
    rho = (log_weights - log_weights.amax(-1, keepdim=True).detach()).exp()
    return -(rho / rho.sum(-1, keepdim=True).detach() * log_posterior).sum(-1)


def denominator_left(log_posterior, log_joint):
    """ρ above the fraction was detached, and the sum under it was not: half of the leak is left."""
    log_weights = log_joint - log_posterior
    rho = (log_weights - log_weights.amax(-1, keepdim=True).detach()).exp()
    return -(rho.detach() / rho.sum(-1, keepdim=True) * log_posterior).sum(-1)


def ratio_dropped(log_posterior, log_joint):
    """log q was taken out of the weights. Then nothing corrects for how often q draws a trace, and q runs after its own
    favourites. It belongs there, as a number."""
    return -(log_joint.softmax(-1) * log_posterior).sum(-1)


def left_the_logarithms(log_posterior, log_joint):
    """the gradient is mended, but the largest log weight is no longer taken out: a thousand nats below zero every ρ
    is 0, and 0 over 0 is NaN."""
    rho = (log_joint - log_posterior).detach().exp()
    return -(rho / rho.sum(-1, keepdim=True) * log_posterior).sum(-1)


def not_normalised(log_posterior, log_joint):
    """the weights are ρ themselves; w is their share, ρ over the sum of a question's ρ."""
    return -((log_joint - log_posterior).detach().exp() * log_posterior).sum(-1)


def averaged(log_posterior, log_joint):
    """it is too small by the factor K: the w sum to one already, so the terms are added."""
    return detached_later(log_posterior, log_joint) / log_posterior.shape[-1]


def upside_down(log_posterior, log_joint):
    """the fraction ρ is upside down: q stands below, because it is what drew the traces."""
    return -((log_posterior - log_joint).detach().softmax(-1) * log_posterior).sum(-1)


def weights_dropped(log_posterior, log_joint):
    """the weights are gone: q learns to write what it writes anyway."""
    return -log_posterior.mean(-1)


def sign_turned(log_posterior, log_joint):
    """the gradient is mended, but the sign is turned: a minimiser would now push the good traces away."""
    return -detached_later(log_posterior, log_joint)


def bound_instead(log_posterior, log_joint):
    """it is minus a bound, log Σ ρ, and not the weighted loss that was to be mended. Keep the value; change what the
    gradient sees."""
    return -(log_joint - log_posterior).logsumexp(-1)


def largest_is_one(log_posterior, log_joint):
    """the largest ρ of each question was set to 1, and the division by their sum got lost: it is the w that sum to
    one."""
    log_weights = (log_joint - log_posterior).detach()
    return -((log_weights - log_weights.amax(-1, keepdim=True)).exp() * log_posterior).sum(-1)


TASK = Task(
    name="2.6",
    title="The line that lets gradient through",
    tier="core",
    kind="debugging",
    hints=(
        "The value is right, so every number is right. Follow log q through the lines: in which places does it enter, "
        "and what is it there for? In one it is what should be learned. In the other it only says how often q draws "
        "the trace. A `.detach()` that is already there is not always the one that is needed.",
        "loss = - Σ_k sg(w_k) · log q(z_k), w = ρ / Σ ρ, log ρ = log π(z, Y|x) - log q(z). Everything from log ρ to w "
        "is without gradient.",
        "log_weights = log_joint - log_posterior....        # the first line; the others may stay",
    ),
    cases=cases,
    solution=weighed_loss,
    alternatives=(detached_later, without_grad),
    mistakes=(
        as_it_was,
        nothing_left,
        the_other_place,
        numerator_left,
        denominator_left,
        ratio_dropped,
        left_the_logarithms,
        not_normalised,
        averaged,
        upside_down,
        weights_dropped,
        sign_turned,
        bound_instead,
        largest_is_one,
    ),
)
