"""The pieces of an importance weight that must be estimated: pi(Y|x,z), and the trace ratio pi/q.

pi(Y|x,z) is the probability that the reasoner, given the trace z, answers correctly; Y is the set of
correct answers of x, ``answer_set_size`` is the number of them.  Three estimators, all as logarithms in
nats; a probability of zero is -inf.  Values cannot be inspected under ``torch.func.vmap``; impossible ones
are answered as each docstring says.  dtypes are kept; what float32 and bfloat16 are good for, ``varcore.bounds`` says.
"""

import math

import torch
from torch import Tensor

from varcore._shapes import Float, Real, ShapeError, require_equal_shapes, require_samples
from varcore.bounds import log_mean_exp, normalized_weights


def log_likelihood_correctness(
    log_answers: Float[Tensor, "*batch K R"], answer_set_size: int | Real[Tensor, "*batch"]
) -> Float[Tensor, "*batch K"]:
    """Likelihood estimator (L) of log pi(Y|x,z), in nats.

        log ( |Y| * (1/R) sum_r pi(y_r|x,z) ),   y_1..R uniform on Y                             (section 3)

    Args:
        log_answers: log pi(y_r|x,z), summed over tokens, of each of R reference answers: [*batch, K, R].
        answer_set_size: |Y|, one number per question, or one for all.

    The estimate of pi(Y|x,z), not of its logarithm, is unbiased; it may exceed one.  With all of Y given
    once each (R = |Y|) it is exact.  Differentiable in ``log_answers``.  All R answers impossible, or
    |Y| = 0: -inf.  Raises ShapeError if R = 0, without the axes K and R, or if a tensor ``answer_set_size``
    is not [*batch].
    """
    require_samples("log_likelihood_correctness", log_answers=log_answers)
    size = _match(answer_set_size, log_answers)
    one_per_question = size.shape == log_answers.shape[:-2] or not isinstance(answer_set_size, Tensor)
    if log_answers.ndim < 2 or not one_per_question:
        raise ShapeError(
            "log_likelihood_correctness: needs log_answers [*batch, K, R] and one answer_set_size per question, "
            f"[*batch]; got shapes {tuple(log_answers.shape)} and {tuple(size.shape)}. "
            "One reference answer? Use log_answers.unsqueeze(-1). The same size for all? Pass an int."
        )
    return log_mean_exp(log_answers) + size.log()[..., None]


def log_geometric_mean_correctness(
    log_answer: Float[Tensor, "*batch K"], num_answer_tokens: Real[Tensor, "*batch K"]
) -> Float[Tensor, "*batch K"]:
    """Geometric-mean likelihood (GML), a stand-in for log pi(Y|x,z), in nats: the mean token log-probability.

        log pi(y*|x,z) / |y*|                                                                    (section 3)

    Args:
        log_answer: log pi(y*|x,z) of the reference answer, summed over its tokens.
        num_answer_tokens: |y*|, its closing marker included.

    Biased; needs no verifier and no sampled answer.  Differentiable in ``log_answer``.  No tokens (a padded
    row) is no answer: -inf, with zero gradient.  Raises ShapeError unless the shapes are equal.
    """
    require_equal_shapes("log_geometric_mean_correctness", log_answer=log_answer, num_answer_tokens=num_answer_tokens)
    length = _match(num_answer_tokens, log_answer)
    return (log_answer / length.clamp(min=1.0)).masked_fill(length == 0, -math.inf)


