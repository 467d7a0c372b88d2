"""Tutorial 3, weighing traces: its tasks in the order of the notebook."""

from varcore.exercises.t03_weighing_traces import (
    batch_average,
    effective_sample_size,
    log_accuracy_correctness,
    log_geometric_mean_correctness,
    log_likelihood_correctness,
    log_weights_of_tokens,
    my_rule,
    tempered_log_weights,
    truncated_log_weights,
)

TASKS = (
    log_likelihood_correctness.TASK,
    log_geometric_mean_correctness.TASK,
    log_accuracy_correctness.TASK,
    tempered_log_weights.TASK,
    batch_average.TASK,
    effective_sample_size.TASK,
    log_weights_of_tokens.TASK,
    my_rule.TASK,
    truncated_log_weights.TASK,
)
