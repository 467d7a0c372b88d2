"""Tutorial 4, from REINFORCE to GRPO: its tasks in the order of the notebook."""

from varcore.exercises.t04_from_reinforce_to_grpo import (
    endless_group_weight,
    fair_advantages,
    grpo_advantages,
    grpo_loss,
    kept_group_weight,
    my_rule,
    question_weight,
    reinforce_gradient,
)

TASKS = (
    reinforce_gradient.TASK,
    endless_group_weight.TASK,
    grpo_advantages.TASK,
    grpo_loss.TASK,
    question_weight.TASK,
    my_rule.TASK,
    fair_advantages.TASK,
    kept_group_weight.TASK,
)
