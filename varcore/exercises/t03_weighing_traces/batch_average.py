"""Task 3.5: an average over questions, some of which have nothing right."""

import math

import torch

import varcore
from varcore.exercises.drawing import normal, without
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, shift=0.0, **settings):
        return normal(generator, *shape, **settings) + shift, normal(generator, *shape, **settings)

    log_weights, values = draw(3, 4)
    nothing = without(log_weights, (1,))
    infinite = without(values, (0, 2))
    return [
        Case("three questions of four traces", (log_weights, values), (1,)),
        Case("five questions of two traces", draw(5, 2)),
        Case("one question of five traces", draw(1, 5)),
        Case("a single trace for each question (K = 1)", draw(3, 1)),
        Case("log weights near -2000", draw(3, 4, shift=-2000.0)),
        Case("a trace of weight zero", (without(log_weights, (1, 2)), values)),
        Case("a question where nothing is right", (nothing, values), (1,)),
        Case("a trace of weight zero whose value is -inf", (without(log_weights, (0, 2)), infinite)),
        Case("a question where nothing is right, with values of NaN", (nothing, _broken(values))),
        Case("a trace that has weight, with a value of NaN", (log_weights, _broken(values))),
        Case("a question whose values are all 0", (log_weights, values.index_fill(0, torch.tensor([1]), 0.0))),
        Case("a batch where nothing is right", (without(log_weights, (0,), (1,), (2,)), values)),
        Case("float32", draw(3, 4, dtype=torch.float32)),
    ]


def _broken(values):
    values = values.clone()
    values[1] = math.nan
    return values


def batch_average(log_weights, values):
    weights = varcore.normalized_weights(log_weights)
    per_question = (weights * values.masked_fill(weights == 0, 0.0)).sum(-1)
    usable = (log_weights > -math.inf).any(-1)
    return per_question.sum() / usable.sum().clamp(min=1)


def kept_rows(log_weights, values):
    usable = log_weights.amax(-1) > -math.inf
    if not usable.any():
        return torch.zeros((), dtype=values.dtype)
    shares, kept = log_weights[usable].softmax(-1), values[usable]
    return torch.where(shares > 0, shares * kept, 0.0).sum(-1).mean()


def looped(log_weights, values):
    found = []
    for logs, row in zip(log_weights, values, strict=True):
        alive = logs > -math.inf
        if alive.any():
            found.append((torch.softmax(logs[alive], 0) * row[alive]).sum())
    return torch.stack(found).mean() if found else values.new_zeros(())


def _weighed(weights, values):
    return (weights * values.masked_fill(weights == 0, 0.0)).sum(-1)


def counted_as_zero(log_weights, values):
    """a question where nothing is right is counted as one with the value 0. It has said nothing: leave it out of the
    number of questions, too."""
    return _weighed(varcore.normalized_weights(log_weights), values).mean()


def uniform_for_nothing(log_weights, values):
    """a question where nothing is right has been given weights after all, all alike. It would train on traces that are
    all wrong."""
    weights = torch.where((log_weights == -math.inf).all(-1, keepdim=True), 0.0, log_weights).softmax(-1)
    return _weighed(weights, values).mean()


def nan_for_nothing(log_weights, values):
    """a question where nothing is right makes the whole average NaN. Its weights are 0 over 0; find such questions
    before you divide, or take the weights of tutorial 1, which are zero there."""
    return _weighed(log_weights.softmax(-1), values).mean()


def over_the_batch(log_weights, values):
    """the weights are normalised over the whole batch, so that questions compete: the one with the largest ρ takes the
    average. Normalise inside each question."""
    weights = varcore.normalized_weights(log_weights.flatten())
    return _weighed(weights, values.flatten())


def not_normalised(log_weights, values):
    """the weights are not normalised: the K weights of a question are to sum to one."""
    return _usable_mean(_weighed(log_weights.exp(), values), log_weights)


def _usable_mean(per_question, log_weights):
    return per_question.sum() / (log_weights > -math.inf).any(-1).sum().clamp(min=1)


def weights_ignored(log_weights, values):
    """the weights do not come in: it is the plain mean of the values."""
    return values.mean()