def log_accuracy_correctness(
    num_correct: Real[Tensor, "*batch"], num_answers: int | Real[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Accuracy estimator (Acc) of log pi(Y|x,z), in nats.

        log ( number of accepted answers / N ),   N answers sampled from pi(y|x,z)               (section 3)

    Shapes: any; the traces of a question are usually the last axis.  Integer counts give torch's default
    dtype, floating counts their own.  The estimate of pi(Y|x,z), not of its logarithm, is unbiased.  Counts
    are constants: no gradient.  None correct, or no answer at all: -inf.  Impossible counts (negative, or
    more correct than sampled): NaN.  Raises ShapeError if ``num_answers`` is a tensor of another shape.
    """
    correct = num_correct.detach()
    correct = correct if correct.is_floating_point() else correct.to(torch.get_default_dtype())
    sampled = _match(num_answers, correct)
    if sampled.ndim > 0:
        require_equal_shapes("log_accuracy_correctness", num_correct=correct, num_answers=sampled)
    log_accuracy = (correct / sampled.clamp(min=1.0)).log()
    return log_accuracy.masked_fill((correct < 0) | (correct > sampled) | (sampled < 0), math.nan)


def tempered_log_weights(
    log_prior: Float[Tensor, "*batch K"],
    log_posterior: Float[Tensor, "*batch K"],
    log_correctness: Float[Tensor, "*batch K"],
    num_tokens: Real[Tensor, "*batch K"],
    exponent: int | float | None = None,
) -> Float[Tensor, "*batch K"]:
    """Log weights with a tempered trace ratio, in nats.

        log rho_k = exponent * (log pi(z_k|x) - log q(z_k|x,y')) + log pi(Y|x,z_k)                   (Eq. 8)

    Args:
        log_prior, log_posterior: log pi(z|x) and log q(z|x,y'), SUMS over the tokens of the trace.
        log_correctness: log pi(Y|x,z), or a logarithm of an estimate of it.
        num_tokens: |z|, the closing marker included.
        exponent: None is the paper's 1/|z|, the geometric mean over tokens; 1 is the exact weight of Eq. 5;
            0 ignores the ratio (weights from correctness alone).  Lower: more effective samples, more bias.

    Differentiable in the three logarithms.  Zero weight, -inf with zero gradient, for a trace with
    pi(Y|x,z) = 0, with pi(z|x) = 0 (unless exponent is 0), or without tokens (a padded row; every trace has
    its closing marker).  Raises ShapeError unless the four shapes are equal, ValueError for a negative
    exponent.
    """
    require_equal_shapes(
        "tempered_log_weights",
        log_prior=log_prior,
        log_posterior=log_posterior,
        log_correctness=log_correctness,
        num_tokens=num_tokens,
    )
    if exponent is not None and not 0 <= exponent < math.inf:
        raise ValueError(
            f"tempered_log_weights: exponent must be finite and at least 0, got {exponent}. "
            "Use None for 1/|z|, 1 for the exact weight, 0 to ignore the ratio."
        )
    # Convert first: 1 / (an integer tensor) would be float32 even beside float64 logarithms.
    length = _match(num_tokens, log_prior)
    zero = (log_correctness == -math.inf) | (length == 0)
    if exponent == 0:  # a setting, not data; and 0 * (-inf) would be NaN where the rule is ratio ** 0 = 1
        log_ratio = torch.zeros_like(log_prior)
    else:
        scale = 1.0 / length.clamp(min=1.0) if exponent is None else exponent
        log_ratio = scale * (log_prior - log_posterior)
        zero = zero | (log_prior == -math.inf)
    return (log_ratio + log_correctness).masked_fill(zero, -math.inf)


def effective_sample_size(log_weights: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
    """Kish's effective number of samples, between 1 and K; a count, without unit.

        (sum_k rho_k)^2 / sum_k rho_k^2                                                          (section 3)

    Shapes: [*batch, K] -> [*batch].  Differentiable.  Equal weights give K, one dominating weight gives 1.
    All weights zero: 0, with zero gradient.  +inf or NaN among the weights: NaN.  Raises ShapeError if K = 0.
    It sees only the traces that were drawn: a large value does not show that q covers the true posterior.
    """
    require_samples("effective_sample_size", log_weights=log_weights)
    sum_of_squares = normalized_weights(log_weights).square().sum(-1)
    all_zero = sum_of_squares == 0
    return sum_of_squares.masked_fill(all_zero, 1.0).reciprocal().masked_fill(all_zero, 0.0)


def truncated_log_weights(log_weights: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
    """Truncated importance sampling: no weight above sqrt(K) times the mean weight; logs in nats.

        log rho'_k = min( log rho_k, log mean_j rho_j + (1/2) log K )                           (Ionides 2008)

    Less variance for a bias that vanishes as K grows.  Cut is a weight that holds more than 1/sqrt(K) of the total.
    Differentiable, the level of the cut included.  Zero weights stay zero; K = 1: unchanged.
    Raises ShapeError if K = 0.
    """
    require_samples("truncated_log_weights", log_weights=log_weights)
    ceiling = log_mean_exp(log_weights) + 0.5 * math.log(log_weights.shape[-1])
    return torch.minimum(log_weights, ceiling[..., None])


def pareto_k(log_weights: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
    """Pareto k-hat of PSIS: the shape of the weights' upper tail, without unit.

    Below 0.5 the weights have a finite variance, below 1 a finite mean; above 0.7 an average weighted by them is not
    to be trusted at any affordable K (Vehtari et al., arXiv:1507.02646).  The tail is the M = min(K/5, 3 sqrt(K))
    largest weights, fitted by a generalised Pareto distribution with the profile posterior mean of Zhang and Stephens
    (2009) and the weak prior that draws k towards 0.5, worth ten observations.

    Constant, computed in float64: a diagnostic, not an objective.  The tail's lower quartile is not above its cut-off,
    or by less than 1e-300 of the total (ties, equal weights, most weights zero): +inf, no fit.  Raises ShapeError for
    K < 25, a tail of fewer than five.

    Written here because the library that has it (arviz-stats, against which it is tested) brings NumPy and SciPy, and
    this layer needs torch alone.
    """
    require_samples("pareto_k", log_weights=log_weights)
    num_samples = log_weights.shape[-1]
    if num_samples < 25:
        raise ShapeError(f"pareto_k: needs K >= 25 weights for a tail of at least 5, got K = {num_samples}.")
    tail_size = min(num_samples // 5, math.floor(3 * math.sqrt(num_samples)))
    # The unit of the weights does not matter; sharing the total keeps them in range.
    ordered = normalized_weights(log_weights.detach().double()).sort(-1).values
    tail = ordered[..., -tail_size:] - ordered[..., -tail_size - 1, None]
    quartile = tail[..., int(tail_size / 4 + 0.5) - 1]
    no_fit = quartile < 1e-300  # its reciprocal is to be finite
    return _generalised_pareto_shape(tail, quartile).masked_fill(no_fit, math.inf).to(log_weights.dtype)


def _generalised_pareto_shape(
    exceedances: Float[Tensor, "*batch M"], quartile: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Zhang and Stephens (2009): posterior mean of theta = -k/sigma over a grid, then k given theta; then the prior."""
    size = exceedances.shape[-1]
    num_points = 30 + int(math.sqrt(size))
    index = torch.arange(1, num_points + 1, dtype=exceedances.dtype, device=exceedances.device)
    spread = (1.0 - (num_points / (index - 0.5)).sqrt()) / (3.0 * quartile[..., None])
    theta = exceedances[..., -1:].reciprocal() + spread
    k = torch.log1p(-theta[..., None] * exceedances[..., None, :]).mean(-1)
    rate = torch.where(theta == 0, exceedances.mean(-1, keepdim=True).reciprocal(), -theta / k)  # 0/0 has a limit
    log_profile = size * (rate.log() - k - 1.0)
    mean_theta = (torch.softmax(log_profile, -1) * theta).sum(-1, keepdim=True)
    shape = torch.log1p(-mean_theta * exceedances).mean(-1)
    return (size * shape + 10 * 0.5) / (size + 10)


def likelihood_worst_case_variance(
    correctness: Float[Tensor, "*batch"], answer_set_size: int | Real[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    """Largest variance of the likelihood estimator, one uniform answer drawn, over all pi with pi(Y|x,z) = a.

        max Var( |Y| pi(y|x,z) ) = (|Y| - 1) a^2                                                 (Theorem 1)

    Attained when one answer of Y has all of the mass a; |Y| = 1 gives 0.  A variance of a probability, not
    of a logarithm.  R independent draws divide it by R.  Differentiable in ``correctness``, which is a
    itself, not log a.  Raises ShapeError if ``answer_set_size`` is a tensor of another shape.
    """
    size = _match(answer_set_size, correctness)
    if size.ndim > 0:
        require_equal_shapes("likelihood_worst_case_variance", correctness=correctness, answer_set_size=size)
    return (size - 1.0) * correctness.square()


def accuracy_worst_case_variance(correctness: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Variance of the accuracy estimator, one answer sampled; the same for every pi with pi(Y|x,z) = a.

        Var( 1[y in Y] ) = a (1 - a),   y ~ pi(y|x,z)                                            (Theorem 1)

    A variance of a probability, not of a logarithm.  N independent answers divide it by N.  Differentiable in
    ``correctness``, which is a itself, not log a.
    """
    return correctness * (1.0 - correctness)


def accuracy_preferred_threshold(answer_set_size: Real[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The pi(Y|x,z) from which the accuracy estimator is the safer one, a probability.

        a (1 - a) <= (|Y| - 1) a^2   if and only if   a >= 1 / |Y|      (for a > 0)              (Theorem 1)

    One correct answer gives 1: the likelihood is then exact, and accuracy is no worse only if it is certain.
    Integer sizes give torch's default dtype.  |Y| = 0: +inf, never.
    """
    return 1.0 / answer_set_size


def _match(count: int | Real[Tensor, "..."], reference: Tensor) -> Tensor:
    """A count as a constant with the dtype and device of the tensor it is about to meet."""
    if isinstance(count, Tensor):
        return count.detach().to(reference)
    return torch.tensor(count, dtype=reference.dtype, device=reference.device)
