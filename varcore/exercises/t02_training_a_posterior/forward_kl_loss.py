"""Task 2.3: the forward-KL loss, which learns from the reasoner's traces."""

import torch

from varcore.exercises.drawing import log_probs, without
from varcore.exercises.t02_training_a_posterior.trace_shares import trace_shares
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, dtype=torch.float64):
        accuracies = torch.rand(*shape, generator=generator, dtype=torch.float64).add(0.05).div(1.05)
        return log_probs(generator, *shape, dtype=dtype), accuracies.to(dtype)

    log_q, accuracies = draw(3, 4)
    some_wrong = accuracies * torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
    all_wrong = accuracies * torch.tensor([[1.0], [0.0], [1.0]])
    verdicts = (accuracies > accuracies.median()).double()
    verdicts[:, 0] = 1.0
    return [
        Case("three questions of four traces", draw(3, 4), slopes=(0, 1)),
        Case("one question of five traces", draw(5), slopes=(0, 1)),
        Case("tensors of shape (2, 3, 4)", draw(2, 3, 4)),
        Case("a single trace (M = 1)", draw(3, 1), slopes=(0,)),
        Case("verdicts, 0 or 1, on traces of thousands of tokens", (log_q - 3000, verdicts), slopes=(0,)),
        Case("a wrong trace whose log_posterior is -inf", (without(log_q, (1, 2)), some_wrong), slopes=(0,)),
        Case("a question whose traces are all wrong", (log_q, all_wrong), slopes=(0,)),
        Case("a right trace whose log_posterior is -inf", (without(log_q, (2, 3)), accuracies)),
        Case("float32", draw(3, 4, dtype=torch.float32)),
    ]


def forward_kl_loss(log_posterior, correctness):
    shares = trace_shares(correctness.detach())  # constants, whatever computed them
    log_posterior = log_posterior.masked_fill(shares == 0, 0.0)  # 0 times -inf would be NaN
    return -(shares * log_posterior).sum(-1)


def without_grad(log_posterior, correctness):
    with torch.no_grad():
        shares = (correctness / correctness.sum(-1, keepdim=True)).nan_to_num(nan=0.0)
    return -torch.where(shares > 0, shares * log_posterior, torch.zeros_like(log_posterior)).sum(dim=-1)


def looped(log_posterior, correctness):
    shares = trace_shares(correctness.detach())
    loss = torch.zeros_like(log_posterior[..., 0])
    for m in range(log_posterior.shape[-1]):
        loss = loss - shares[..., m] * torch.where(shares[..., m] > 0, log_posterior[..., m], 0.0)
    return loss


def divided_last(log_posterior, correctness):
    a = correctness.detach()
    total = a.sum(-1)
    weighted = (a * log_posterior.masked_fill(a == 0, 0.0)).sum(-1)
    return -weighted / total.masked_fill(total == 0, 1.0)


def through_the_weights(log_posterior, correctness):
    """the value is right, but gradient flows into `correctness` as well. The accuracies judge the traces; q learns by
    writing other traces, never by moving the judge. They have to be constants."""
    shares = trace_shares(correctness)
    return -(shares * log_posterior.masked_fill(shares == 0, 0.0)).sum(-1)


def nothing_to_learn(log_posterior, correctness):
    """the value is right, but carries no gradient into `log_posterior`: too much was detached. Only the accuracies are
    constants."""
    shares = trace_shares(correctness)
    return -(shares * log_posterior.detach().masked_fill(shares == 0, 0.0)).sum(-1)


def as_printed(log_posterior, correctness):
    """the sign is wrong: an optimiser that minimises this makes the right traces *less* probable. (The paper's Eq. 9
    drops the minus as well.)"""
    return -forward_kl_loss(log_posterior, correctness)


def not_normalised(log_posterior, correctness):
    """the accuracies are used as they are. Eq. 9 has their shares, which sum to one over a question: otherwise easy
    questions pull harder than hard ones."""
    a = correctness.detach()
    return -(a * log_posterior.masked_fill(a == 0, 0.0)).sum(-1)


def mean_of_products(log_posterior, correctness):
    """it is the mean of accuracy times log q over the M traces. Divide by the sum of the accuracies, not by their
    number."""
    a = correctness.detach()
    return -(a * log_posterior.masked_fill(a == 0, 0.0)).mean(-1)


def mean_over_traces(log_posterior, correctness):
    """it is too small by the factor M: the shares already sum to one, so their terms are added and not averaged."""
    return forward_kl_loss(log_posterior, correctness) / log_posterior.shape[-1]


def whole_batch(log_posterior, correctness):
    """the accuracies are divided by their sum over the whole batch. Then an easy question, with many right traces,
    takes the lesson from a hard one; each question has its own sum."""
    a = correctness.detach()
    return -(a * log_posterior.masked_fill(a == 0, 0.0)).sum(-1) / a.sum()


def all_questions(log_posterior, correctness):
    """it is one number for all questions; each has a loss of its own, and averaging them is the caller's step."""
    return forward_kl_loss(log_posterior, correctness).mean()


