"""Tutorial 1, importance weights and bounds: its tasks in the order of the notebook."""

from varcore.exercises.t01_importance_weights_and_bounds import (
    elbo,
    exact_bound,
    iwae_bound,
    iwae_reasoner_loss,
    log_importance_weights,
    log_sum_exp,
    my_q,
    normalized_weights,
    sampled_bound,
)

TASKS = (
    log_sum_exp.TASK,
    log_importance_weights.TASK,
    elbo.TASK,
    iwae_bound.TASK,
    normalized_weights.TASK,
    iwae_reasoner_loss.TASK,
    sampled_bound.TASK,
    my_q.TASK,
    exact_bound.TASK,
)
