"""Task 7.7: the objective is swapped, and the hard questions are learned."""

import math

import torch
from torch import Tensor

import varcore
from varcore.exercises.drawing import log_probs
from varcore.exercises.t07_use_varcore_in_your_prototype.world import GROUP, accuracy, train
from varcore.exercises.task import Task

TARGET = 0.63


def examine(my_objective, generator):
    groups = _groups(generator)
    found = my_objective(*(column.clone() for column in groups))
    because = _malformed(found, groups[0].shape)
    if because:
        return because
    alone = my_objective(*(column[:, 2:4].clone() for column in groups))
    if not _alike(alone, found[:, 2:4]):
        return (
            "the coefficients of a question change with the other questions that came with it. Each row is a group of "
            "its own: whatever you sum or compare, do it over the last axis."
        )
    _, theta = train(my_objective, generator)
    if not bool(theta.isfinite().all()):
        return "after some steps the policy is no longer finite. Is a coefficient NaN or infinite in some group?"
    hard = accuracy(theta).mean(0)[1].item()
    if hard < TARGET:
        return _missed(my_objective, groups, found, hard)
    if bool((found[groups[2] == 0] > 0).any()):
        return (
            "the target is reached, and yet wrong traces get positive coefficients: the policy learns them too. Is the "
            "reward itself used where its logarithm belongs?"
        )
    return ""


def _groups(generator):
    """Nine questions, of which 0, 1, ... 8 of eight traces are right, in two worlds: [2, 9, 8] each."""
    rewards = (torch.arange(GROUP) < torch.arange(GROUP + 1)[:, None]).double().expand(2, -1, -1).clone()
    log_pi, log_q = (2 * log_probs(generator, *rewards.shape) for _ in range(2))
    return log_pi, log_q, rewards, torch.randint(3, 25, rewards.shape, generator=generator)


def _malformed(found, shape) -> str:
    if found is None:
        return "it returns None: is the `return` missing?"
    if not isinstance(found, Tensor) or found.shape != shape or not found.is_floating_point():
        return "it should return coefficients: a tensor in the shape of `rewards`, one for each trace of each group."
    if not bool(found[:, 0].isfinite().all()):
        return "a group without a right trace gets coefficients that are not finite. It has nothing to teach: zeros."
    if not bool(found.isfinite().all()):
        return "some group gets coefficients that are not finite. Work with logarithms, and normalise them."
    return ""


def _alike(a, b) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def _missed(my_objective, groups, found, hard) -> str:
    log_pi, log_q, rewards, num_tokens = groups
    if not bool(found.any()):
        return "its coefficients are all 0, whatever the rewards: nothing moves."
    if hard < 0.05:
        return (
            "the hard questions end below what mere guessing gives: is the sign turned? The loop minimises -Σ c log π, "
            "so a good trace has a positive coefficient."
        )
    if _alike(my_objective(log_pi, log_q, rewards.flip(-1), num_tokens), found):
        return "it does not look at `rewards`: sloppy traces, which are mostly wrong, count like careful ones."
    if _alike(my_objective(log_pi, log_q.flip(-1), rewards, num_tokens), found):
        return (
            "it does not look at `log_q`. The helper knows the answer, and so its guesses are always right: rewards "
            "cannot tell them from careful traces. What is known of a trace that can?"
        )
    if hard < 0.25:
        return (
            "the policy learns to guess more than to work. Which traces gain by your coefficients: those that the "
            "policy likes more than the helper does, or less? Is the ratio upside down?"
        )
    if found.abs().sum(-1).max() < 0.5:
        return (
            "it points the right way, and its steps are too short: the coefficients of a group add up to far less than "
            "one, and the loop does not make up for that."
        )
    return (
        f"the hard questions learned, and end below the target of {TARGET}: guesses still hold too much of the weight. "
        "By how many nats does the policy like them less than the helper, and what does your objective leave of it?"
    )


def my_objective(log_pi, log_q, rewards, num_tokens):
    log_weights = varcore.tempered_log_weights(log_pi, log_q, rewards.log(), num_tokens, exponent=1)
    return varcore.normalized_weights(log_weights)


def gate(log_pi, log_q, rewards, num_tokens):
    # what the policy would hardly write is out; what is left counts by its reward
    return varcore.normalized_weights(torch.where(log_pi - log_q < -2, -math.inf, rewards.log()))


