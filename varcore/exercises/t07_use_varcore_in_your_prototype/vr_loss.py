"""Task 7.4: find the three wrong lines in the loss of a prototype."""

import math

import torch

import varcore
from varcore.exercises.drawing import accuracies, log_probs
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(shapes, questions, wrong=(), dtype=torch.float64):
        """Rows of (prompt, trace, answer) tokens, padded on the right."""
        kind = torch.zeros(len(shapes), max(map(sum, shapes)), dtype=torch.long)
        for row, parts in zip(kind, shapes, strict=True):
            row[: sum(parts)] = torch.tensor([1, 2, 3]).repeat_interleave(torch.tensor(parts))
        tokens = log_probs(generator, *kind.shape, dtype=dtype)
        log_q = torch.stack([row[of == 2].sum() for row, of in zip(tokens, kind, strict=True)])
        log_q = log_q + log_probs(generator, len(shapes), dtype=dtype)  # ratios of a few nats
        right = accuracies(generator, len(shapes), dtype=dtype)
        right[list(wrong)] = 0.0
        return tokens, kind, log_q, right, torch.tensor(questions)

    long = [(1, 90, 2), (2, 120, 1), (1, 100, 3), (2, 80, 1)]
    tokens, kind, log_q, right, question = draw(long, (0, 0, 1, 1))
    return [
        Case("two questions, mixed", draw([(1, 3, 2), (2, 1, 2), (1, 4, 1), (2, 2, 1)], (0, 1, 1, 0)), slopes=(0,)),
        Case("one question, padded", draw([(1, 3, 1), (1, 2, 2), (2, 1, 1)], (5, 5, 5)), slopes=(0,)),
        Case("groups of one and of three", draw([(1, 2, 1), (2, 3, 1), (1, 1, 3), (1, 4, 1)], (1, 0, 1, 1)), (0,)),
        Case("a trace that is wrong", draw([(1, 2, 1), (1, 3, 1), (1, 1, 2)], (0, 1, 0), wrong=[2]), slopes=(0,)),
        Case(
            "a question without a right trace",
            draw([(1, 2, 1), (1, 3, 1), (1, 1, 2), (2, 2, 2)], (0, 1, 0, 1), wrong=[1, 3]),
            slopes=(0,),
        ),
        Case("traces near -2000 nats", (20 * tokens, kind, log_q + 19 * _sums(tokens, kind), right, question), (0,)),
        Case("float32", draw([(1, 2, 1), (1, 3, 2), (1, 1, 2)], (0, 1, 0), dtype=torch.float32)),
    ]


def _sums(tokens, kind):
    return (tokens * (kind == 2)).sum(-1)


def vr_loss(log_probs, kind, log_q, accuracy, question):
    log_trace = log_probs.where(kind == 2, 0.0).sum(-1)
    log_joint = log_probs.where(kind >= 2, 0.0).sum(-1)
    log_rho = (log_trace - log_q + accuracy.log()).detach()
    total = 0.0
    for x in question.unique():
        own = question == x
        total = total - (varcore.normalized_weights(log_rho[own]) * log_joint[own]).sum()
    return total / len(question.unique())


def by_matrix(log_probs, kind, log_q, accuracy, question):
    log_trace = (log_probs * (kind == 2)).sum(-1)
    log_joint = (log_probs * (kind >= 2)).sum(-1)
    log_rho = (log_trace - log_q + accuracy.log()).detach()
    same = question[:, None] == question
    log_total = torch.logsumexp(log_rho.expand(len(question), -1).where(same, -math.inf), -1)
    weights = (log_rho - log_total).exp().nan_to_num(nan=0.0)  # -inf less -inf: a question without a right trace
    return -(weights * log_joint).sum() / question.unique().numel()


def by_the_library(log_probs, kind, log_q, accuracy, question):
    part = [torch.where(kind == number, log_probs, 0.0).sum(-1) for number in (2, 3)]
    with torch.no_grad():
        log_weights = varcore.log_importance_weights(part[0], accuracy.log(), log_q)
    losses = [
        varcore.iwae_reasoner_loss((part[0] + part[1])[question == x], log_weights[question == x])
        for x in question.unique()
    ]
    return torch.stack(losses).mean()


