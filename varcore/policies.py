"""The losses that varcore explains: rejection sampling, REINFORCE, RLOO, GRPO, Dr. GRPO, DAPO, MaxRL, shaped rewards.

One question has a group of G rollouts from the current policy (on-policy: no importance ratio, no clipping).
An advantage rule turns their rewards into constants, and ``policy_gradient_loss`` turns those into a gradient.
``log_probs`` is log pi(z|x) for traces only, or log pi(z|x) + log pi(y|x,z) for traces with their sampled
answers: the rules are the same, and so is what they do to a question (``varcore.equivalence``).

Rewards are numbers; 0/1 verdicts may be boolean or integer (torch's default dtype comes back).  The group is
the last axis; axes before it are questions.  A NaN reward touches no group but its own.  Floating dtypes are kept:
float32 is good to about six digits, bfloat16 to two.  Infinite losses are those of ``varcore.bounds``.
"""

import torch
from torch import Tensor

from varcore._shapes import Bool, Float, Real, require_equal_shapes, require_samples
from varcore.bounds import constant_weighted_sum

Rewards = Bool[Tensor, "*batch G"] | Real[Tensor, "*batch G"]


def policy_gradient_loss(
    log_probs: Float[Tensor, "*batch G"], advantages: Float[Tensor, "*batch G"]
) -> Float[Tensor, "*batch"]:
    """Score-function surrogate, one value per question; minimise.

        loss = - (1/G) sum_g sg(A_g) log pi_g                              (Eq. 11, and Eq. 12 without clipping)

    Sequence-level: log_probs are SUMS over tokens.  GRPO's own division by each length, or Dr. GRPO's by a
    constant length, is the caller's visible step.

    Gradient flows to ``log_probs`` only; the value is a surrogate.  A rollout of advantage 0 contributes
    nothing, even where its log_prob is -inf.  Raises ShapeError if G = 0 or the shapes differ.
    """
    require_samples("policy_gradient_loss", log_probs=log_probs, advantages=advantages)
    return -constant_weighted_sum(advantages / advantages.shape[-1], log_probs)


def rft_loss(log_probs: Float[Tensor, "*batch G"], correct: Rewards) -> Float[Tensor, "*batch"]:
    """Rejection sampling finetuning, one value per question; minimise: likelihood of the accepted rollouts.

        loss = - (1/G) sum_g 1[correct_g] log pi_g                                                      (Eq. 10)

    The sum is over accepted rollouts and the division by *all* G, as in a dataset made of every accepted
    rollout: easy questions have more rows.  On-policy its gradient is that of REINFORCE with a 0/1 reward;
    its expectation is - p times that of a forward KL (``rft_question_weight``).

    Gradient flows to ``log_probs`` only.  Nothing accepted: loss 0, gradient 0.  Raises ShapeError if G = 0 or
    the shapes differ.
    """
    require_samples("rft_loss", log_probs=log_probs, correct=correct)
    return policy_gradient_loss(log_probs, reinforce_advantages(correct).to(log_probs.dtype))


def expected_accuracy_loss(
    log_prior: Float[Tensor, "*batch K"], correctness: Float[Tensor, "*batch K"]
) -> Float[Tensor, "*batch"]:
    """Binary-reward RL with the answers summed out, one value per question; minimise.

        loss = - (1/K) sum_k ( sg(a_k) log pi(z_k|x) + a_k ),   a_k = pi(Y|x,z_k),   z ~ pi(z|x)     (Eq. 11, A.7)
        E grad loss = - grad p(x)

    The first term moves the traces, the second the answers: E_z grad pi(Y|x,z).  Less variance than sampling
    an answer, where pi(Y|x,z) can be computed.

    Args:
        log_prior: log pi(z|x) of traces that came from pi, in nats.
        correctness: pi(Y|x,z), a probability and not its logarithm.  Detach it to train the traces alone.

    Gradient flows to both.  Raises ShapeError if K = 0 or the shapes differ.
    """
    require_samples("expected_accuracy_loss", log_prior=log_prior, correctness=correctness)
    return policy_gradient_loss(log_prior, correctness) - correctness.mean(-1)


