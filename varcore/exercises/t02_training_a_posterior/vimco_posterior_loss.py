"""Task 2.9: the loss that moves q up the bound of K traces, with a baseline of its own."""

import math

import torch

from varcore.exercises.drawing import log_probs, normal
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, shift=0.0, dtype=torch.float64):
        return log_probs(generator, *shape, dtype=dtype), normal(generator, *shape, dtype=dtype) + shift

    apart = torch.tensor([-60.0, 0.0, -50.0, -55.0], dtype=torch.float64)
    log_q, log_weights = draw(3, 4)
    return [
        Case("three questions of four traces", draw(3, 4), slopes=(0, 1)),
        Case("one question of five traces", draw(5), slopes=(0, 1)),
        Case("tensors of shape (2, 3, 4)", draw(2, 3, 4)),
        Case("two traces (K = 2)", draw(3, 2), slopes=(0,)),
        Case("log weights near -2000", draw(3, 4, shift=-2000.0), slopes=(0,)),
        Case("one trace that is 50 nats better than the others", (log_q, log_weights + apart)),
        Case("float32", draw(3, 4, dtype=torch.float32)),
    ]


def vimco_posterior_loss(log_posterior, log_weights):
    log_rho = log_weights.detach()
    K = log_rho.shape[-1]
    others = (log_rho.sum(-1, keepdim=True) - log_rho) / (K - 1)  # log of the others' geometric mean
    own = torch.eye(K, dtype=torch.bool)
    replaced = torch.where(own, others[..., None], log_rho[..., None, :])  # [..., K, K]: row k without trace k
    bound, baselines = log_rho.logsumexp(-1, keepdim=True), replaced.logsumexp(-1)  # log K cancels
    return -((bound - baselines - log_rho.softmax(-1)) * log_posterior).sum(-1)


def looped(log_posterior, log_weights):
    K = log_weights.shape[-1]
    with torch.no_grad():
        bound = torch.logsumexp(log_weights, -1) - math.log(K)
        coefficients = []
        for k in range(K):
            rest = torch.cat([log_weights[..., :k], log_weights[..., k + 1 :]], -1)
            stand_in = torch.cat([rest, rest.mean(-1, keepdim=True)], -1)
            baseline = torch.logsumexp(stand_in, -1) - math.log(K)
            coefficients.append(bound - baseline - torch.softmax(log_weights, -1)[..., k])
    return -sum(c * log_posterior[..., k] for k, c in enumerate(coefficients))


def in_place_of_each(log_posterior, log_weights):
    log_rho = log_weights.detach()
    K = log_rho.shape[-1]
    mean_of_others = (log_rho.mean(-1, keepdim=True) * K - log_rho) / (K - 1)
    copies = log_rho.unsqueeze(-2).repeat_interleave(K, dim=-2)
    copies.diagonal(dim1=-2, dim2=-1).copy_(mean_of_others)
    signal = torch.logsumexp(log_rho, -1, keepdim=True) - torch.logsumexp(copies, -1)
    return ((torch.softmax(log_rho, -1) - signal) * log_posterior).sum(-1)


def without_baseline(log_posterior, log_weights):
    """there is no baseline: the whole bound, about log p(x), stands before every log q, and drowns the signal in
    noise."""
    log_rho = log_weights.detach()
    bound = log_rho.logsumexp(-1, keepdim=True) - math.log(log_rho.shape[-1])
    return -((bound - log_rho.softmax(-1)) * log_posterior).sum(-1)


def arithmetic_mean(log_posterior, log_weights):
    """the trace is replaced by the others' arithmetic mean, or left out and the rest averaged, which is the same; the
    spec puts the geometric one in its place, the mean of the logarithms. (The expectation would be right as well, but
    it is another estimator.)"""
    log_rho = log_weights.detach()
    K = log_rho.shape[-1]
    own = torch.eye(K, dtype=torch.bool)
    rest = log_rho[..., None, :].masked_fill(own, -math.inf).logsumexp(-1)
    baselines = rest + math.log(K / (K - 1))
    return -((log_rho.logsumexp(-1, keepdim=True) - baselines - log_rho.softmax(-1)) * log_posterior).sum(-1)


def others_alone(log_posterior, log_weights):
    """the baseline is the others' geometric mean by itself. It has to stand *in the group*, in the place of trace k,
    and the baseline is the bound of that group."""
    log_rho = log_weights.detach()
    K = log_rho.shape[-1]
    bound = log_rho.logsumexp(-1, keepdim=True) - math.log(K)
    others = (log_rho.sum(-1, keepdim=True) - log_rho) / (K - 1)
    return -((bound - others - log_rho.softmax(-1)) * log_posterior).sum(-1)


def left_out(log_posterior, log_weights):
    """the trace is left out of its baseline and nothing put in its place: a mean over K with K - 1 terms is too
    small."""
    log_rho = log_weights.detach()
    own = torch.eye(log_rho.shape[-1], dtype=torch.bool)
    baselines = log_rho[..., None, :].masked_fill(own, -math.inf).logsumexp(-1)
    return -((log_rho.logsumexp(-1, keepdim=True) - baselines - log_rho.softmax(-1)) * log_posterior).sum(-1)