def _faulty(log_probs, kind, log_q, accuracy, question, *, padding=False, batch=False, slope=False):
    """The prototype's loss, with any of its three faults; from the logarithm, so that nothing else is wrong."""
    log_trace = (log_probs * (kind == 2)).sum(-1)
    log_joint = (log_probs * (kind != 1 if padding else kind >= 2)).sum(-1)
    log_rho = log_trace - log_q + accuracy.log()
    log_rho = log_rho if slope else log_rho.detach()
    groups = [torch.ones_like(question) > 0] if batch else [question == x for x in question.unique()]
    losses = [(varcore.normalized_weights(log_rho[own]) * log_joint[own]).sum() for own in groups]
    return -torch.stack(losses).mean()


def as_it_was(log_probs, kind, log_q, accuracy, question):
    """this does what the function at the start does. Take the three symptoms one by one: a question must not feel the
    others of its batch, a row not its padding, and in a row tokens of trace and answer must pull alike."""
    log_trace = (log_probs * (kind == 2)).sum(-1)
    log_joint = (log_probs * (kind != 1)).sum(-1)
    rho = accuracy * (log_trace - log_q).exp()
    weights = rho / rho.sum()
    return -(weights * log_joint).sum()


def padding_and_batch(log_probs, kind, log_q, accuracy, question):
    """no gradient reaches the weights any more, which is right. Two faults are left: run the first two symptoms."""
    return _faulty(log_probs, kind, log_q, accuracy, question, padding=True, batch=True)


def padding_and_slope(log_probs, kind, log_q, accuracy, question):
    """the weights sum to one in each question, which is right. Two faults are left: run the last two symptoms."""
    return _faulty(log_probs, kind, log_q, accuracy, question, padding=True, slope=True)


def batch_and_slope(log_probs, kind, log_q, accuracy, question):
    """padding no longer counts, which is right. Two faults are left: run the first and the third symptom."""
    return _faulty(log_probs, kind, log_q, accuracy, question, batch=True, slope=True)


def padding(log_probs, kind, log_q, accuracy, question):
    """one fault is left: `kind != 1` keeps the prompt out and lets padding in."""
    return _faulty(log_probs, kind, log_q, accuracy, question, padding=True)


def batch(log_probs, kind, log_q, accuracy, question):
    """one fault is left: the weights sum to one over the whole batch. In each question they should, and then the mean
    over questions is taken."""
    return _faulty(log_probs, kind, log_q, accuracy, question, batch=True)


def slope(log_probs, kind, log_q, accuracy, question):
    """the value is right and one fault is left: the weights are made of `log_probs`, and gradient flows through them.
    They say how much a trace counts, and are constants of the step."""
    return _faulty(log_probs, kind, log_q, accuracy, question, slope=True)


def summed(log_probs, kind, log_q, accuracy, question):
    """it is the sum over questions: the mean is asked for. The old weights summed to one over the batch, so the
    division was not needed there; now it is."""
    return vr_loss(log_probs, kind, log_q, accuracy, question) * len(question.unique())


def over_rollouts(log_probs, kind, log_q, accuracy, question):
    """it divides by the number of rollouts. The weights of a question already sum to one: divide by the number of
    questions."""
    return vr_loss(log_probs, kind, log_q, accuracy, question) * len(question.unique()) / len(question)


def over_usable(log_probs, kind, log_q, accuracy, question):
    """it divides by the number of questions that have a right trace. The spec asks for all questions of the batch."""
    usable = sum(bool(accuracy[question == x].any()) for x in question.unique())
    return vr_loss(log_probs, kind, log_q, accuracy, question) * len(question.unique()) / usable


def answers_left_out(log_probs, kind, log_q, accuracy, question):
    """now the answer is not trained: log π(z,y|x) is of trace and answer, kinds 2 and 3."""
    return vr_loss(log_probs.where(kind == 2, 0.0), kind, log_q, accuracy, question)


