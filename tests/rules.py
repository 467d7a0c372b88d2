"""Advantage rules beside the W(p) that is claimed for each: (rule, function of p and G)."""

from functools import partial

from varcore import (
    binary_rl_question_weight,
    dr_grpo_advantages,
    dr_grpo_question_weight,
    grpo_advantages,
    grpo_question_weight,
    maxrl_advantages,
    maxrl_question_weight,
    one_kept_advantages,
    reinforce_advantages,
    rft_one_kept_question_weight,
    rft_question_weight,
    rloo_advantages,
    rloo_question_weight,
)

PAPER_GRPO = {"ddof": 0, "eps": 0.0}
TRL_GRPO = {"ddof": 1, "eps": 1e-4}
RULES = {
    "reinforce": (reinforce_advantages, lambda p, _: binary_rl_question_weight(p)),
    "rft": (reinforce_advantages, lambda p, _: rft_question_weight(p)),
    "rloo": (rloo_advantages, rloo_question_weight),
    "grpo, paper": (partial(grpo_advantages, **PAPER_GRPO), partial(grpo_question_weight, **PAPER_GRPO)),
    "grpo, trl": (partial(grpo_advantages, **TRL_GRPO), partial(grpo_question_weight, **TRL_GRPO)),
    "dr grpo": (dr_grpo_advantages, dr_grpo_question_weight),
    "maxrl": (maxrl_advantages, maxrl_question_weight),
    "one kept": (one_kept_advantages, rft_one_kept_question_weight),
}
