"""Task 3.9: weights that are cut where one would hold too much."""

import math

import torch

import varcore
from varcore.exercises.drawing import normal, without
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, **settings):
        return normal(generator, *shape, **settings) + _PEAK.to(settings.get("dtype", torch.float64))[: shape[-1]]

    return [
        Case("three questions of four traces", (draw(3, 4),), (0,)),
        Case("one question of five traces", (draw(5),)),
        Case("a tensor of shape (2, 3, 4)", (draw(2, 3, 4),)),
        Case("weights of which none is large", (normal(generator, 3, 9, scale=0.1),)),
        Case("a single trace (K = 1)", (draw(3, 1),)),
        Case("log weights near -2000", (draw(3, 4) - 2000,)),
        Case("log weights near +2000", (draw(3, 4) + 2000,)),
        Case("a trace of weight zero", (without(draw(3, 4), (1, 2)),)),
        Case("a question where nothing is right", (without(draw(3, 4), (1,)),)),
        Case("float32", (draw(3, 4, dtype=torch.float32),)),
    ]


_PEAK = torch.tensor([7.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)  # one trace is above the cut


def truncated_log_weights(log_weights):
    count = log_weights.shape[-1]
    log_mean = log_weights.logsumexp(-1, keepdim=True) - math.log(count)
    return torch.minimum(log_weights, log_mean + 0.5 * math.log(count))


def by_shares(log_weights):
    shares = varcore.normalized_weights(log_weights)
    highest = log_weights.shape[-1] ** -0.5
    log_total = log_weights.logsumexp(-1, keepdim=True)
    return torch.where(shares > highest, log_total + math.log(highest), log_weights)


def looped(log_weights):
    rows, count = [], log_weights.shape[-1]
    for row in log_weights.reshape(-1, count):
        ceiling = row.logsumexp(0) - math.log(count) / 2
        rows.append(torch.stack([torch.minimum(value, ceiling) for value in row]))
    return torch.stack(rows).reshape(log_weights.shape)


def _cut(log_weights, log_ceiling):
    return torch.minimum(log_weights, log_ceiling)


def at_the_mean(log_weights):
    """it cuts at the mean weight itself. That cuts about half of the weights; the ceiling is √K times higher."""
    count = log_weights.shape[-1]
    return _cut(log_weights, log_weights.logsumexp(-1, keepdim=True) - math.log(count))


def never_cut(log_weights):
    """no weight is ever cut: the ceiling is at or above the *sum* of the weights. It is √K times their mean, and the
    mean has a log K in it."""
    return log_weights.clone()


def mean_of_logs(log_weights):
    """it takes the mean of the logarithms, and one trace of weight zero makes that -inf. The mean *weight* is meant, in
    logarithms."""
    count = log_weights.shape[-1]
    return _cut(log_weights, log_weights.mean(-1, keepdim=True) + 0.5 * math.log(count))


def root_of_the_mean(log_weights):
    """it takes the root of the mean weight. The root is on K alone."""
    return _cut(log_weights, 0.5 * log_weights.logsumexp(-1, keepdim=True))


def dropped(log_weights):
    """the weights above the ceiling are set to zero. They are cut *down to* the ceiling: a heavy trace stays one of the
    heaviest."""
    count = log_weights.shape[-1]
    ceiling = log_weights.logsumexp(-1, keepdim=True) - 0.5 * math.log(count)
    return log_weights.masked_fill(log_weights > ceiling + 1e-9, -math.inf)


def a_floor(log_weights):
    """it lifts the small weights up to the level and leaves the large ones: `maximum` where `minimum` is meant."""
    count = log_weights.shape[-1]
    return torch.maximum(log_weights, log_weights.logsumexp(-1, keepdim=True) - 0.5 * math.log(count))


def whole_batch(log_weights):
    """all questions share one ceiling. Each question has a mean weight of its own."""
    ceiling = log_weights.flatten().logsumexp(0) - math.log(log_weights.numel()) + 0.5 * math.log(log_weights.shape[-1])
    return _cut(log_weights, ceiling)


def first_axis(log_weights):
    """the mean is taken over the first axis, which holds the questions; the traces are on the last one."""
    count = log_weights.shape[0]
    return _cut(log_weights, log_weights.logsumexp(0, keepdim=True) - 0.5 * math.log(count))


def normalised(log_weights):
    """the weights were normalised on the way. Their sizes tell how good a question is: only the heavy ones are cut, the
    others stay as they are."""
    shares = varcore.normalized_weights(log_weights)
    return shares.clamp(max=log_weights.shape[-1] ** -0.5).log()


def nan_for_nothing(log_weights):
    """a question where nothing is right gives NaN: -inf minus -inf. Its weights stay zero."""
    largest = log_weights.amax(-1, keepdim=True)
    mean = (log_weights - largest).exp().mean(-1, keepdim=True)
    return _cut(log_weights, mean.log() + largest + 0.5 * math.log(log_weights.shape[-1]))


def left_the_logarithms(log_weights):
    """it takes `exp` of the log weights as they are: near -2000 everything becomes 0, and near +2000 infinite."""
    rho = log_weights.exp()
    return torch.minimum(rho, rho.mean(-1, keepdim=True) * log_weights.shape[-1] ** 0.5).log()


def zeros_not_counted(log_weights):
    """K counts only the traces that have weight. One of weight zero was drawn as well: K is the number of all traces,
    in the mean and under the root."""
    count = (log_weights > -math.inf).sum(-1, keepdim=True).clamp(min=1).to(log_weights.dtype)
    return _cut(log_weights, log_weights.logsumexp(-1, keepdim=True) - 0.5 * count.log())


TASK = Task(
    name="3.9",
    title="Cut the heaviest",
    tier="stretch",
    hints=(
        "One number for each question, the ceiling; then the smaller of weight and ceiling. In logarithms the mean "
        "weight is a `logsumexp` minus log K, and a factor of √K is half a log K more. Keep the axis, so that the "
        "ceiling meets its own question.",
        "min(log ρ_k, log Σ_j ρ_j - log K + ½ log K).",
        "K = log_weights.shape[-1]\nlog_mean = log_weights.logsumexp(-1, keepdim=True) - ...\n"
        "return torch.minimum(log_weights, log_mean + ...)",
    ),
    cases=cases,
    solution=truncated_log_weights,
    alternatives=(by_shares, looped),
    mistakes=(
        at_the_mean,
        never_cut,
        mean_of_logs,
        root_of_the_mean,
        dropped,
        a_floor,
        whole_batch,
        first_axis,
        normalised,
        nan_for_nothing,
        left_the_logarithms,
        zeros_not_counted,
    ),
    library="varcore.truncated_log_weights",
)
