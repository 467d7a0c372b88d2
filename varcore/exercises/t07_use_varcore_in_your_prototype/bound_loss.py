"""Task 7.3: the multi-trace bound as the loss of a plain torch loop."""

import math

import torch

import varcore
from varcore.exercises.drawing import log_probs, without
from varcore.exercises.t07_use_varcore_in_your_prototype.by_question import by_question
from varcore.exercises.task import Case, Task

ALL = (0, 1, 2)


def cases(generator):
    def draw(*questions, dtype=torch.float64):
        columns = [log_probs(generator, len(questions), dtype=dtype) for _ in range(3)]
        return (*columns, torch.tensor(questions))

    def impossible(arguments, *places):
        trace, answer, q, question = arguments
        return trace, without(answer, *[(place,) for place in places]), q, question

    return [
        Case("one question of three traces", draw(0, 0, 0), slopes=ALL),
        Case("two questions of three traces, mixed", draw(1, 0, 0, 1, 0, 1), slopes=ALL),
        Case("questions of three and five traces", draw(4, 1, 4, 4, 1, 4, 1, 4), slopes=ALL),
        Case("an answer that is impossible after one trace", impossible(draw(0, 1, 0, 1, 0), 2), slopes=ALL),
        Case("a question without a usable trace", impossible(draw(0, 1, 2, 0, 1), 1, 4), slopes=ALL),
        Case("no usable trace at all", impossible(draw(0, 1, 0), 0, 1, 2), slopes=ALL),
        Case("float32", draw(0, 1, 1, 0, 1, dtype=torch.float32)),
    ]


def bound_loss(log_trace, log_answer, log_q, question):
    log_weights = varcore.log_importance_weights(log_trace, log_answer, log_q.detach())
    bounds = torch.stack([varcore.iwae_bound(log_weights[question == x]) for x in question.unique()])
    usable = bounds > -math.inf
    return -bounds.where(usable, 0.0).sum() / usable.sum().clamp(min=1)


def on_a_grid(log_trace, log_answer, log_q, question):
    log_weights = by_question(log_trace + log_answer - log_q.detach(), question, -math.inf)
    counts = question.unique(return_counts=True)[1].to(log_weights)  # else the logarithm below is float32
    bounds = varcore.iwae_bound(log_weights) + (log_weights.shape[-1] / counts).log()  # the fill is no trace
    usable = bounds.isfinite()
    return -bounds.masked_fill(~usable, 0.0).sum() / max(1, int(usable.sum()))


def by_the_reasoner_loss(log_trace, log_answer, log_q, question):
    joint = log_trace + log_answer
    log_weights = by_question((joint - log_q).detach(), question, -math.inf)
    surrogate = varcore.iwae_reasoner_loss(by_question(joint, question, 0.0), log_weights)  # for its gradient
    sizes = question.unique(return_counts=True)[1].to(log_weights)
    bounds = torch.logsumexp(log_weights, -1) - sizes.log()
    usable = bounds > -math.inf
    return (surrogate - surrogate.detach() - bounds)[usable].sum() / usable.sum().clamp(min=1)


def _bounds(log_trace, log_answer, log_q, question):
    """The bound of each question, and which are usable."""
    log_weights = varcore.log_importance_weights(log_trace, log_answer, log_q)
    bounds = torch.stack([varcore.iwae_bound(log_weights[question == x]) for x in question.unique()])
    return bounds, bounds > -math.inf


def whole_batch(log_trace, log_answer, log_q, question):
    """the mean inside the logarithm runs over all traces of the batch. Then one easy question takes all the weight,
    and the others are not trained: each question has a bound of its own."""
    return bound_loss(log_trace, log_answer, log_q, torch.zeros_like(question))


def fill_counts(log_trace, log_answer, log_q, question):
    """the bounds of smaller groups are too low: the mean inside the logarithm divides by the length of the row, the
    fill included, in place of the question's own number of traces."""
    log_weights = by_question(log_trace + log_answer - log_q.detach(), question, -math.inf)
    bounds = varcore.iwae_bound(log_weights)
    usable = bounds > -math.inf
    return -bounds.where(usable, 0.0).sum() / usable.sum().clamp(min=1)


def filled_with_zeros(log_trace, log_answer, log_q, question):
    """smaller groups were filled up with log weights of 0, and each such place counts as a trace of weight 1."""
    log_weights = by_question(log_trace + log_answer - log_q.detach(), question, 0.0)
    return -varcore.iwae_bound(log_weights).mean()


def q_learns(log_trace, log_answer, log_q, question):
    """the value is right, and gradient flows into `log_q`: the step would lower q on the good traces. In a prototype
    where one network plays both roles that undoes what the reasoner learns. q is a constant here."""
    bounds, usable = _bounds(log_trace, log_answer, log_q, question)
    return -bounds.where(usable, 0.0).sum() / usable.sum().clamp(min=1)


def elbo(log_trace, log_answer, log_q, question):
    """it averages the logarithms: that is the ELBO. The bound of several traces has the mean inside the logarithm."""
    log_weights = varcore.log_importance_weights(log_trace, log_answer, log_q.detach())
    return -torch.stack([log_weights[question == x].mean() for x in question.unique()]).mean()


def no_log_k(log_trace, log_answer, log_q, question):
    """it is log of the sum of the weights: log of their mean is asked for. The gradient is the same; as a bound the
    value is too high by log K, and so it grows with the number of traces."""
    bounds, usable = _bounds(log_trace, log_answer, log_q.detach(), question)
    bounds = bounds + question.unique(return_counts=True)[1].to(bounds).log()
    return -bounds.where(usable, 0.0).sum() / usable.sum().clamp(min=1)


