"""Task 1.6: the loss whose gradient moves the reasoner up the bound."""

import torch

from varcore.exercises.drawing import log_probs, normal, without
from varcore.exercises.t01_importance_weights_and_bounds.normalized_weights import normalized_weights
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, dtype=torch.float64):
        return log_probs(generator, *shape, dtype=dtype), normal(generator, *shape, dtype=dtype)

    joint, weights = draw(3, 4)
    never = (without(joint, (1, 2)), without(weights, (1, 2)))
    nothing = (joint, without(weights, (1,)))
    return [
        Case("three questions of four traces", draw(3, 4), slopes=(0, 1)),
        Case("one question of five traces", draw(5), slopes=(0, 1)),
        Case("tensors of shape (2, 3, 4)", draw(2, 3, 4)),
        Case("traces of thousands of tokens", (joint - 3000, weights - 2000), slopes=(0, 1)),
        Case("a trace of weight zero whose log_joint is -inf", never, slopes=(0,)),
        Case("a question whose traces all have weight zero", nothing, slopes=(0,)),
        Case("a trace that has weight and whose log_joint is -inf", (without(joint, (1, 2)), weights)),
        Case("float32 values", draw(3, 4, dtype=torch.float32)),
    ]


def iwae_reasoner_loss(log_joint, log_weights):
    weights = normalized_weights(log_weights.detach())  # constants: the gradient must not see where they came from
    log_joint = log_joint.masked_fill(weights == 0, 0.0)  # 0 times -inf would be NaN
    return -(weights * log_joint).sum(-1)


def without_grad(log_joint, log_weights):
    with torch.no_grad():
        weights = torch.softmax(log_weights, -1).nan_to_num(0.0)
    return -torch.where(weights > 0, weights * log_joint, torch.zeros_like(log_joint)).sum(dim=-1)


def looped(log_joint, log_weights):
    weights = normalized_weights(log_weights.detach())
    loss = torch.zeros_like(log_joint[..., 0])
    for k in range(log_joint.shape[-1]):
        used = torch.where(weights[..., k] > 0, log_joint[..., k], 0.0)
        loss = loss - weights[..., k] * used
    return loss


def through_the_weights(log_joint, log_weights):
    """the value is right, but gradient flows through the weights as well: that adds a term to the step which Eq. 6 does
    not contain. The weights have to be constants."""
    weights = normalized_weights(log_weights)
    return -(weights * log_joint.masked_fill(weights == 0, 0.0)).sum(-1)


def nothing_to_learn(log_joint, log_weights):
    """the value is right, but carries no gradient into `log_joint`: too much was detached. Only the weights are
    constants."""
    weights = normalized_weights(log_weights.detach())
    return -(weights * log_joint.detach().masked_fill(weights == 0, 0.0)).sum(-1)


def as_a_bound(log_joint, log_weights):
    """the sign is wrong: an optimiser that minimises this makes the good traces *less* probable. A loss has a minus."""
    weights = normalized_weights(log_weights.detach())
    return (weights * log_joint.masked_fill(weights == 0, 0.0)).sum(-1)


def not_normalised(log_joint, log_weights):
    """the weights ρ are used as they are; Eq. 6 has their shares, which sum to one over a question."""
    return -(log_weights.detach().exp() * log_joint).sum(-1)


def log_weights_used(log_joint, log_weights):
    """the log weights are used as factors; Eq. 6 has the shares of the weights."""
    return -(log_weights.detach() * log_joint).sum(-1)


def all_alike(log_joint, log_weights):
    """every trace counts alike: that is plain finetuning on the traces of q. Each counts by its share."""
    return -log_joint.mean(-1)


def mean_over_traces(log_joint, log_weights):
    """it is too small by the factor K: the shares already sum to one, so their terms are added and not averaged."""
    weights = normalized_weights(log_weights.detach())
    return -(weights * log_joint.masked_fill(weights == 0, 0.0)).mean(-1)


