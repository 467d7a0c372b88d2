"""Task 7.8: a loss whose objective is an argument, for groups of any size."""

import torch

import varcore
from varcore.exercises.drawing import accuracies, log_probs, without
from varcore.exercises.t07_use_varcore_in_your_prototype.by_question import by_question
from varcore.exercises.task import Case, Task


def _grpo(log_pi, log_q, rewards, num_tokens):
    return varcore.grpo_advantages(rewards) / len(rewards)


def _vr(log_pi, log_q, rewards, num_tokens):
    return varcore.normalized_weights(
        varcore.tempered_log_weights(log_pi, log_q, rewards.log(), num_tokens, exponent=1)
    )


def _geometric(log_pi, log_q, rewards, num_tokens):
    return varcore.normalized_weights(varcore.tempered_log_weights(log_pi, log_q, rewards.log(), num_tokens))


def cases(generator):
    def draw(objective, *questions, impossible=(), wrong=(), dtype=torch.float64):
        log_pi, log_q = (log_probs(generator, len(questions), dtype=dtype) for _ in range(2))
        rewards = accuracies(generator, len(questions), dtype=dtype)
        rewards[[*wrong, *impossible]] = 0.0
        lengths = torch.randint(1, 9, (len(questions),), generator=generator)
        columns = {"log_q": log_q, "rewards": rewards, "num_tokens": lengths}
        return without(log_pi, *[(place,) for place in impossible]), columns, torch.tensor(questions), objective

    return [
        Case("GRPO's advantages, three questions, mixed", draw(_grpo, 2, 0, 2, 1, 0, 1), slopes=(0,)),
        Case("GRPO's advantages, groups of two and four", draw(_grpo, 7, 3, 7, 7, 3, 7), slopes=(0,)),
        Case("weights with the exponent 1", draw(_vr, 1, 0, 2, 1, 1, 0, 2), slopes=(0,)),
        Case("a question whose weights are all 0", draw(_geometric, 1, 0, 2, 1, 1, 2, 0, wrong=(2, 5)), slopes=(0,)),
        Case("a wrong rollout that is impossible by now", draw(_vr, 1, 0, 1, 0, 1, impossible=(2,)), slopes=(0,)),
        Case("float32", draw(_geometric, 0, 1, 0, 1, 1, dtype=torch.float32)),
    ]


def objective_loss(log_pi, columns, question, objective):
    total = 0.0
    for x in question.unique():
        own = question == x
        group = {name: column[own] for name, column in columns.items()}
        coefficients = objective(log_pi=log_pi[own].detach(), **group)
        total = total - (coefficients * log_pi[own].where(coefficients != 0, 0.0)).sum()
    return total / len(question.unique())


def coefficients_first(log_pi, columns, question, objective):
    coefficients = torch.zeros_like(log_pi)
    with torch.no_grad():
        for x in set(question.tolist()):
            places = (question == x).nonzero()[:, 0]
            own = {name: column[places] for name, column in columns.items()}
            coefficients[places] = objective(log_pi[places], **own)
    kept = coefficients.nonzero()[:, 0]
    return -(coefficients[kept] @ log_pi[kept]) / question.unique().numel()


def sorted_and_split(log_pi, columns, question, objective):
    order = question.argsort(stable=True)
    sizes = question.unique(return_counts=True)[1].tolist()
    pieces = {name: column[order].split(sizes) for name, column in columns.items()}
    losses = []
    for number, own in enumerate(log_pi[order].split(sizes)):
        found = objective(log_pi=own, **{name: cut[number] for name, cut in pieces.items()}).detach()
        losses.append(-torch.where(found == 0, torch.zeros_like(own), found * own.masked_fill(found == 0, 0.0)).sum())
    return sum(losses) / len(losses)


def _coefficients(log_pi, columns, question, objective):
    """In the order of the batch; gradient may flow."""
    found = torch.zeros_like(log_pi)
    for x in question.unique():
        own = question == x
        group = {name: column[own] for name, column in columns.items()}
        found = found.masked_scatter(own, objective(log_pi=log_pi[own], **group))
    return found


def _loss(coefficients, log_pi, count):
    return -(coefficients * log_pi.where(coefficients != 0, 0.0)).sum() / count


def whole_batch(log_pi, columns, question, objective):
    """the objective is called once, with the whole batch. Its means, spreads and sums then run over all questions; each
    question is a group of its own."""
    return _loss(objective(log_pi=log_pi.detach(), **columns), log_pi, len(question.unique()))