def all_alike(log_posterior, correctness):
    """every trace counts alike: that teaches q to write whatever the reasoner writes, right or wrong."""
    return -log_posterior.mean(-1)


def right_ones_alike(log_posterior, correctness):
    """every trace with an accuracy above 0 counts alike. Each counts by its share of the accuracy."""
    return forward_kl_loss(log_posterior, (correctness > 0).to(correctness.dtype))


def softmaxed(log_posterior, correctness):
    """the shares are a softmax of the accuracies. These are probabilities, not logarithms: a wrong trace must count
    nothing."""
    return -(correctness.detach().softmax(-1) * log_posterior).sum(-1)


def log_outside(log_posterior, correctness):
    """the logarithm is taken after the mean over traces. Eq. 9 averages the logarithms of q, one per trace."""
    return -(trace_shares(correctness.detach()) * log_posterior.exp()).sum(-1).log()


def without_logarithm(log_posterior, correctness):
    """there is no logarithm: the probabilities of q are averaged. Eq. 9 averages log q, and that is what comes in."""
    return -(trace_shares(correctness.detach()) * log_posterior.exp()).sum(-1)


def zero_times_infinity(log_posterior, correctness):
    """a wrong trace whose log_posterior is -inf gives NaN, because 0 times infinity is not a number. Such a trace has
    no part in the loss."""
    return -(trace_shares(correctness.detach()) * log_posterior).sum(-1)


def nan_for_all_wrong(log_posterior, correctness):
    """a question whose traces are all wrong gives NaN. It has nothing to teach: loss 0, gradient 0."""
    a = correctness.detach()
    shares = a / a.sum(-1, keepdim=True)
    return -(shares * log_posterior.masked_fill(shares == 0, 0.0)).sum(-1)


def nan_gradient(log_posterior, correctness):
    """the value is right, but the gradient of a question whose traces are all wrong is NaN. `torch.where` after the
    product hides the NaN of the shares from the value and not from the gradient: the shares must hold none."""
    a = correctness.detach()
    shares = a / a.sum(-1, keepdim=True)
    return -torch.where(shares > 0, shares * log_posterior, 0.0).sum(-1)


def impossible_left_out(log_posterior, correctness):
    """every trace whose log_posterior is -inf is left out, right ones too. That q cannot write a right trace is the
    worst that forward KL knows: the loss is infinite. Ask the accuracy which traces have no part."""
    shares = trace_shares(correctness.detach())
    return -(shares * log_posterior.masked_fill(log_posterior == -torch.inf, 0.0)).sum(-1)


def clipped(log_posterior, correctness):
    """a right trace whose log_posterior is -inf gives a huge number in place of an infinite loss. `nan_to_num` makes
    infinities finite as well: ask the accuracy which traces have no part."""
    return -(trace_shares(correctness.detach()) * log_posterior).nan_to_num(nan=0.0).sum(-1)


def uniform_for_all_wrong(log_posterior, correctness):
    """a question whose traces are all wrong teaches q to write them. It has nothing to teach: loss 0, gradient 0."""
    a = correctness.detach()
    return forward_kl_loss(log_posterior, torch.where(a.sum(-1, keepdim=True) == 0, 1.0, a))


def whole_kl(log_posterior, correctness):
    """it is a KL from the shares to q, with Σ v log v in it. That part does not depend on q: the gradient is right, but
    the value is not the loss of the spec."""
    shares = trace_shares(correctness.detach())
    return forward_kl_loss(log_posterior, correctness) + torch.xlogy(shares, shares).sum(-1)


TASK = Task(
    name="2.3",
    title="Learn from the reasoner's traces",
    tier="core",
    hints=(
        "It is finetuning on the reasoner's traces, in which each trace counts by its share from task 2.1. The shares "
        "are numbers; no gradient may run back into them. And a trace with share 0 has to be out of the sum before "
        "anything is multiplied: what is 0 times -inf?",
        "loss = - Σ_m sg(v_m) · log q(z_m), where sg(v) is v without gradient; terms with v_m = 0 are left out. With "
        "all shares 0 the sum is 0 by itself.",
        "shares = trace_shares(correctness....)                           # constants\n"
        "log_posterior = log_posterior.masked_fill(shares == 0, ...)      # before the product\n"
        "return ... (shares * log_posterior).sum(...)",
    ),
    cases=cases,
    solution=forward_kl_loss,
    alternatives=(without_grad, looped, divided_last),
    mistakes=(
        through_the_weights,
        nothing_to_learn,
        as_printed,
        not_normalised,
        mean_of_products,
        mean_over_traces,
        whole_batch,
        all_questions,
        all_alike,
        right_ones_alike,
        softmaxed,
        log_outside,
        without_logarithm,
        zero_times_infinity,
        nan_for_all_wrong,
        nan_gradient,
        impossible_left_out,
        clipped,
        uniform_for_all_wrong,
        whole_kl,
    ),
    library="varcore.forward_kl_loss",
)
