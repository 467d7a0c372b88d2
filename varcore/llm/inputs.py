"""What a run starts from, looked at before its directory is made: nothing is written, and nothing is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from varcore.llm import processes
from varcore.llm.models import read_config
from varcore.llm.presets import Config
from varcore.llm.templates import check_model, check_room
from varcore.llm.workbench import open_task, read_template, read_tokenizer, worked_questions
from varcore.tasks import Question


def check_inputs(config: Config) -> None:
    """Raise ValueError for whatever would stop a run of `config` on its way.

    GPUs that the launch asks for and that are not there; a base model without configuration or safetensors, or of
    fewer embeddings than the tokenizer has tokens; a template with a missing marker, or special tokens that the
    tokenizer has not; data that is not there, too few questions or worked traces; a level with one held-out question,
    which gives no interval; a question that, with the longest trace and answer that are drawn, does not fit the model's
    context.
    """
    processes.check_devices()
    base, tokenizer = read_config(config), read_tokenizer(config)
    check_model(tokenizer, base)
    template = read_template(config, tokenizer)
    task = open_task(config)
    train = task.questions("train", config.num_train, config.seed, curated=True)
    worked_questions(train, config)
    held_out = task.questions(config.evaluation_split, config.num_held_out, config.seed)
    _check_levels(held_out, config.evaluation_split)
    context, trace = base.max_position_embeddings, config.max_trace_tokens
    check_room([template.prompt(q.text) for q in (*train, *held_out)], context, trace + config.max_answer_tokens)
    if {"vr", "accuracy"} & set(config.methods):
        check_room([template.hinted_prompt(q.text, q.reference) for q in train], context, trace)


def _check_levels(held_out: Sequence[Question], split: str) -> None:
    alone = [level for level, count in Counter(question.level for question in held_out).items() if count == 1]
    if alone:
        raise ValueError(
            f"Every level is scored with an interval, which needs two questions; of {len(held_out)} {split} questions "
            f"only one is of level {alone[0]}. Hold out more, or join levels."
        )