def prompts_let_in(log_probs, kind, log_q, accuracy, question):
    """now the prompt counts: nobody drew it."""
    return vr_loss(log_probs, kind, log_q, accuracy, question) + _prompts(log_probs, kind, log_q, accuracy, question)


def _prompts(log_probs, kind, log_q, accuracy, question):
    """What the loss gains if log_joint counts kind 1 too."""
    log_rho = ((log_probs * (kind == 2)).sum(-1) - log_q + accuracy.log()).detach()
    prompt = (log_probs * (kind == 1)).sum(-1)
    owns = [question == x for x in question.unique()]
    return -torch.stack([(varcore.normalized_weights(log_rho[own]) * prompt[own]).sum() for own in owns]).mean()


def hopeless_is_nan(log_probs, kind, log_q, accuracy, question):
    """a question without a right trace gives NaN, 0 over 0, and the whole batch is lost. Its weights are 0."""
    log_rho = ((log_probs * (kind == 2)).sum(-1) - log_q + accuracy.log()).detach()
    log_joint = (log_probs * (kind >= 2)).sum(-1)
    owns = [question == x for x in question.unique()]
    return -torch.stack([(log_rho[own].softmax(-1) * log_joint[own]).sum() for own in owns]).mean()


def small_number_under(log_probs, kind, log_q, accuracy, question):
    """a small number was added under the fraction, and the weights no longer sum to one: where all ρ of a question are
    small, it is what the fraction is made of. Treat a sum of zero by itself."""
    log_trace = (log_probs * (kind == 2)).sum(-1).detach()
    log_joint = (log_probs * (kind >= 2)).sum(-1)
    rho = accuracy * (log_trace - log_q).exp()
    owns = [question == x for x in question.unique()]
    return -torch.stack([(rho[own] / (rho[own].sum() + 1e-8) * log_joint[own]).sum() for own in owns]).mean()


def underflow(log_probs, kind, log_q, accuracy, question):
    """`exp` comes before the ratio is taken, and of a trace near -2000 nats that is 0: 0 over 0. Subtract the
    logarithms first, and normalise with a softmax."""
    log_trace = (log_probs * (kind == 2)).sum(-1).detach()
    log_joint = (log_probs * (kind >= 2)).sum(-1)
    rho = accuracy * log_trace.exp() / log_q.exp()
    owns = [question == x for x in question.unique()]
    weights = [rho[own] / rho[own].sum() if rho[own].any() else rho[own] for own in owns]
    return -torch.stack([(w * log_joint[own]).sum() for w, own in zip(weights, owns, strict=True)]).mean()


TASK = Task(
    name="7.4",
    title="Three wrong lines",
    tier="core",
    kind="debugging",
    hints=(
        "Each symptom has one line. Which line knows about other questions? Which mask is true at padding? And which "
        "tensors does `weights` hang on, when `backward` runs?",
        "w_k = ρ_k / Σ ρ over the traces of its own question, a constant; 0 where Σ ρ = 0. loss = - Σ_x Σ_k w_k "
        "log π(z_k, y_k|x) / number of questions, where log π(z, y|x) sums over kinds 2 and 3.",
        "log_joint = log_probs.where(kind >= ..., 0.0).sum(-1)\n"
        "log_rho = (log_trace - log_q + accuracy.log())....\ntotal = 0.0\nfor x in question.unique():\n"
        "    own = question == x\n"
        "    total = total - (varcore.normalized_weights(log_rho[...]) * log_joint[...]).sum()\n"
        "return total / ...",
    ),
    cases=cases,
    solution=vr_loss,
    alternatives=(by_matrix, by_the_library),
    mistakes=(
        as_it_was,
        padding_and_batch,
        padding_and_slope,
        batch_and_slope,
        padding,
        batch,
        slope,
        summed,
        over_rollouts,
        over_usable,
        answers_left_out,
        prompts_let_in,
        hopeless_is_nan,
        small_number_under,
        underflow,
    ),
)
