"""Task 2.5: the reverse-KL loss, which learns from the helper's own traces."""

import torch

from varcore.exercises.drawing import log_probs, normal, without
from varcore.exercises.t02_training_a_posterior.leave_one_out import leave_one_out
from varcore.exercises.task import Case, Task


def cases(generator):
    def draw(*shape, shift=0.0, dtype=torch.float64):
        return log_probs(generator, *shape, dtype=dtype), normal(generator, *shape, dtype=dtype) + shift

    log_q, log_weights = draw(3, 4)
    return [
        Case("three questions of four traces", draw(3, 4), slopes=(0, 1)),
        Case("one question of five traces", draw(5), slopes=(0, 1)),
        Case("tensors of shape (2, 3, 4)", draw(2, 3, 4)),
        Case("log weights near -2000", draw(3, 4, shift=-2000.0), slopes=(0,)),
        Case("a single trace (K = 1)", draw(3, 1), slopes=(0,)),
        Case("a question with a trace of weight zero", (log_q, without(log_weights, (1, 2))), slopes=(0,)),
        Case("a question whose traces all have weight zero", (log_q, without(log_weights, (1,))), slopes=(0,)),
        Case("float32", draw(3, 4, dtype=torch.float32)),
    ]


def reverse_kl_loss(log_posterior, log_weights):
    rewards = log_weights.detach()  # constants
    hopeless = (rewards == -torch.inf).any(-1, keepdim=True)  # the ELBO is -inf: no finite step stands for it
    rewards = rewards.masked_fill(hopeless, 0.0)
    return -((rewards - leave_one_out(rewards)) * log_posterior).mean(-1)


def masked_at_the_end(log_posterior, log_weights):
    with torch.no_grad():
        finite = log_weights.isfinite().all(dim=-1)
        rewards = torch.where(finite[..., None], log_weights, torch.zeros_like(log_weights))
        K = rewards.shape[-1]
        baselines = (rewards.sum(dim=-1, keepdim=True) - rewards) / (K - 1) if K > 1 else 0.0
        advantages = (rewards - baselines) / K
    return torch.where(finite, -(advantages * log_posterior).sum(dim=-1), 0.0)


def looped(log_posterior, log_weights):
    K = log_weights.shape[-1]
    loss = torch.zeros_like(log_posterior[..., 0])
    usable = log_weights.detach().amin(-1) > -torch.inf
    for k in range(K):
        rest = [log_weights[..., j].detach() for j in range(K) if j != k]
        baseline = sum(rest) / len(rest) if rest else 0.0
        advantage = torch.where(usable, log_weights[..., k].detach() - baseline, 0.0)
        loss = loss - advantage * log_posterior[..., k] / K
    return loss


def scaled_deviation(log_posterior, log_weights):
    K = log_weights.shape[-1]
    rewards = log_weights.detach()
    rewards = rewards.masked_fill(rewards.isinf().any(-1, keepdim=True), 0.0)
    if K > 1:
        rewards = (rewards - rewards.mean(-1, keepdim=True)) * K / (K - 1)
    return -(rewards * log_posterior).mean(-1)


def through_the_weights(log_posterior, log_weights):
    """the value is right, but gradient flows into `log_weights` as well. log q stands in there too, so the step would
    get a second part that Eq. 34 does not contain. Rewards are constants."""
    hopeless = (log_weights == -torch.inf).any(-1, keepdim=True)
    rewards = log_weights.masked_fill(hopeless, 0.0)
    return -((rewards - leave_one_out(rewards)) * log_posterior).mean(-1)


def through_the_rewards(log_posterior, log_weights):
    """the value is right, but only the baseline was detached: gradient still flows through the rewards. Both are
    constants."""
    rewards = log_weights.masked_fill((log_weights == -torch.inf).any(-1, keepdim=True), 0.0)
    return -((rewards - leave_one_out(rewards.detach())) * log_posterior).mean(-1)


