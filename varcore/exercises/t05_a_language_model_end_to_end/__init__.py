"""Tutorial 5, a language model end to end: its tasks in the order of the notebook."""

from varcore.exercises.t05_a_language_model_end_to_end import (
    dr_sft_loss,
    gated_weights,
    ledger_row,
    prompts,
    response_log_probs,
    sample,
    split,
    train_reasoner,
    weights,
)

TASKS = (
    prompts.TASK,
    split.TASK,
    response_log_probs.TASK,
    sample.TASK,
    ledger_row.TASK,
    weights.TASK,
    dr_sft_loss.TASK,
    train_reasoner.TASK,
    gated_weights.TASK,
)
