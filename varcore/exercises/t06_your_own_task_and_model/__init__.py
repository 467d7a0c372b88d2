"""Tutorial 6, your own task and model: its tasks in the order of the notebook."""

from varcore.exercises.t06_your_own_task_and_model import (
    count_tokens,
    file_rows,
    judged,
    make_question,
    my_questions,
    on_several,
    read_ledger,
    splits,
    verify,
)

TASKS = (
    verify.TASK,
    splits.TASK,
    make_question.TASK,
    my_questions.TASK,
    file_rows.TASK,
    count_tokens.TASK,
    read_ledger.TASK,
    judged.TASK,
    on_several.TASK,
)