def all_questions(log_joint, log_weights):
    """it is one number for all questions; each has a loss of its own, and averaging them is the caller's step."""
    weights = normalized_weights(log_weights.detach())
    return -(weights * log_joint.masked_fill(weights == 0, 0.0)).sum(-1).mean()


def zero_times_infinity(log_joint, log_weights):
    """a trace of weight zero whose log_joint is -inf gives NaN, because 0 times infinity is not a number. Such a trace
    has no part in the loss."""
    return -(normalized_weights(log_weights.detach()) * log_joint).sum(-1)


def nan_for_nothing(log_joint, log_weights):
    """a question whose traces all have weight zero gives NaN. It has nothing to teach: loss 0, gradient 0."""
    weights = log_weights.detach().softmax(-1)
    return -(weights * log_joint.masked_fill(weights == 0, 0.0)).sum(-1)


def nan_gradient(log_joint, log_weights):
    """the value is right, but the gradient of a question whose traces all have weight zero is NaN. `torch.where` after
    the product hides the NaN of the weights from the value and not from the gradient: the weights must hold none."""
    weights = log_weights.detach().softmax(-1)
    return -torch.where(weights > 0, weights * log_joint, 0.0).sum(-1)


def uniform_for_nothing(log_joint, log_weights):
    """a question whose traces all have weight zero teaches them all alike. It has nothing to teach: loss 0, gradient
    0."""
    weights = log_weights.detach().nan_to_num(neginf=-1e30).softmax(-1)
    return -(weights * log_joint.masked_fill(weights == 0, 0.0)).sum(-1)


def shares_of_the_joint(log_joint, log_weights):
    """the shares are made of `log_joint`, and `log_weights` is not used: nothing makes up for who wrote the traces."""
    return iwae_reasoner_loss(log_joint, log_joint)


def minus_the_bound(log_joint, log_weights):
    """it is minus the bound. With respect to log_weights that has the right gradient, but the loss has to work when the
    weights are plain numbers, as they are when they come out of a ledger: gradient through `log_joint` only."""
    return torch.log(torch.tensor(log_weights.shape[-1], dtype=log_weights.dtype)) - log_weights.logsumexp(-1)


def impossible_left_out(log_joint, log_weights):
    """every trace whose log_joint is -inf is left out, also one that has weight. By its weight it was possible when the
    file was written; that the reasoner cannot write it any more is the worst there is, and the loss is infinite. Ask
    the weight which traces have no part."""
    weights = normalized_weights(log_weights.detach())
    return -(weights * log_joint.masked_fill(log_joint == -torch.inf, 0.0)).sum(-1)


TASK = Task(
    name="1.6",
    title="A loss that climbs the bound",
    tier="core",
    hints=(
        "Read Eq. 6 as finetuning: each trace's log-probability counts by its share. The shares are numbers that were "
        "computed before the step; no gradient may run back into them. What must a minimiser be handed, when you "
        "want something to rise? And what is 0 times -inf?",
        "loss = - Σ_k sg(w_k) · log π(z_k, Y|x), where sg(w) is w without gradient; a term with w_k = 0 is left out.",
        "weights = normalized_weights(log_weights....)            # constants\n"
        "log_joint = log_joint.masked_fill(weights == 0, ...)     # before the product\n"
        "return ... (weights * log_joint).sum(...)",
    ),
    cases=cases,
    solution=iwae_reasoner_loss,
    alternatives=(without_grad, looped),
    mistakes=(
        through_the_weights,
        nothing_to_learn,
        as_a_bound,
        not_normalised,
        log_weights_used,
        all_alike,
        mean_over_traces,
        all_questions,
        zero_times_infinity,
        nan_for_nothing,
        nan_gradient,
        uniform_for_nothing,
        shares_of_the_joint,
        minus_the_bound,
        impossible_left_out,
    ),
    library="varcore.iwae_reasoner_loss",
)
