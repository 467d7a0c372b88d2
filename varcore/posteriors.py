"""Ways to train the posterior q(z|x,y'): forward KL from the reasoner's traces, reverse KL or the bound from its own.

Every loss gives one value per question and is a surrogate: the gradient is the statement, the value is not
a KL.  Conventions on zero weights, infinities, NaN and dtypes are those of ``varcore.bounds``.
"""

import math

import torch
from torch import Tensor

from varcore._shapes import Float, ShapeError, require_samples
from varcore.bounds import constant_weighted_sum, elbo, log_mean_exp, normalized_weights


def forward_kl_loss(
    log_posterior: Float[Tensor, "*batch M"], correctness: Float[Tensor, "*batch M"]
) -> Float[Tensor, "*batch"]:
    """Forward-KL loss of the posterior, one value per question; minimise.

        loss = - sum_m sg(v_m) log q(z_m|x,y'),   v_m = a_m / sum_j a_j,   z_1..M ~ pi(z|x)          (Eq. 9)
        grad loss -> grad_phi KL( P(z|x,Y) || q )   as M grows      (the paper's Eq. 9 drops the minus sign)

    This is weighted supervised finetuning on the reasoner's own traces.  Self-normalised, hence biased for
    finite M: with 0/1 correctness the expected gradient is exactly (1 - (1-p)^M) times the gradient of that
    KL, p being the probability of a correct trace.

    Args:
        log_posterior: log q(z|x,y') of traces that came from pi, in nats.
        correctness: a = pi(Y|x,z) or an estimate of it: a probability, at least 0, NOT its logarithm.

    Gradient flows to ``log_posterior`` only.  A trace of correctness 0 contributes nothing, even where its
    log_posterior is -inf.  All zero: loss 0, gradient 0.  M = 1: - log_posterior if a > 0.
    Raises ShapeError if M = 0 or the shapes differ.
    """
    require_samples("forward_kl_loss", log_posterior=log_posterior, correctness=correctness)
    total = correctness.sum(-1, keepdim=True)
    return -constant_weighted_sum(correctness / total.masked_fill(total == 0, 1.0), log_posterior)


def reverse_kl_loss(
    log_posterior: Float[Tensor, "*batch K"], log_weights: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch"]:
    """Reverse-KL loss of the posterior by the score function, one value per question; minimise.

        loss = - (1/K) sum_k sg(r_k - b_k) log q(z_k|x,y'),   r_k = log rho_k,   z_1..K ~ q       (A.9, Eq. 34)
        E grad loss = grad_phi KL( q || P(z|x,Y) ) = - grad_phi ELBO      (the paper's Eq. 34 drops the minus)

    The baseline b_k is the mean reward of the other K-1 traces: it leaves the expectation alone and takes
    the common level of the rewards, which is about log p(x), out of the variance.  K = 1 has no others and
    hence b = 0: unbiased still, and noisy.  The direct term, - grad log q, has mean zero under q and is
    left out.

    Args:
        log_posterior: log q(z|x,y') of traces that came from q, in nats.
        log_weights: log rho, the reward.

    Gradient flows to ``log_posterior`` only.  If *any* weight is zero the ELBO is -inf and no finite
    gradient stands for it: that question's loss is 0 with zero gradient (count them by
    ``elbo(log_weights).isinf()``).  So prefer an estimator of pi(Y|x,z) that is never zero (likelihood,
    geometric mean), or put a floor under log pi(Y|x,z).
    Raises ShapeError if K = 0 or the shapes differ.
    """
    require_samples("reverse_kl_loss", log_posterior=log_posterior, log_weights=log_weights)
    num_samples = log_weights.shape[-1]
    any_zero = (elbo(log_weights) == -math.inf)[..., None]
    rewards = log_weights.masked_fill(any_zero, 0.0)
    if num_samples > 1:
        others = (rewards.sum(-1, keepdim=True) - rewards) / (num_samples - 1)
        rewards = rewards - others
    return -constant_weighted_sum(rewards / num_samples, log_posterior)


def vimco_posterior_loss(
    log_posterior: Float[Tensor, "*batch K"], log_weights: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch"]:
    """VIMCO loss of the posterior: ``iwae_posterior_loss`` with a leave-one-out baseline; minimise.

        loss = - sum_k sg( L - L_(-k) - w_k ) log q(z_k|x,y'),        L = log (1/K) sum_j rho_j
        L_(-k) = log (1/K) ( sum_{j != k} rho_j + exp( mean of log rho_j over j != k ) )        (arXiv:1602.06725)

    L_(-k) puts the geometric mean of the others in the place of rho_k, so it does not depend on z_k: the expected
    gradient is that of A.2, and the common level of the bound, which is about log p(x), leaves the variance.
    The traces must come from q itself.

    Args:
        log_posterior: log q(z|x,y'), in nats.
        log_weights: log rho.

    Gradient flows to ``log_posterior`` only.  Where all others have weight zero their baseline would be -inf; 0, as
    good a function of the others, stands in.  All weights zero: loss 0, gradient 0.
    Raises ShapeError if K < 2 (there are no others; K = 1 is ``iwae_posterior_loss``) or the shapes differ.
    """
    require_samples("vimco_posterior_loss", log_posterior=log_posterior, log_weights=log_weights)
    if log_weights.shape[-1] < 2:
        raise ShapeError(
            "vimco_posterior_loss: needs K >= 2 traces a question for a leave-one-out baseline, got K = 1. "
            "Sample more, or use iwae_posterior_loss."
        )
    constants = log_weights.detach()
    bound = log_mean_exp(constants)[..., None]
    baseline = _log_sum_with_each_replaced(constants) - math.log(constants.shape[-1])
    signal = bound - baseline.masked_fill(baseline == -math.inf, 0.0)
    coefficients = (signal - normalized_weights(constants)).masked_fill(bound == -math.inf, 0.0)
    return -constant_weighted_sum(coefficients, log_posterior)


def _log_sum_with_each_replaced(log_weights: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """log( sum_{j != k} rho_j + exp( mean_{j != k} log rho_j ) ) for each k, in time linear in K.

    The others' sum is built from running sums on both sides: subtracting rho_k from the total would cancel.
    """
    nothing = torch.full_like(log_weights[..., :1], -math.inf)
    before = torch.cat([nothing, log_weights.logcumsumexp(-1)[..., :-1]], -1)
    after = torch.cat([log_weights.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:], nothing], -1)
    zero = log_weights == -math.inf
    finite = log_weights.masked_fill(zero, 0.0)
    log_mean = (finite.sum(-1, keepdim=True) - finite) / (log_weights.shape[-1] - 1)
    another_is_zero = zero.sum(-1, keepdim=True) > zero
    log_mean = log_mean.masked_fill(another_is_zero, -math.inf)
    return torch.logaddexp(torch.logaddexp(before, after), log_mean)