def zero_times_infinity(log_weights, values):
    """a trace of weight zero whose value is -inf or NaN spoils the average: 0 times -inf is NaN. Such a trace has no
    part in it."""
    return _usable_mean((varcore.normalized_weights(log_weights) * values).sum(-1), log_weights)


def broken_hidden(log_weights, values):
    """a value of NaN is dropped even where its trace has weight, and nobody would hear of it. Only the traces of weight
    zero have no part in it: choose by the weight, not by the value."""
    return _usable_mean((varcore.normalized_weights(log_weights) * values).nansum(-1), log_weights)


def traces_counted(log_weights, values):
    """it divides by the number of traces with weight. The weights of a question sum to one already; what is left is to
    average over *questions*."""
    total = _weighed(varcore.normalized_weights(log_weights), values).sum()
    return total / (log_weights > -math.inf).sum().clamp(min=1)


def summed(log_weights, values):
    """the questions are summed and not averaged."""
    return _weighed(varcore.normalized_weights(log_weights), values).sum()


def one_each(log_weights, values):
    """it is one value for each question; their average over the usable ones is asked for."""
    return _weighed(varcore.normalized_weights(log_weights), values)


def any_zero(log_weights, values):
    """it leaves out every question that has *some* trace of weight zero. A question is usable if one trace has
    weight."""
    usable = (log_weights > -math.inf).all(-1)
    return (_weighed(varcore.normalized_weights(log_weights), values) * usable).sum() / usable.sum().clamp(min=1)


def nan_for_no_question(log_weights, values):
    """a batch where nothing is right gives NaN, a mean over no questions. It should be 0: no step."""
    usable = (log_weights > -math.inf).any(-1)
    return _weighed(varcore.normalized_weights(log_weights), values)[usable].mean()


def first_axis(log_weights, values):
    """the weights are normalised over the first axis, which holds the questions; the traces are on the last one."""
    return _usable_mean((log_weights.softmax(0) * values).sum(-1), log_weights)


def underflow(log_weights, values):
    """it takes `exp` of the log weights as they are: near -2000 all of them become 0, and good questions look as if
    nothing were right."""
    rho = log_weights.exp()
    total = rho.sum(-1, keepdim=True)
    weights = rho / torch.where(total == 0, 1.0, total)
    return _weighed(weights, values).sum() / (total > 0).sum().clamp(min=1)


def usable_by_the_value(log_weights, values):
    """a question whose average happens to be 0 is taken for one where nothing is right, and left out of their number.
    Its traces have weight, and their values are 0: ask the weights which questions are usable."""
    per_question = _weighed(varcore.normalized_weights(log_weights), values)
    return per_question.sum() / (per_question != 0).sum().clamp(min=1)


def broken_left_out(log_weights, values):
    """a trace whose value is -inf or NaN is left out even where it has weight, and nobody would hear of it. Only the
    traces of weight zero have no part in it."""
    weights = varcore.normalized_weights(log_weights).masked_fill(~values.isfinite(), 0.0)
    usable = (weights > 0).any(-1)
    return _weighed(weights, values).sum() / usable.sum().clamp(min=1)


TASK = Task(
    name="3.5",
    title="Questions where nothing is right",
    tier="core",
    hints=(
        "Two averages, one inside the other. Inside a question the weights do it; over questions, a plain mean, but "
        "only of those that have a weight at all. How do you find these? How many are they, at least, when you divide? "
        "And what is 0 times -inf?",
        "Σ_b usable_b Σ_k w_bk v_bk / max(1, Σ_b usable_b), with usable_b: some log ρ_bk > -inf; terms with w = 0 "
        "are 0.",
        "weights = varcore.normalized_weights(log_weights)\n"
        "per_question = (weights * values.masked_fill(weights == 0, ...)).sum(...)\n"
        "usable = (log_weights > ...).any(...)\n"
        "return per_question.sum() / ...",
    ),
    cases=cases,
    solution=batch_average,
    alternatives=(kept_rows, looped),
    mistakes=(
        counted_as_zero,
        uniform_for_nothing,
        nan_for_nothing,
        over_the_batch,
        not_normalised,
        weights_ignored,
        zero_times_infinity,
        broken_hidden,
        traces_counted,
        summed,
        one_each,
        any_zero,
        nan_for_no_question,
        first_axis,
        underflow,
        usable_by_the_value,
        broken_left_out,
    ),
)
