"""Two ways to train the posterior q(z|x,y'): forward KL from the reasoner's traces, reverse KL from its own.

Both losses give one value per question and are surrogates: the gradient is the statement, the value is not
a KL.  Conventions on zero weights, +inf and NaN are those of ``varcore.bounds``.
"""

import math

from torch import Tensor

from varcore._shapes import Float, require_samples
from varcore.bounds import constant_weighted_sum, elbo


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
    return -constant_weighted_sum(rewards, log_posterior) / num_samples
