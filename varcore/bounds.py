"""Importance weights, the bounds they make, and the losses whose gradients are the bounds' gradients.

One question x has K traces z_1..K drawn from the posterior q(z|x,y').  The weight of a trace,
``rho = pi(z|x) pi(Y|x,z) / q(z|x,y')``, is carried as its logarithm, in nats.

Conventions of every function here.  The sample axis K is last; any axes before it are questions.  A weight
of zero, log weight -inf, is an ordinary value.  A question whose K weights are all zero has a bound of
-inf, normalised weights of zero and losses of zero with zero gradient: never NaN, never uniform.  +inf and
NaN are nobody's log weight, but a value cannot be inspected under ``torch.func.vmap``, so they are not
refused: the results of *that* question are then inf or NaN, and no other question is touched.  A log-probability of
-inf with a coefficient that is not zero belongs to a trace that cannot have been drawn: the loss is infinite.  Terms
that cannot be added (such traces with coefficients of both signs; NaN) make a loss of +inf without gradient.

dtypes are kept.  float32 is good to about six digits, log weights of thousands of nats included; bfloat16 to two, for
logarithms of a few nats only (at 1000 nats its steps are 4): sum token log-probabilities in float32 first.
"""

import math

import torch
from torch import Tensor

from varcore._shapes import Float, require_equal_shapes, require_samples


def log_importance_weights(
    log_prior: Float[Tensor, "*batch K"],
    log_likelihood: Float[Tensor, "*batch K"],
    log_posterior: Float[Tensor, "*batch K"],
) -> Float[Tensor, "*batch K"]:
    """Log importance weights of traces, in nats.

        log rho_k = log pi(z_k|x) + log pi(Y|x,z_k) - log q(z_k|x,y')   (section 2; the terms of Eq. 2 and 5)

    Args:
        log_prior: log pi(z|x), summed over the tokens of the trace.
        log_likelihood: log pi(Y|x,z), or a logarithm of an estimate of it (see ``varcore.estimators``).
        log_posterior: log q(z|x,y'), summed over the tokens, at the temperature that was sampled from.

    Differentiable in all three.  Where pi(z|x) pi(Y|x,z) = 0 the result is -inf with zero gradient,
    whatever q is; elsewhere q = 0 gives +inf, since such a trace cannot have come from q.  Raises
    ShapeError unless the three shapes are equal.
    """
    require_equal_shapes(
        "log_importance_weights",
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        log_posterior=log_posterior,
    )
    log_joint = log_prior + log_likelihood
    return (log_joint - log_posterior).masked_fill(log_joint == -math.inf, -math.inf)