def on_a_grid(log_pi, columns, question, objective):
    """the objective is called on a grid that was filled up, and takes the fill for rollouts: GRPO's mean and spread are
    those of a larger group with failures in it. Call it for one question at a time."""
    grid = {name: by_question(column, question, 0) for name, column in columns.items()}
    policy = by_question(log_pi.detach(), question, 0.0)
    found = torch.stack([objective(log_pi=policy[n], **{m: g[n] for m, g in grid.items()}) for n in range(len(policy))])
    real = by_question(torch.ones_like(log_pi), question, 0.0)
    return _loss(found * real, by_question(log_pi, question, 0.0), len(policy))


def order_lost(log_pi, columns, question, objective):
    """the coefficients are in the order of the questions and the log-probabilities in that of the batch: each rollout
    gets the coefficient of another one."""
    found = []
    for x in question.unique():
        group = {name: column[question == x] for name, column in columns.items()}
        found.append(objective(log_pi=log_pi[question == x].detach(), **group))
    return _loss(torch.cat(found), log_pi, len(found))


def coefficients_learn(log_pi, columns, question, objective):
    """the value is right, and gradient flows through the coefficients: `log_pi` goes into the objective as well. They
    are constants of the step."""
    return _loss(_coefficients(log_pi, columns, question, objective), log_pi, len(question.unique()))


def summed(log_pi, columns, question, objective):
    """it is the sum over questions; the mean is asked for."""
    return objective_loss(log_pi, columns, question, objective) * len(question.unique())


def over_rollouts(log_pi, columns, question, objective):
    """it divides by the number of rollouts. How a group is averaged is up to the objective; the mean here is over
    questions."""
    return objective_loss(log_pi, columns, question, objective) * len(question.unique()) / len(question)


def group_means(log_pi, columns, question, objective):
    """it takes the mean over each group, and the objective has divided already: GRPO's coefficients hold 1/G, weights
    sum to one. Sum over the group."""
    sizes = (question[:, None] == question).sum(-1)
    found = _coefficients(log_pi.detach(), columns, question, objective)
    return _loss(found / sizes, log_pi, len(question.unique()))


def over_usable(log_pi, columns, question, objective):
    """a question whose coefficients are all 0 is left out of the mean. The spec asks for all questions of the batch."""
    found = _coefficients(log_pi.detach(), columns, question, objective)
    return _loss(found, log_pi, len(question[found != 0].unique()))


def renormalized(log_pi, columns, question, objective):
    """the coefficients are made to sum to one once more. Advantages sum to zero, and are not to be touched."""
    found = _coefficients(log_pi.detach(), columns, question, objective)
    total = sum((found * (question == x)).sum() * (question == x) for x in question.unique())
    return _loss(found / total, log_pi, len(question.unique()))


def sign_turned(log_pi, columns, question, objective):
    """the sign is turned: a minimiser would push the good rollouts away."""
    return -objective_loss(log_pi, columns, question, objective)


def zero_times_infinity(log_pi, columns, question, objective):
    """a coefficient of 0 times a log-probability of -inf is NaN. A rollout without a coefficient adds nothing, whatever
    its log-probability."""
    found = _coefficients(log_pi.detach(), columns, question, objective)
    return -(found * log_pi).sum() / len(question.unique())


def gradients_cut(log_pi, columns, question, objective):
    """the value is right, and no gradient is left: `log_pi` was detached for the objective *and* for the product. Only
    the coefficients are constants."""
    return objective_loss(log_pi.detach(), columns, question, objective)


TASK = Task(
    name="7.8",
    title="The objective as an argument",
    tier="stretch",
    hints=(
        "A loop over questions: cut every column to the rollouts of one, ask the objective, multiply, add up. What "
        "must not carry gradient? And what is 0 times -inf?",
        "loss = - (1/B) Σ_x Σ_{k in x} sg(c_k) log π_k,  c = objective(log_pi=..., **columns) of the rollouts of x "
        "alone; a term with c_k = 0 is 0.",
        "total = 0.0\nfor x in question.unique():\n    own = question == x\n"
        "    group = {name: column[...] for name, column in columns.items()}\n"
        "    coefficients = objective(log_pi=..., **group)\n"
        "    total = total - (coefficients * log_pi[own].where(..., 0.0)).sum()\nreturn total / ...",
    ),
    cases=cases,
    solution=objective_loss,
    alternatives=(coefficients_first, sorted_and_split),
    mistakes=(
        whole_batch,
        on_a_grid,
        order_lost,
        coefficients_learn,
        summed,
        over_rollouts,
        group_means,
        over_usable,
        renormalized,
        sign_turned,
        zero_times_infinity,
        gradients_cut,
    ),
)