def reinforce_advantages(rewards: Rewards) -> Float[Tensor, "*batch G"]:
    """REINFORCE without a baseline: the reward itself.

        A_g = r_g                                                                                          (Eq. 11)

    Constant.  Raises ShapeError if G = 0.
    """
    return _constants("reinforce_advantages", rewards)


def rloo_advantages(rewards: Rewards) -> Float[Tensor, "*batch G"]:
    """REINFORCE leave-one-out: each reward minus the mean of the other rewards of its group.

        A_g = r_g - (1/(G-1)) sum_{j != g} r_j  =  G/(G-1) (r_g - mean r)                       (arXiv:2402.14740)

    Unbiased for REINFORCE's gradient.  Constant.  G = 1 has no others and no baseline: A = r.
    Raises ShapeError if G = 0.
    """
    r = _constants("rloo_advantages", rewards)
    size = r.shape[-1]
    return r if size == 1 else (r - r.mean(-1, keepdim=True)) * (size / (size - 1))


def grpo_advantages(rewards: Rewards, *, ddof: int = 1, eps: float = 1e-4) -> Float[Tensor, "*batch G"]:
    """GRPO: rewards standardised within their group.

        A = (r - mean r) / (std r + eps),   std^2 = sum (r - mean r)^2 / (G - ddof)          (Eq. 12, arXiv:2402.03300)

    The defaults, ddof = 1 and eps = 1e-4, are those of TRL; the paper's formula is ddof = 0 and eps = 0.  ddof scales
    every advantage by sqrt(1 - 1/G), whatever the rewards; eps counts only where it is not small beside the standard
    deviation, which for 0/1 rewards that differ is at least about 1/sqrt(G).

    Constant.  All rewards of a group equal, which G = 1 always is, or so near that their variance underflows: 0, also
    for eps = 0.  Raises ShapeError if G = 0, ValueError unless ddof is 0 or 1 and eps >= 0.
    """
    if ddof not in (0, 1) or not eps >= 0:
        raise ValueError(
            f"grpo_advantages: needs ddof 0 (divide by G) or 1 (by G-1) and eps >= 0, got ddof={ddof}, eps={eps}. "
            "TRL uses ddof=1, eps=1e-4; the paper's formula is ddof=0, eps=0."
        )
    r = _constants("grpo_advantages", rewards)
    centred = r - r.mean(-1, keepdim=True)
    variance = centred.square().sum(-1, keepdim=True) / max(r.shape[-1] - ddof, 1)
    # A constant group has no scale; and rounding in its mean must not be blown up by a tiny eps.
    constant = (r.amax(-1, keepdim=True) == r.amin(-1, keepdim=True)) | (variance == 0)
    return (centred / (variance.sqrt() + eps)).masked_fill(constant, 0.0)


def dr_grpo_advantages(rewards: Rewards) -> Float[Tensor, "*batch G"]:
    """Dr. GRPO: each reward minus the mean of its whole group, itself included, unscaled.

        A = r - mean r                                                                          (arXiv:2503.20783)

    (G-1)/G of ``rloo_advantages``: biased towards zero by that factor.  Constant.  G = 1: 0.
    Raises ShapeError if G = 0.
    """
    r = _constants("dr_grpo_advantages", rewards)
    return r - r.mean(-1, keepdim=True)


def dapo_kept_groups(rewards: Rewards) -> Bool[Tensor, "*batch"]:
    """DAPO's dynamic sampling: which groups are kept; the others are sampled again.

        kept  =  not all rewards of the group are equal                                         (arXiv:2503.14476)

    For 0/1 rewards: 0 < successes < G.  Kept groups then get ``grpo_advantages``.  G = 1: never kept.
    Raises ShapeError if G = 0.
    """
    require_samples("dapo_kept_groups", rewards=rewards)
    return (rewards != rewards[..., :1]).any(-1)