def weights_forgotten(log_posterior, log_weights):
    """the term with w_k is missing: log q also stands inside ρ, and the bound falls when it rises."""
    log_rho = log_weights.detach()
    shares = log_rho.softmax(-1)
    return vimco_posterior_loss(log_posterior, log_weights) - (shares * log_posterior).sum(-1)


def weights_added(log_posterior, log_weights):
    """w_k is added to the signal; it has to be taken off: log q stands in ρ with a minus."""
    log_rho = log_weights.detach()
    shares = log_rho.softmax(-1)
    return vimco_posterior_loss(log_posterior, log_weights) - 2 * (shares * log_posterior).sum(-1)


def mean_of_all(log_posterior, log_weights):
    """the trace is replaced by the geometric mean of *all* K, its own weight among them. A baseline must not know the
    trace that it is subtracted from."""
    log_rho = log_weights.detach()
    own = torch.eye(log_rho.shape[-1], dtype=torch.bool)
    replaced = torch.where(own, log_rho.mean(-1, keepdim=True)[..., None], log_rho[..., None, :])
    signal = log_rho.logsumexp(-1, keepdim=True) - replaced.logsumexp(-1)
    return -((signal - log_rho.softmax(-1)) * log_posterior).sum(-1)


def as_a_bound(log_posterior, log_weights):
    """the sign is wrong: a minimiser of this climbs down the bound. A loss has a minus."""
    return -vimco_posterior_loss(log_posterior, log_weights)


def averaged(log_posterior, log_weights):
    """it is too small by the factor K. The bound belongs to the whole group, so the terms of its traces are added."""
    return vimco_posterior_loss(log_posterior, log_weights) / log_weights.shape[-1]


def through_the_weights(log_posterior, log_weights):
    """the value is right, but gradient flows into `log_weights`: signal and shares have to be constants."""
    K = log_weights.shape[-1]
    others = (log_weights.sum(-1, keepdim=True) - log_weights) / (K - 1)
    replaced = torch.where(torch.eye(K, dtype=torch.bool), others[..., None], log_weights[..., None, :])
    signal = log_weights.logsumexp(-1, keepdim=True) - replaced.logsumexp(-1)
    return -((signal - log_weights.softmax(-1)) * log_posterior).sum(-1)


def taken_off_the_sum(log_posterior, log_weights):
    """it takes ρ_k off the sum of all ρ to have the others. Where trace k is by far the best, the others are lost in
    the rounding, and what is left is 0: add up the others themselves."""
    log_rho = log_weights.detach()
    K = log_rho.shape[-1]
    rho = (log_rho - log_rho.amax(-1, keepdim=True)).exp()
    stand_in = ((rho.log().sum(-1, keepdim=True) - rho.log()) / (K - 1)).exp()
    total = rho.sum(-1, keepdim=True)
    signal = total.log() - (total - rho + stand_in).log()
    return -((signal - rho / total) * log_posterior).sum(-1)


def log_k_once(log_posterior, log_weights):
    """log K stands in one of L and L_(-k) alone. Both are means over K: it has to be in both, or in neither."""
    log_q = log_posterior.sum(-1) * math.log(log_weights.shape[-1])
    return vimco_posterior_loss(log_posterior, log_weights) - log_q


def of_the_elbo(log_posterior, log_weights):
    """it is the reverse-KL loss of task 2.5, for a single trace's bound. Here the K traces share one bound, the
    logarithm of their mean weight."""
    log_rho = log_weights.detach()
    K = log_rho.shape[-1]
    return -((log_rho - (log_rho.sum(-1, keepdim=True) - log_rho) / (K - 1)) * log_posterior).mean(-1)


TASK = Task(
    name="2.9",
    title="A baseline for the bound of K traces",
    tier="stretch",
    hints=(
        "Build K rows of K log weights: row k is the group with entry k replaced by the mean of the others' log "
        "weights. The bound of row k is the baseline of trace k. A `torch.eye(K, dtype=torch.bool)` picks the "
        "entries to replace.",
        "c_k = L - L_(-k) - w_k with L = log (1/K) Σ_j ρ_j, L_(-k) = log (1/K) (Σ_{j≠k} ρ_j + exp(mean of log ρ_j over "
        "j ≠ k)); loss = - Σ_k sg(c_k) log q(z_k). log K cancels in L - L_(-k).",
        "log_rho = log_weights.detach()\nK = log_rho.shape[-1]\n"
        "others = (log_rho.sum(-1, keepdim=True) - log_rho) / ...            # [..., K]\n"
        "replaced = torch.where(torch.eye(K, dtype=torch.bool), others[..., None], log_rho[..., None, :])\n"
        "signal = log_rho.logsumexp(-1, keepdim=True) - replaced.logsumexp(...)\n"
        "return -((signal - ...) * log_posterior).sum(-1)",
    ),
    cases=cases,
    solution=vimco_posterior_loss,
    alternatives=(looped, in_place_of_each),
    mistakes=(
        without_baseline,
        arithmetic_mean,
        others_alone,
        left_out,
        weights_forgotten,
        weights_added,
        mean_of_all,
        as_a_bound,
        averaged,
        through_the_weights,
        taken_off_the_sum,
        log_k_once,
        of_the_elbo,
    ),
    library="varcore.vimco_posterior_loss",
)