def nothing_to_learn(log_posterior, log_weights):
    """the value is right, but carries no gradient into `log_posterior`: too much was detached. Only the rewards and
    their baselines are constants."""
    return through_the_weights(log_posterior.detach(), log_weights)


def as_a_reward(log_posterior, log_weights):
    """the sign is wrong: an optimiser that minimises this makes traces of *low* reward more probable. A loss has a
    minus."""
    return -reverse_kl_loss(log_posterior, log_weights)


def without_baseline(log_posterior, log_weights):
    """there is no baseline. On average the step is the same, but the common level of the rewards, about log p(x), is
    then noise in every step."""
    rewards = log_weights.detach()
    rewards = rewards.masked_fill((rewards == -torch.inf).any(-1, keepdim=True), 0.0)
    return -(rewards * log_posterior).mean(-1)


def own_baseline(log_posterior, log_weights):
    """the baseline is the mean of all K rewards, the trace's own included. That shrinks the expected step by the factor
    (K - 1)/K; only the others may count."""
    rewards = log_weights.detach()
    rewards = rewards.masked_fill((rewards == -torch.inf).any(-1, keepdim=True), 0.0)
    return -((rewards - rewards.mean(-1, keepdim=True)) * log_posterior).mean(-1)


def divided_by_deviation(log_posterior, log_weights):
    """the rewards are divided by their standard deviation, as GRPO does. Then every question pulls alike, and near the
    goal, where all rewards are equal, the noise is blown up: Eq. 34 has no such division."""
    rewards = log_weights.detach()
    rewards = rewards.masked_fill((rewards == -torch.inf).any(-1, keepdim=True), 0.0)
    deviation = rewards.std(-1, keepdim=True) if rewards.shape[-1] > 1 else 1.0
    return -((rewards - rewards.mean(-1, keepdim=True)) / (deviation + 1e-8) * log_posterior).mean(-1)


def baseline_added(log_posterior, log_weights):
    """the baseline is added to the reward; it has to be taken off."""
    rewards = log_weights.detach()
    rewards = rewards.masked_fill((rewards == -torch.inf).any(-1, keepdim=True), 0.0)
    return -((rewards + leave_one_out(rewards)) * log_posterior).mean(-1)


def summed(log_posterior, log_weights):
    """it is too large by the factor K: the terms of the traces are averaged, not summed. No weights that sum to one
    stand in front of them here."""
    return reverse_kl_loss(log_posterior, log_weights) * log_weights.shape[-1]


def all_questions(log_posterior, log_weights):
    """it is one number for all questions; each has a loss of its own, and averaging them is the caller's step."""
    return reverse_kl_loss(log_posterior, log_weights).mean()


def weights_as_rewards(log_posterior, log_weights):
    """the rewards are the weights ρ themselves. The reverse KL is an average of logarithms: the reward is log ρ."""
    rewards = log_weights.detach().exp()
    return -((rewards - leave_one_out(rewards)) * log_posterior).mean(-1)


def floored(log_posterior, log_weights):
    """a floor was put under the rewards. Where all of them lie below it, they become equal and nothing is learned; and
    a trace of weight zero pulls with whatever floor was chosen."""
    rewards = log_weights.detach().clamp(min=-100.0)
    return -((rewards - leave_one_out(rewards)) * log_posterior).mean(-1)


def divided_by_others(log_posterior, log_weights):
    """it divides the sum over the traces by K - 1. The baseline is a mean of K - 1, the loss is a mean of K."""
    K = log_weights.shape[-1]
    return reverse_kl_loss(log_posterior, log_weights) * K / max(K - 1, 1)


def nothing_for_one(log_posterior, log_weights):
    """a single trace (K = 1) gives loss 0. It has no baseline, b = 0, but it has a reward."""
    loss = reverse_kl_loss(log_posterior, log_weights)
    return loss if log_weights.shape[-1] > 1 else loss * 0


def shares_as_rewards(log_posterior, log_weights):
    """each trace counts by its share of the weights. That is finetuning, which pulls towards every trace; the reverse
    KL pushes traces down that earn less than the others."""
    return -(log_weights.detach().softmax(-1) * log_posterior).sum(-1)