def elbo(log_weights: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
    """Monte Carlo estimate of the evidence lower bound, in nats; maximise.

        ELBO = E_q[log rho] = log p(x) - KL(q || P(z|x,Y)),  here (1/K) sum_k log rho_k        (Eq. 2 and 4)

    Shapes: [*batch, K] -> [*batch].  Differentiable: the gradient of each log weight is 1/K.  No score-function
    term is added for the dependence of the samples on q; for that use ``reverse_kl_loss``.
    One zero weight makes the estimate -inf, as it makes the ELBO.  Raises ShapeError if K = 0.
    """
    require_samples("elbo", log_weights=log_weights)
    return log_weights.mean(-1)


def iwae_bound(log_weights: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
    """Monte Carlo estimate of the K-sample bound on log p(x), in nats; maximise.

        L^K = E log (1/K) sum_k rho_k,   ELBO = L^1 <= L^K <= L^(K+1) <= log p(x)   (Eq. 5; arXiv:1509.00519)

    Shapes: [*batch, K] -> [*batch].  Differentiable: the gradient of log rho_k is rho_k / sum_j rho_j.  No
    score-function term is added for the samples; ``iwae_posterior_loss`` has it.
    All weights zero: -inf, with zero gradient.  Raises ShapeError if K = 0.
    """
    require_samples("iwae_bound", log_weights=log_weights)
    return log_mean_exp(log_weights)


def normalized_weights(log_weights: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """Self-normalised importance weights, without unit; they sum to one over K.

        w_k = rho_k / sum_j rho_j                                                                    (Eq. 6)

    Shapes: [*batch, K] -> [*batch, K].  Differentiable; the losses of this package use them as constants.
    All weights zero: all zeros, with zero gradient, so that a sum of 0 over K marks a question without a
    usable trace.  K = 1: one, whatever the trace is worth.  Raises ShapeError if K = 0.
    """
    require_samples("normalized_weights", log_weights=log_weights)
    all_zero = log_weights.amax(-1, keepdim=True).isneginf()
    return torch.softmax(log_weights.masked_fill(all_zero, 0.0), -1).masked_fill(all_zero, 0.0)


def iwae_reasoner_loss(
    log_joint: Float[Tensor, "*batch K"], log_weights: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch"]:
    """Loss of the reasoner, one value per question; minimise.  Its gradient is minus the paper's Eq. 6.

        loss = - sum_k sg(w_k) log pi(z_k,Y|x),   so that   E grad loss = - grad_theta L^K

    Args:
        log_joint: log pi(z|x) + log pi(Y|x,z), in nats.  With sampled answers the second term is the mean of
            log pi(y|x,z) over the *correct* answers of the trace; its gradient estimates grad log pi(Y|x,z).
        log_weights: log rho.

    Gradient flows to ``log_joint`` only; the weights are constants.  The value is a surrogate: read the
    bound from ``iwae_bound``.  A trace of weight zero contributes nothing, even where its log_joint is not
    finite.  All weights zero: loss 0, gradient 0.  K = 1: - log_joint.
    Raises ShapeError if K = 0 or the shapes differ.
    """
    require_samples("iwae_reasoner_loss", log_joint=log_joint, log_weights=log_weights)
    return -constant_weighted_sum(normalized_weights(log_weights.detach()), log_joint)


def iwae_posterior_loss(
    log_posterior: Float[Tensor, "*batch K"], log_weights: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch"]:
    """Loss of the posterior, one value per question; minimise.  Its gradient is minus the one in section A.2.

        loss = - sum_k sg(log (1/K) sum_j rho_j - w_k) log q(z_k|x,y'),  so that  E grad loss = - grad_phi L^K

    The first term is the score function (q moves the samples), the second the direct dependence of rho on q.
    The traces must come from q itself.  Unbiased, and of high variance: no baseline is subtracted.

    Args:
        log_posterior: log q(z|x,y'), in nats.
        log_weights: log rho.

    Gradient flows to ``log_posterior`` only; bound and weights are constants.  The value is a surrogate.
    Some weights zero: their traces keep the bound as coefficient.  All weights zero: the bound is -inf and
    no finite step stands for it, so loss 0, gradient 0.  K = 1: the coefficient is log rho - 1, and the 1
    is zero on average.  Raises ShapeError if K = 0 or the shapes differ.
    """
    require_samples("iwae_posterior_loss", log_posterior=log_posterior, log_weights=log_weights)
    constants = log_weights.detach()
    bound = log_mean_exp(constants)[..., None]
    coefficients = (bound - normalized_weights(constants)).masked_fill(bound == -math.inf, 0.0)
    return -constant_weighted_sum(coefficients, log_posterior)


def log_mean_exp(log_values: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
    """log (1/K) sum_k exp(log_values_k) over the last axis; all -inf gives -inf with zero gradient.

    Not public: ``iwae_bound`` and ``log_likelihood_correctness`` are its two uses.
    """
    # The derivative of logsumexp is exp(x - logsumexp x), NaN where both are -inf: such rows never reach it.
    all_zero = log_values.amax(-1, keepdim=True).isneginf()
    log_sum = torch.logsumexp(log_values.masked_fill(all_zero, 0.0), -1)
    return log_sum.masked_fill(all_zero.squeeze(-1), -math.inf) - math.log(log_values.shape[-1])


def constant_weighted_sum(
    coefficients: Float[Tensor, "*batch K"], log_probs: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch"]:
    """sum_k sg(c_k) log_probs_k.  Where c_k = 0 the term is 0, even if log_probs_k is -inf.

    Not public: every loss of the package is one call of it.
    """
    constants = coefficients.detach()
    total = (constants * log_probs.where(constants.bool(), 0.0)).sum(-1)
    return total.masked_fill(total.isnan(), -math.inf)  # inf - inf, or a NaN that came in: no step is defined
