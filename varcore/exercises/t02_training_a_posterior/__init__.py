"""Tutorial 2, training a posterior: its tasks in the order of the notebook."""

from varcore.exercises.t02_training_a_posterior import (
    chance_to_learn,
    copied_share,
    forward_kl_loss,
    leave_one_out,
    reverse_kl_loss,
    trace_shares,
    train_q,
    vimco_posterior_loss,
    weighed_loss,
)

TASKS = (
    trace_shares.TASK,
    chance_to_learn.TASK,
    forward_kl_loss.TASK,
    leave_one_out.TASK,
    reverse_kl_loss.TASK,
    weighed_loss.TASK,
    copied_share.TASK,
    train_q.TASK,
    vimco_posterior_loss.TASK,
)