def minus_the_elbo(log_posterior, log_weights):
    """it is minus the ELBO. Its gradient says nothing about *which* traces q should write: that needs log q, the score
    function, next to the reward."""
    return -log_weights.mean(-1)


def nan_for_zero(log_posterior, log_weights):
    """a question with a trace of weight zero gives an infinite loss or NaN. Its ELBO is -inf and no finite step stands
    for that: loss 0, gradient 0."""
    rewards = log_weights.detach()
    return -((rewards - leave_one_out(rewards)) * log_posterior).mean(-1)


def nan_gradient(log_posterior, log_weights):
    """the value is right, but the gradient of a question with a trace of weight zero is NaN. `torch.where` after the
    product hides the NaN from the value and not from the gradient: take the -inf out before you subtract."""
    rewards = log_weights.detach()
    loss = -((rewards - leave_one_out(rewards)) * log_posterior).mean(-1)
    return torch.where(rewards.isinf().any(-1), 0.0, loss)


def batch_skipped(log_posterior, log_weights):
    """one question with a trace of weight zero silences all questions. Each question is judged by its own traces: ask
    along the last axis."""
    if log_weights.isinf().any():
        return 0 * log_posterior.sum(-1)
    return reverse_kl_loss(log_posterior, log_weights)


def zeros_left_out(log_posterior, log_weights):
    """in a question with a trace of weight zero the other traces go on as if it were not there. So q is never told that
    it wrote something impossible, and the step is that of another loss: the spec asks for loss 0 there."""
    rewards = log_weights.detach()
    kept = rewards.isfinite()
    rewards = rewards.masked_fill(~kept, 0.0)
    count = kept.sum(-1, keepdim=True)
    others = (rewards.sum(-1, keepdim=True) - rewards) / (count - 1).clamp(min=1)
    return -(torch.where(kept, rewards - others, 0.0) * log_posterior).sum(-1) / count.squeeze(-1).clamp(min=1)


def zero_as_reward(log_posterior, log_weights):
    """a weight of zero counts as the reward 0, which is *better* than log ρ of most traces. Its logarithm is -inf: the
    whole question has loss 0."""
    rewards = log_weights.detach().nan_to_num(neginf=0.0)
    return -((rewards - leave_one_out(rewards)) * log_posterior).mean(-1)


TASK = Task(
    name="2.5",
    title="Learn from the helper's own traces",
    tier="core",
    hints=(
        "The reward of a trace, less what the others earned, says whether its log-probability should rise or fall, and "
        "how much. Both are plain numbers. Before you subtract anything: -inf minus -inf is NaN, so deal with "
        "questions that have a weight of zero first.",
        "loss = - (1/K) Σ_k sg(r_k - b_k) · log q(z_k), r = log ρ, b from task 2.4. If any r_k of a question is "
        "-inf, put 0 for all its rewards: then r - b = 0.",
        "rewards = log_weights....                                         # constants\n"
        "hopeless = (rewards == -torch.inf).any(-1, keepdim=...)\n"
        "rewards = rewards.masked_fill(hopeless, ...)\n"
        "return -((rewards - leave_one_out(rewards)) * ...).mean(...)",
    ),
    cases=cases,
    solution=reverse_kl_loss,
    alternatives=(masked_at_the_end, looped, scaled_deviation),
    mistakes=(
        through_the_weights,
        through_the_rewards,
        nothing_to_learn,
        as_a_reward,
        without_baseline,
        own_baseline,
        divided_by_deviation,
        baseline_added,
        summed,
        all_questions,
        weights_as_rewards,
        floored,
        divided_by_others,
        nothing_for_one,
        shares_as_rewards,
        minus_the_elbo,
        nan_for_zero,
        nan_gradient,
        batch_skipped,
        zeros_left_out,
        zero_as_reward,
    ),
    library="varcore.reverse_kl_loss",
)
