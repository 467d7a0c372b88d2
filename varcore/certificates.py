"""W(p) of any advantage rule, by listing reward groups: certificates for the formulas of ``varcore.equivalence``.

A researcher's own rule goes on the same plot: nothing about it is assumed but that rollouts are independent, right
with probability p, and that the rule sees their rewards only.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from varcore._binomial import held_at_the_ends, log_choices, require_group
from varcore._shapes import Float, ShapeError

MOST_ENUMERATED = 16


def certified_question_weight(
    advantages: Callable[[Tensor], Tensor],
    p: Float[Tensor, "*batch"],
    group_size: int,
    *,
    kept: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "*batch"]:
    """W(p) of *any* advantage rule, by listing all 2^G groups of 0/1 rewards.

        W(p) = sum over groups of P(group | kept) (1/G) sum_g A_g ( r_g - (1 - r_g) p/(1-p) )

    Args:
        advantages: rewards [S, G] (0. and 1., float64) -> advantages [S, G].  It sees all groups at once as rows
            and may treat positions differently.  It must be deterministic, and a row may not depend on other rows.
        p: accuracies.
        group_size: G, at most 16; ``certified_exchangeable_question_weight`` has no limit.
        kept: rewards [S, G] -> [S] of booleans; groups for which it is False are sampled again (DAPO).

    Nothing about the rule is assumed, so the curve certifies it.  Groups never kept at this p: 0.  Differentiable in p
    for 0 < p < 1 (at the ends the gradient is 0); the rule's advantages are constants.
    Raises ValueError for a G out of range, ShapeError if the rule returns another shape.
    """
    if not 1 <= group_size <= MOST_ENUMERATED:
        raise ValueError(
            f"certified_question_weight: lists 2^G groups, for 1 <= G <= {MOST_ENUMERATED}; got G = {group_size}. "
            "A rule that treats positions alike: certified_exchangeable_question_weight."
        )
    bits = torch.arange(2**group_size, device=p.device)[:, None] >> torch.arange(group_size, device=p.device)
    rewards = (bits & 1).double()
    return _certify(advantages, kept, rewards, rewards.new_zeros(len(rewards)), p)


def certified_exchangeable_question_weight(
    advantages: Callable[[Tensor], Tensor],
    p: Float[Tensor, "*batch"],
    group_size: int,
    *,
    kept: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "*batch"]:
    """``certified_question_weight`` for rules that treat positions alike: G+1 groups stand for all 2^G, for any G.

    The rule is tried on every group in reverse order too, and refused (ValueError) if its advantages do not follow
    their rewards.  That finds rules that look at positions, if not every such rule.
    """
    require_group("certified_exchangeable_question_weight", group_size)
    counts = torch.arange(group_size + 1, device=p.device)
    rewards = (torch.arange(group_size, device=p.device) < counts[:, None]).double()
    forward, backward = advantages(rewards), advantages(rewards.flip(-1)).flip(-1)
    if not torch.allclose(forward, backward, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise ValueError(
            "certified_exchangeable_question_weight: the rule's advantages change with the order of the rewards. "
            f"List every group instead: certified_question_weight (G <= {MOST_ENUMERATED})."
        )
    return _certify(advantages, kept, rewards, log_choices(counts.double(), group_size), p)


def _certify(
    advantages: Callable[[Tensor], Tensor],
    kept: Callable[[Tensor], Tensor] | None,
    rewards: Float[Tensor, "S G"],
    log_copies: Float[Tensor, " S"],
    p: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    given = advantages(rewards)
    if given.shape != rewards.shape:
        raise ShapeError(
            f"certified_question_weight: the rule must return advantages of the rewards' shape {tuple(rewards.shape)}, "
            f"got {tuple(given.shape)}. It gets one group a row."
        )
    given = given.detach()
    size = rewards.shape[-1]
    is_kept = torch.ones_like(rewards[:, 0], dtype=torch.bool) if kept is None else kept(rewards)
    right, wrong = (given * rewards).sum(-1), (given * (1.0 - rewards)).sum(-1)
    p64, counts = held_at_the_ends(p).double()[..., None], rewards.sum(-1)
    # The factor p/(1-p) of a wrong rollout moves one failure of the group to a success: no division at p = 1.
    chances = _chances(log_copies, counts, size - counts, p64)
    shifted = _chances(log_copies, counts + 1, (size - counts - 1).clamp(min=0.0), p64)
    pulls = (chances * right - shifted * wrong).masked_fill(~is_kept, 0.0).sum(-1) / size
    share = chances.masked_fill(~is_kept, 0.0).sum(-1)
    never = share == 0
    return (pulls / share.masked_fill(never, 1.0)).masked_fill(never, 0.0).to(p.dtype)


def _chances(log_copies: Tensor, successes: Tensor, failures: Tensor, p: Tensor) -> Tensor:
    return (log_copies + torch.xlogy(successes, p) + torch.special.xlog1py(failures, -p)).exp()
