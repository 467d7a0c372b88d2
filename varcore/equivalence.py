"""How hard each training method pulls on a question: W(p), where p is the model's accuracy on it.

Every method of ``varcore.policies`` has, per question and on-policy, an expected gradient of one form:

    E grad loss  =  W(p) * grad KL( sg P(z|x,Y) || pi(z|x) )                                   (section 5; Eq. 10 to 12)

Why.  With 0/1 rewards the rollouts of a group matter only through which are right.  Let s1 and s0 be the mean of
grad log pi over right and over wrong rollouts.  Since E grad log pi = 0, s0 = - p/(1-p) s1; and s1 is minus the
gradient of that KL.  So everything is a multiple of s1, and the multiple is

    W(p)  =  E (1/G) sum_g A_g ( r_g - (1 - r_g) p/(1-p) )  =  p ( E[A|r=1] - E[A|r=0] ).

W rising in p: easy questions pull harder.  ``group_size=None`` is the population value, an infinite group.

p is a tensor of any shape, values in [0, 1] (outside, and NaN: NaN).  Finite sums are taken in float64 and are
good to 1e-10 relative for groups up to 1024 and p down to 1e-9; the result has p's dtype.  Differentiable in p for
0 < p < 1; at the ends the gradient is 0 unless W is a multiple of p.
"""

import torch
from torch import Tensor

from varcore._binomial import as_probability, held_at_the_ends, log_binomial, pull_of_counts, require_group
from varcore._shapes import Float, require_samples
from varcore.bounds import constant_weighted_sum, normalized_weights


