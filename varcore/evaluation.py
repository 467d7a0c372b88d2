"""Scores of a model on a set of questions, and how far to trust them.

The unit of resampling is the question: average over a question's samples first (``avg_at_k``), then
interval over questions.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from varcore._shapes import Bool, Float, Real, ShapeError, require_equal_shapes, require_samples

_INDICES_AT_ONCE = 2**20  # 8 MiB of indices: memory does not grow with num_resamples


class Interval(NamedTuple):
    """A mean over questions and the ends of its confidence interval, in the unit of the values."""

    mean: float
    lower: float
    upper: float


def avg_at_k(correct: Bool[Tensor, "*batch K"] | Real[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
    """Avg@k: the fraction of a question's k samples that are correct, between 0 and 1.

    Shapes: [*batch, k] -> [*batch]; True/False, 0/1 or partial credit.  Boolean and integer verdicts give
    torch's default dtype.  The mean over questions is the caller's step.  Raises ShapeError if k = 0.
    """
    require_samples("avg_at_k", correct=correct)
    return (correct if correct.is_floating_point() else correct.to(torch.get_default_dtype())).mean(-1)


def pass_at_k(
    num_samples: int | Real[Tensor, "*batch"], num_correct: int | Real[Tensor, "*batch"], k: int
) -> Float[Tensor, "*batch"]:
    """Pass@k: the chance that k of the n samples, drawn without replacement, hold a correct one.

        1 - C(n-c, k) / C(n, k) = 1 - prod_{i<k} (n-c-i) / (n-i)                      (arXiv:2107.03374)

    Unbiased for the pass rate of k fresh samples.  One value per question; the mean over questions is the
    caller's step.

    Args:
        num_samples: n, samples per question: a tensor, or one number for all.
        num_correct: c, how many of them are correct.
        k: how many may be tried, 1 <= k <= n.

    Integer counts give torch's default dtype; bfloat16 cannot count beyond 256.  Counts are constants: no gradient.
    Raises ValueError if k < 1, n < k, c < 0 or c > n.  Under ``torch.func.vmap`` values cannot be inspected, and the
    result of such a question is NaN instead.  Raises ShapeError if both counts are tensors and their shapes differ.
    """
    if k < 1:
        raise ValueError(f"pass_at_k: needs k >= 1, got {k}. k is how many samples may be tried.")
    n, c = _as_pair(num_samples, num_correct)
    impossible = (n < k) | (c < 0) | (c > n)
    if _known_to_hold_any(impossible):
        raise ValueError(
            f"pass_at_k: needs num_samples >= k = {k} and 0 <= num_correct <= num_samples for each question; "
            f"{int(impossible.sum())} of {impossible.numel()} questions break it "
            f"(fewest samples: {n.min().item():g}). "
            "Draw more samples, lower k, or leave those questions out and say so."
        )
    step = torch.arange(k, device=n.device)
    # The factor at i = n-c is zero; the floor keeps those beyond it small, in whatever order a device multiplies.
    misses = (n[..., None] - c[..., None] - step).clamp(min=0.0) / (n[..., None] - step)
    return (1.0 - misses.prod(-1)).masked_fill(impossible, math.nan)


def duplicate_fraction(token_ids: Real[Tensor, "*batch K T"]) -> Float[Tensor, "*batch"]:
    """Share of a question's K rollouts that repeat an earlier one of the same question, between 0 and (K-1)/K.

    Independent long rollouts at a temperature above zero rarely agree to the last token; a share near (K-1)/K is the
    mark of rollouts that were given one seed, which leaves one sample where K were paid for and makes every interval
    and every Pass@k wrong.

    Args:
        token_ids: sampled ids, padded on one side with one id: [*batch, K, T].

    Default dtype.  T = 0, all empty: (K-1)/K.  Raises ShapeError without the axes K and T or if K = 0.
    """
    if token_ids.ndim < 2 or token_ids.shape[-2] == 0:
        raise ShapeError(
            f"duplicate_fraction: needs token ids [*batch, K, T] with K >= 1, got shape {tuple(token_ids.shape)}. "
            "Ragged rollouts? Pad them: torch.nn.utils.rnn.pad_sequence(rollouts, batch_first=True, padding_value=-1)."
        )
    same = (token_ids[..., :, None, :] == token_ids[..., None, :, :]).all(-1)
    repeats_an_earlier = same.tril(-1).any(-1)
    return repeats_an_earlier.to(torch.get_default_dtype()).mean(-1)


def bootstrap_interval(
    per_question_values: Float[Tensor, " B"],
    *,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int,
) -> Interval:
    """Mean over questions with its percentile bootstrap interval.

    Questions are redrawn with replacement; the ends are the (1-level)/2 and (1+level)/2 quantiles of the
    resampled means.

    Args:
        per_question_values: one value per question, shape [B], e.g. from ``avg_at_k`` or ``pass_at_k``.
        num_resamples: how many resampled means.
        level: nominal coverage, between 0 and 1.
        seed: the same seed gives the same interval, on any device.

    Approximate: it undercovers for few questions (below some 30); equal values give an interval of length 0.
    It holds the variation over questions and their samples; not that over training runs.  Not
    differentiable, not for vmap: returns Python numbers, computed in float64.  Raises ShapeError unless the
    shape is [B] with B >= 2, ValueError for a value that is not finite or a bad setting.
    """
    values = _checked_values("bootstrap_interval", per_question_values)
    if num_resamples < 1 or not 0.0 < level < 1.0:
        raise ValueError(
            "bootstrap_interval: needs num_resamples >= 1 and 0 < level < 1, "
            f"got num_resamples = {num_resamples}, level = {level}. A level of 95% is 0.95."
        )
    generator = torch.Generator().manual_seed(seed)
    num_questions = len(values)
    at_once = max(1, _INDICES_AT_ONCE // num_questions)
    means = torch.empty(num_resamples, dtype=torch.float64)
    for chunk in means.split(at_once):
        drawn = torch.randint(num_questions, (len(chunk), num_questions), generator=generator)
        chunk.copy_(values[drawn].mean(-1))
    ends = torch.tensor([(1.0 - level) / 2.0, (1.0 + level) / 2.0], dtype=torch.float64)
    lower, upper = torch.quantile(means, ends).tolist()
    return Interval(values.mean().item(), lower, upper)


def paired_bootstrap(
    values_a: Float[Tensor, " B"],
    values_b: Float[Tensor, " B"],
    *,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int,
) -> Interval:
    """Mean difference a - b over the same questions, with its percentile bootstrap interval.

    Each resample redraws questions and takes both models' values on them, so that what makes a question
    easy for both cancels.  Element i of both must be the same question; that cannot be checked here.
    Arguments, limits and errors as in ``bootstrap_interval``; ShapeError also if the two shapes differ.
    """
    require_equal_shapes("paired_bootstrap", values_a=values_a, values_b=values_b)
    difference = _checked_values("paired_bootstrap", values_a) - _checked_values("paired_bootstrap", values_b)
    return bootstrap_interval(difference, num_resamples=num_resamples, level=level, seed=seed)


def _checked_values(function: str, values: Tensor) -> Tensor:
    if values.ndim != 1 or len(values) < 2:
        raise ShapeError(
            f"{function}: needs one value per question, shape [B] with B >= 2, got "
            f"shape {tuple(values.shape)}. Several samples a question? Average them first: avg_at_k(values)."
        )
    values = values.detach().to("cpu", torch.float64)
    if not bool(values.isfinite().all()):
        raise ValueError(
            f"{function}: every value must be finite, got {int((~values.isfinite()).sum())} that are not. "
            "Drop those questions visibly, or score them; do not average over NaN."
        )
    return values


def _as_pair(num_samples: int | Tensor, num_correct: int | Tensor) -> tuple[Tensor, Tensor]:
    """Both counts as constants of one shape and device."""
    n, c = torch.as_tensor(num_samples).detach(), torch.as_tensor(num_correct).detach()
    if isinstance(num_samples, Tensor) and isinstance(num_correct, Tensor):
        require_equal_shapes("pass_at_k", num_samples=n, num_correct=c)
    device = n.device if isinstance(num_samples, Tensor) else c.device
    n, c = torch.broadcast_tensors(n.to(device), c.to(device))
    return n, c


def _known_to_hold_any(condition: Tensor) -> bool:
    """Whether any element is true; False where values cannot be read (vmap refuses with a RuntimeError)."""
    try:
        return bool(condition.any())
    except RuntimeError:
        return False
