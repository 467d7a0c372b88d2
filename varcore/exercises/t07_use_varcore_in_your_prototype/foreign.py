"""TRL's SFTTrainer around a reader's `compute_loss`.  TRL itself is imported when first used: that takes seconds."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback

from varcore.llm.tiny import tiny_tokenizer


class Row(NamedTuple):
    """One trace with its answer after its prompt, and its weight."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    weight: float


def collate(examples):
    """A batch of rows, padded on the right, with their weights, which TRL's own collator would leave out."""
    longest = max(len(example["input_ids"]) for example in examples)

    def padded(rows, fill):
        return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])

    return {
        "input_ids": padded([example["input_ids"] for example in examples], 0),
        "attention_mask": padded([[1] * len(example["input_ids"]) for example in examples], 0),
        "labels": padded([example["labels"] for example in examples], -100),  # -100: not trained on
        "weights": torch.tensor([example["weight"] for example in examples], dtype=torch.float32),
    }


def columns_of(rows):
    """The data set's columns.  Prompts are masked in the labels, which are not shifted."""
    return {
        "input_ids": [list(row.prompt + row.response) for row in rows],
        "labels": [[-100] * len(row.prompt) + list(row.response) for row in rows],
        "weight": [row.weight for row in rows],
    }


def trainer_of(compute_loss, model, rows, constant, folder, micro_batches=1, steps=1, **settings):
    """TRL's SFTTrainer with this `compute_loss`: each step takes all rows, in so many micro-batches, by plain SGD."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    chosen = {
        "output_dir": str(folder), "max_steps": steps, "gradient_accumulation_steps": micro_batches,
        "per_device_train_batch_size": len(rows) // micro_batches, "max_length": None, "max_grad_norm": 0.0,
        "optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "gradient_checkpointing": False,
        "remove_unused_columns": False,  # or "weight" is removed before the collator sees it, without a word
        "use_cpu": True, "bf16": False, "save_strategy": "no", "logging_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    tokenizer = tiny_tokenizer()
    for config in (model.config, model.generation_config):  # or the trainer sets them, and says so
        config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    methods = {"compute_loss": compute_loss, "constant": constant}
    trainer_class = type("WeightedSFTTrainer", (SFTTrainer,), methods)
    trainer = trainer_class(
        model,
        SFTConfig(**(chosen | settings)),
        train_dataset=Dataset.from_dict(columns_of(rows)),
        data_collator=collate,
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class Gradients(TrainerCallback):
    """What the optimiser is given at each step."""

    def __init__(self) -> None:
        self.steps: list[list[Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        self.steps.append([parameter.grad.clone() for parameter in model.parameters()])