def by_hand(log_pi, log_q, rewards, num_tokens):
    rho = rewards * (log_pi - log_q).exp()
    total = rho.sum(-1, keepdim=True)
    return rho / torch.where(total > 0, total, 1.0)


def as_it_was(log_pi, log_q, rewards, num_tokens):
    """it does not look at `log_q`. The helper knows the answer, and so its guesses are always right: rewards cannot
    tell them from careful traces. What is known of a trace that can?"""
    return varcore.grpo_advantages(rewards) / rewards.shape[-1]


def geometric_mean(log_pi, log_q, rewards, num_tokens):
    """the hard questions learned, and end below the target of 0.63: guesses still hold too much of the weight. By how
    many nats does the policy like them less than the helper, and what does your objective leave of it?"""
    return varcore.normalized_weights(varcore.tempered_log_weights(log_pi, log_q, rewards.log(), num_tokens))


def upside_down(log_pi, log_q, rewards, num_tokens):
    """the policy learns to guess more than to work. Which traces gain by your coefficients: those that the policy likes
    more than the helper does, or less? Is the ratio upside down?"""
    return my_objective(log_q, log_pi, rewards, num_tokens)


def sign_turned(log_pi, log_q, rewards, num_tokens):
    """the hard questions end below what mere guessing gives: is the sign turned? The loop minimises -Σ c log π, so a
    good trace has a positive coefficient."""
    return -my_objective(log_pi, log_q, rewards, num_tokens)


def ratio_alone(log_pi, log_q, rewards, num_tokens):
    """it does not look at `rewards`: sloppy traces, which are mostly wrong, count like careful ones."""
    return varcore.normalized_weights(log_pi - log_q)


def divided_again(log_pi, log_q, rewards, num_tokens):
    """it points the right way, and its steps are too short: the coefficients of a group add up to far less than one,
    and the loop does not make up for that."""
    return my_objective(log_pi, log_q, rewards, num_tokens) / rewards.shape[-1]


def across_the_batch(log_pi, log_q, rewards, num_tokens):
    """the coefficients of a question change with the other questions that came with it. Each row is a group of its own:
    whatever you sum or compare, do it over the last axis."""
    logs = (log_pi - log_q + rewards.log()).flatten(1)
    return logs.softmax(-1).view_as(rewards) * rewards.shape[-2]


def reward_for_its_logarithm(log_pi, log_q, rewards, num_tokens):
    """the target is reached, and yet wrong traces get positive coefficients: the policy learns them too. Is the reward
    itself used where its logarithm belongs?"""
    return varcore.normalized_weights(varcore.tempered_log_weights(log_pi, log_q, rewards, num_tokens, exponent=1))


def nothing_moves(log_pi, log_q, rewards, num_tokens):
    """its coefficients are all 0, whatever the rewards: nothing moves."""
    return torch.zeros_like(rewards)


def hopeless_is_nan(log_pi, log_q, rewards, num_tokens):
    """a group without a right trace gets coefficients that are not finite. It has nothing to teach: zeros."""
    return (log_pi - log_q + rewards.log()).softmax(-1)


def one_per_question(log_pi, log_q, rewards, num_tokens):
    """it should return coefficients: a tensor in the shape of `rewards`, one for each trace of each group."""
    return (my_objective(log_pi, log_q, rewards, num_tokens) * log_pi).sum(-1)


TASK = Task(
    name="7.7",
    title="Ten lines later",
    tier="core",
    kind="experiment",
    hints=(
        "The helper's guesses are right because it knows the answer. Look at the table again: which number tells such "
        "a guess from a careful trace? Build it into the coefficient, and leave wrong traces out.",
        "c = ρ / Σ ρ over the last axis with ρ = reward · π(z|x)/q(z|x,y'), the exponent 1. A group without a right "
        "trace gets zeros. Two functions of varcore do all of it.",
        "log_weights = varcore.tempered_log_weights(log_pi, log_q, ..., num_tokens, exponent=...)\n"
        "return varcore.normalized_weights(...)",
    ),
    examine=examine,
    solution=my_objective,
    alternatives=(gate, by_hand),
    mistakes=(
        as_it_was,
        geometric_mean,
        upside_down,
        sign_turned,
        ratio_alone,
        divided_again,
        across_the_batch,
        reward_for_its_logarithm,
        nothing_moves,
        hopeless_is_nan,
        one_per_question,
    ),
    seconds=60.0,
)
