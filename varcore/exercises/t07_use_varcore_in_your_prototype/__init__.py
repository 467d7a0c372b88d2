"""Tutorial 7, use varcore in your prototype: its tasks in the order of the notebook."""

from varcore.exercises.t07_use_varcore_in_your_prototype import (
    bound_loss,
    by_question,
    compute_loss,
    micro_losses,
    my_objective,
    objective_loss,
    segment_log_probs,
    vr_loss,
)

TASKS = (
    segment_log_probs.TASK,
    by_question.TASK,
    bound_loss.TASK,
    vr_loss.TASK,
    micro_losses.TASK,
    compute_loss.TASK,
    my_objective.TASK,
    objective_loss.TASK,
)