def maximum_likelihood_question_weight(p: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """W(p) of maximum likelihood, which is gradient ascent on log p(x); without unit.

        W(p) = 1                                                                                         (section 5)

    Every question pulls the same.  p = 0 has no posterior to pull to; the value there is the limit.
    """
    return torch.ones_like(p) + 0.0 * as_probability(p)


def rft_question_weight(p: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """W(p) of rejection sampling finetuning on all accepted rollouts (``rft_loss``); without unit.

        W(p) = p                                                                                           (Eq. 10)

    For any group size: an easy question simply has more rows in the accepted set.
    """
    return as_probability(p)


def rft_one_kept_question_weight(p: Float[Tensor, "*batch"], group_size: int | None = None) -> Float[Tensor, "*batch"]:
    """W(p) of rejection sampling that keeps one success per solved question (``one_kept_advantages``); without unit.

        group of G:  1 - (1-p)^G          population:  1                                                 (section 5)

    Solved questions pull alike; what remains is the chance of being solved.  p = 0: 0 for a group.
    Raises ValueError unless G >= 1.
    """
    return _chance_of_a_success("rft_one_kept_question_weight", p, group_size)


def binary_rl_question_weight(p: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """W(p) of binary-reward RL by REINFORCE (``reinforce_advantages``); without unit.

        W(p) = p                                                                                           (Eq. 11)

    For any group size; the same as rejection sampling on all accepted rollouts.
    """
    return as_probability(p)


def rloo_question_weight(p: Float[Tensor, "*batch"], group_size: int | None = None) -> Float[Tensor, "*batch"]:
    """W(p) of REINFORCE with the leave-one-out baseline (``rloo_advantages``); without unit.

        W(p) = p                                                                                         (section 5)

    For any group size: the baseline does not depend on the rollout it is taken from, so it is unbiased.  It changes
    the variance and not W.  Raises ValueError unless G >= 1.
    """
    require_group("rloo_question_weight", group_size)
    return as_probability(p)


def dr_grpo_question_weight(p: Float[Tensor, "*batch"], group_size: int | None = None) -> Float[Tensor, "*batch"]:
    """W(p) of Dr. GRPO (``dr_grpo_advantages``); without unit.

        group of G:  p (1 - 1/G)          population:  p                                                 (section 5)

    A rollout is part of its own baseline, which takes 1/G of it away.  G = 1: 0.  Raises ValueError unless G >= 1.
    """
    require_group("dr_grpo_question_weight", group_size)
    return as_probability(p) * (1.0 if group_size is None else 1.0 - 1.0 / group_size)


def grpo_question_weight(
    p: Float[Tensor, "*batch"], group_size: int | None = None, *, ddof: int = 0, eps: float = 0.0
) -> Float[Tensor, "*batch"]:
    """W(p) of GRPO, whose advantage is (r - mean) / (std + eps) (``grpo_advantages``); without unit.

        population:  p / (sqrt(p (1-p)) + eps),   which is sqrt(p/(1-p)) for eps = 0                      (Eq. 12)
        group of G:  E (c/G) / (std_c + eps),     c ~ Binomial(G-1, p),  std_c^2 = c (G-c) / (G (G-ddof))

    The second is p (E[A|r=1] - E[A|r=0]) with its two sums merged, so that only positive terms are added.
    The defaults are the paper's; TRL is ddof=1, eps=1e-4 (ddof does not matter in the population).

    p = 0: 0.  p = 1: +inf in the population with eps = 0; finite for every group, though no group moves at p = 1:
    W multiplies a KL gradient that is zero there.  G = 1: 0.  Raises ValueError unless G >= 1, ddof is 0 or 1 and
    eps >= 0.
    """
    _require_scale("grpo_question_weight", group_size, ddof, eps)
    if group_size is None:
        return _population_grpo(p, eps)
    counts, pull = pull_of_counts(group_size, ddof, eps, p)
    return (log_binomial(counts, group_size - 1, p).exp() * pull).sum(-1).to(p.dtype)


def dapo_question_weight(
    p: Float[Tensor, "*batch"], group_size: int | None = None, *, ddof: int = 0, eps: float = 0.0
) -> Float[Tensor, "*batch"]:
    """W(p) of GRPO with DAPO's dynamic sampling (``dapo_kept_groups``), per group kept; without unit.

        group of G:  E[ (c/G) (1 - c/G) / (std_c + eps) | 0 < c < G ] / (1-p),   c ~ Binomial(G, p)
        population:  that of GRPO; an infinite group is never all right or all wrong

    Towards p = 0 it does not vanish: every group kept has one success, so a question once in reach pulls with
    ((G-1)/G^2) / (std_1 + eps).  What is paid is samples: 1 / P(0 < c < G) groups for each one kept.

    p = 0 and p = 1: 0, for no group is ever kept (sampling would not end).  G = 1: 0.  Raises ValueError as
    ``grpo_question_weight``.
    """
    _require_scale("dapo_question_weight", group_size, ddof, eps)
    if group_size is None:
        return _population_grpo(p, eps)
    if group_size == 1:
        return 0.0 * as_probability(p)
    counts, pull = pull_of_counts(group_size, ddof, eps, p)
    mixed = slice(1, None)  # not those with no success
    chances = normalized_weights(log_binomial(counts[mixed], group_size, p))
    misses = 1.0 - counts[mixed] / group_size
    failure = (1.0 - as_probability(p).double()).masked_fill(p == 1, 1.0)
    return ((chances * pull[mixed] * misses).sum(-1) / failure).to(p.dtype)


def maxrl_question_weight(p: Float[Tensor, "*batch"], group_size: int | None = None) -> Float[Tensor, "*batch"]:
    """W(p) of MaxRL, the mean over a group's successes (``maxrl_advantages``); without unit.

        group of G:  1 - (1-p)^G          population:  1                                         (arXiv:2602.02710)

    With more rollouts it comes nearer to maximum likelihood.  p = 0: 0 for a group.  Raises ValueError unless G >= 1.
    """
    return _chance_of_a_success("maxrl_question_weight", p, group_size)


def forward_kl_question_weight(p: Float[Tensor, "*batch"], num_traces: int | None = None) -> Float[Tensor, "*batch"]:
    """W(p) of the forward-KL update with M traces and 0/1 correctness (``forward_kl_loss``); without unit.

        M traces:  1 - (1-p)^M            population:  1                                                    (Eq. 9)

    p = 0: 0 for finite M.  Raises ValueError unless M >= 1.
    """
    return _chance_of_a_success("forward_kl_question_weight", p, num_traces)


def local_forward_kl(
    log_prior: Float[Tensor, "*batch Z"], log_correctness: Float[Tensor, "*batch Z"]
) -> Float[Tensor, "*batch"]:
    """KL from the true posterior, held fixed at the current policy, to the policy; in nats.

        KL( sg P(z|x,Y) || pi(z|x) ),   P(z|x,Y) = pi(z|x) pi(Y|x,z) / p(x)                           (section 5)

    W(p) times its gradient is the expected gradient of a method.  ("Local": the target moves with the policy, so
    it is the objective of one step.)

    Args:
        log_prior: log pi(z|x) of ALL traces of a question, listed (``varcore.exact``), not sampled.
        log_correctness: log pi(Y|x,z).

    Gradient flows to ``log_prior`` outside the target.  p = 0 has no posterior: value 0, gradient 0.
    Raises ShapeError if Z = 0 or the shapes differ.
    """
    require_samples("local_forward_kl", log_prior=log_prior, log_correctness=log_correctness)
    log_joint = (log_prior + log_correctness).detach()
    target = normalized_weights(log_joint)
    return constant_weighted_sum(target, target.log()) - constant_weighted_sum(target, log_prior)


def shaped_reward_optimum(
    joint_correct: Float[Tensor, "*batch Z"],
    joint_well_formed: Float[Tensor, "*batch Z"],
    *,
    alpha: float,
    beta: float,
    gamma: float,
) -> Float[Tensor, "*batch Z"]:
    """The distribution over traces that a step of ``shaped_reward`` pulls towards.

        ( (alpha-beta) P(z,Y|x) + (beta-gamma) P(z,Y_f|x) ) / normaliser                                 (Eq. 22)

    It is where the step's weighted sum of two local forward KLs is smallest.  The weights are p and p_f, so what is
    easy dominates: usually the format.

    Args:
        joint_correct: P(z,Y|x) = pi(z|x) pi(Y|x,z) of all traces, a probability.
        joint_well_formed: P(z,Y_f|x), Y_f being the well-formed answers, correct ones included.

    Differentiable.  No mass at all: zeros.  Raises ValueError unless alpha >= beta >= gamma and alpha > gamma,
    ShapeError if Z = 0 or the shapes differ.
    """
    _require_order("shaped_reward_optimum", alpha, beta, gamma)
    require_samples("shaped_reward_optimum", joint_correct=joint_correct, joint_well_formed=joint_well_formed)
    return _normalised((alpha - beta) * joint_correct + (beta - gamma) * joint_well_formed)


def debiased_reward_optimum(
    joint_correct: Float[Tensor, "*batch Z"],
    joint_well_formed: Float[Tensor, "*batch Z"],
    *,
    alpha: float,
    beta: float,
    gamma: float,
) -> Float[Tensor, "*batch Z"]:
    """The distribution over traces that a step of ``debiased_reward`` pulls towards.

        ( (alpha-beta) P(z|x,Y) + (beta-gamma) P(z|x,Y_f) ) / (alpha-gamma)                               (Eq. 25)

    The mixture no longer depends on how hard the question is.  Arguments and errors as ``shaped_reward_optimum``;
    a part without mass (p = 0) is left out and the rest normalised.
    """
    _require_order("debiased_reward_optimum", alpha, beta, gamma)
    require_samples("debiased_reward_optimum", joint_correct=joint_correct, joint_well_formed=joint_well_formed)
    right, formed = _normalised(joint_correct), _normalised(joint_well_formed)
    return _normalised((alpha - beta) * right + (beta - gamma) * formed)


def _population_grpo(p: Tensor, eps: float) -> Tensor:
    safe = held_at_the_ends(p)
    if eps == 0:
        return (safe / (1.0 - safe)).sqrt()
    return safe / ((safe * (1.0 - safe)).sqrt() + eps)


def _chance_of_a_success(function: str, p: Tensor, size: int | None) -> Tensor:
    require_group(function, size)
    if size is None:
        return maximum_likelihood_question_weight(p)
    return -torch.expm1(size * torch.log1p(-held_at_the_ends(p)))


def _normalised(masses: Tensor) -> Tensor:
    total = masses.sum(-1, keepdim=True)
    return masses / total.masked_fill(total == 0, 1.0)


def _require_scale(function: str, size: int | None, ddof: int, eps: float) -> None:
    require_group(function, size)
    if ddof not in (0, 1) or not eps >= 0:
        raise ValueError(
            f"{function}: needs ddof 0 (divide by G) or 1 (by G-1) and eps >= 0, got ddof={ddof}, eps={eps}. "
            "The paper: ddof=0, eps=0. TRL: ddof=1, eps=1e-4."
        )


def _require_order(function: str, alpha: float, beta: float, gamma: float) -> None:
    if not (alpha >= beta >= gamma and alpha > gamma):
        raise ValueError(
            f"{function}: needs alpha >= beta >= gamma and alpha > gamma (correct, well-formed, otherwise), "
            f"got {alpha}, {beta}, {gamma}. Otherwise the optimum is no distribution."
        )