def maxrl_advantages(rewards: Rewards) -> Float[Tensor, "*batch G"]:
    """MaxRL: the mean over the successes in place of the mean over the group.

        A_g = r_g / mean r,   so that   (1/G) sum_g A_g log pi_g = sum_g r_g log pi_g / sum_g r_g     (arXiv:2602.02710)

    Equal to ``forward_kl_loss`` of the policy itself.  Rewards must be at least 0.  Constant.  No success:
    all 0.  Raises ShapeError if G = 0.
    """
    r = _constants("maxrl_advantages", rewards)
    mean = r.mean(-1, keepdim=True)
    return r / mean.masked_fill(mean == 0, 1.0)


def one_kept_advantages(rewards: Rewards) -> Float[Tensor, "*batch G"]:
    """Rejection sampling that keeps one success per solved question, the first one drawn.

        A_g = G 1[g is the first success],   so that   (1/G) sum_g A_g log pi_g = log pi of that rollout

    Rollouts are independent, so the first success is distributed as one chosen at random.  A reward above 0 is a
    success.  Constant.  No success: all 0.  Raises ShapeError if G = 0.
    """
    success = _constants("one_kept_advantages", rewards) > 0
    first = success & (success.cumsum(-1) == 1)
    return first.to(_floating(rewards)) * rewards.shape[-1]


def shaped_reward(
    correct: Bool[Tensor, "*batch"], well_formed: Bool[Tensor, "*batch"], *, alpha: float, beta: float, gamma: float
) -> Float[Tensor, "*batch"]:
    """General shaped reward of a rollout: alpha if correct, beta if only well-formed, gamma otherwise.

        R = gamma + (alpha - beta) 1[correct] + (beta - gamma) 1[well-formed]                                  (A.5)

    A correct rollout counts as well-formed whatever ``well_formed`` says.  Default dtype.  What it does to a question:
    ``shaped_reward_optimum``.  Raises ShapeError if the shapes differ.
    """
    require_equal_shapes("shaped_reward", correct=correct, well_formed=well_formed)
    one = torch.ones((), device=correct.device)
    return debiased_reward(correct, well_formed, one, one, alpha=alpha, beta=beta, gamma=gamma)


def debiased_reward(
    correct: Bool[Tensor, "*batch"],
    well_formed: Bool[Tensor, "*batch"],
    accuracy: Float[Tensor, "..."],
    well_formed_rate: Float[Tensor, "..."],
    *,
    alpha: float,
    beta: float,
    gamma: float,
) -> Float[Tensor, "*batch"]:
    """Shaped reward with each part divided by how often it is earned, so that no question pulls harder for being easy.

        R = gamma + (alpha - beta) 1[correct] / p + (beta - gamma) 1[well-formed] / p_f                   (Eq. 24)

    Args:
        correct, well_formed: verdicts of the rollouts; a correct one counts as well-formed.
        accuracy, well_formed_rate: p and p_f of the rollout's question under the sampling policy, known or
            estimated, broadcastable to the verdicts (``p[..., None]`` for a group axis).

    Estimating p from the same group couples the rollouts; with the group's own mean and beta = gamma = 0 this is MaxRL.
    A part that was not earned, or is worth nothing, is 0 whatever its rate.  A rate of 0 for a part that was earned:
    infinite, with the sign of that part; if both are, of the first.
    Constant.  Raises ShapeError if the verdicts' shapes differ.
    """
    require_equal_shapes("debiased_reward", correct=correct, well_formed=well_formed)
    right_part = _earned(alpha - beta, correct, accuracy)
    formed_part = _earned(beta - gamma, correct | well_formed, well_formed_rate)
    return gamma + right_part + formed_part.masked_fill(right_part.isinf(), 0.0)


def _earned(worth: float, earned: Tensor, rate: Tensor) -> Tensor:
    return (worth / rate.detach()).where(earned & (worth != 0), 0.0)


def _constants(function: str, rewards: Tensor) -> Tensor:
    require_samples(function, rewards=rewards)
    return rewards.detach().to(_floating(rewards))


def _floating(rewards: Tensor) -> torch.dtype:
    return rewards.dtype if rewards.is_floating_point() else torch.get_default_dtype()