def log_k_in_float32(log_trace, log_answer, log_q, question):
    """it is right to seven digits: a count is an integer, its logarithm comes out in float32, and the log weights were
    float64. Make the count a number of their dtype first, `counts.to(log_weights)`."""
    log_weights = by_question(log_trace + log_answer - log_q.detach(), question, -math.inf)
    counts = question.unique(return_counts=True)[1]
    bounds = varcore.iwae_bound(log_weights) + (log_weights.shape[-1] / counts).float().log()
    usable = bounds > -math.inf
    return -bounds.where(usable, 0.0).sum() / usable.sum().clamp(min=1)


def question_by_size(log_trace, log_answer, log_q, question):
    """questions with more traces count more. The mean is over questions, not over traces."""
    bounds, usable = _bounds(log_trace, log_answer, log_q.detach(), question)
    counts = question.unique(return_counts=True)[1] * usable
    return -(bounds.where(usable, 0.0) * counts).sum() / counts.sum().clamp(min=1)


def summed(log_trace, log_answer, log_q, question):
    """it is the sum over questions; the mean is asked for."""
    bounds, usable = _bounds(log_trace, log_answer, log_q.detach(), question)
    return -bounds.where(usable, 0.0).sum()


def sign_turned(log_trace, log_answer, log_q, question):
    """the sign is turned: a bound is maximised, a loss minimised."""
    return -bound_loss(log_trace, log_answer, log_q, question)


def surrogate(log_trace, log_answer, log_q, question):
    """the gradient is right, and the value is not the bound: `iwae_reasoner_loss` is a surrogate, whose value means
    nothing and may rise while all is well. Minus the bound itself is asked for, so that a log can be read."""
    joint = log_trace + log_answer
    log_weights = by_question((joint - log_q).detach(), question, -math.inf)
    losses = varcore.iwae_reasoner_loss(by_question(joint, question, 0.0), log_weights)
    usable = (log_weights > -math.inf).any(-1)
    return losses.sum() / usable.sum().clamp(min=1)


def nothing_learns(log_trace, log_answer, log_q, question):
    """the value is right, and no gradient is left: the log weights were detached. In `iwae_reasoner_loss` they may be,
    for its first argument carries the gradient; a bound has no other argument."""
    return bound_loss(log_trace.detach(), log_answer.detach(), log_q, question)


def answers_alone_learn(log_trace, log_answer, log_q, question):
    """the value is right, and only the answers learn: `log_trace` was detached. Eq. 6 differentiates log π(z,y|x),
    both parts."""
    return bound_loss(log_trace.detach(), log_answer, log_q, question)


def traces_alone_learn(log_trace, log_answer, log_q, question):
    """the value is right, and only the traces learn: `log_answer` was detached. Eq. 6 differentiates log π(z,y|x),
    both parts."""
    return bound_loss(log_trace, log_answer.detach(), log_q, question)


def without_q(log_trace, log_answer, log_q, question):
    """`log_q` is not used. The traces came from q: without it, what q writes often counts more for that alone."""
    return bound_loss(log_trace, log_answer, torch.zeros_like(log_q), question)


def upside_down(log_trace, log_answer, log_q, question):
    """`log_q` is added. ρ is π(z,y|x) divided by q(z|x,y')."""
    return bound_loss(log_trace, log_answer, -log_q, question)


def infinite(log_trace, log_answer, log_q, question):
    """a question without a usable trace makes the loss infinite, and the whole batch is lost. Leave it out."""
    return -_bounds(log_trace, log_answer, log_q.detach(), question)[0].mean()


def unusable_counts(log_trace, log_answer, log_q, question):
    """a question without a usable trace is counted in the mean as if its bound were 0, that is, as if it were solved
    for certain. The mean is over usable questions."""
    bounds, usable = _bounds(log_trace, log_answer, log_q.detach(), question)
    return -bounds.where(usable, 0.0).mean()


def zero_over_zero(log_trace, log_answer, log_q, question):
    """a batch without any usable question gives 0 over 0. Its loss is 0."""
    bounds, usable = _bounds(log_trace, log_answer, log_q.detach(), question)
    return -bounds.where(usable, 0.0).sum() / usable.sum()


TASK = Task(
    name="7.3",
    title="The bound in your own loop",
    tier="core",
    hints=(
        "log ρ is a sum and a difference. Which of the three may learn in this step? Then one bound for each question: "
        "a loop over questions needs no fill. Last, the mean over those whose bound is finite.",
        "log ρ = log_trace + log_answer - sg(log_q);  L_x = log (1/k_x) Σ ρ over the k_x traces of x;  "
        "loss = - Σ L_x / number of x with L_x > -inf.",
        "log_weights = varcore.log_importance_weights(log_trace, log_answer, ...)\n"
        "bounds = torch.stack([varcore.iwae_bound(...) for x in question.unique()])\nusable = bounds > ...\n"
        "return -bounds.where(usable, 0.0).sum() / ....clamp(min=1)",
    ),
    cases=cases,
    solution=bound_loss,
    alternatives=(on_a_grid, by_the_reasoner_loss),
    mistakes=(
        whole_batch,
        fill_counts,
        filled_with_zeros,
        q_learns,
        elbo,
        no_log_k,
        log_k_in_float32,
        question_by_size,
        summed,
        sign_turned,
        surrogate,
        nothing_learns,
        answers_alone_learn,
        traces_alone_learn,
        without_q,
        upside_down,
        infinite,
        unusable_counts,
        zero_over_zero,
    ),
)
