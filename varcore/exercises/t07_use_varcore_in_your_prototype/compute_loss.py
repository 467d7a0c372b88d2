"""Task 7.6: TRL's SFTTrainer with weights, through the method that it lets one override."""

import copy
import tempfile
from types import SimpleNamespace

import torch
from transformers import BatchEncoding

from varcore.exercises.t05_a_language_model_end_to_end.small import small_qwen3, some_ids
from varcore.exercises.t07_use_varcore_in_your_prototype.foreign import (
    Gradients,
    Row,
    collate,
    columns_of,
    trainer_of,
)
from varcore.exercises.task import Case, Task
from varcore.llm.scoring import response_log_probs
from varcore.llm.training import dr_sft_loss

MICRO_BATCHES = 2


def cases(generator):
    model = small_qwen3(generator)

    def draw(lengths, steps, counted, **changed):
        columns = columns_of(_rows(generator, lengths))
        examples = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        inputs = BatchEncoding({**collate(examples), **changed})
        trainer = SimpleNamespace(
            constant=5 + 5 * torch.rand((), generator=generator).item(),
            current_gradient_accumulation_steps=steps,
            args=SimpleNamespace(gradient_accumulation_steps=steps + 1),  # this step is short
        )
        return trainer, model, inputs, False, counted

    return [
        Case("three rows, a step without accumulation", draw([(2, 3), (3, 4), (1, 2)], 1, torch.tensor(9))),
        Case("one of three micro-batches", draw([(2, 4), (2, 1)], 3, torch.tensor(31))),
        Case("rows of unequal weight", draw([(2, 5), (4, 1), (1, 3)], 2, torch.tensor(20), weights=_skewed())),
        Case("num_items_in_batch None, three micro-batches", draw([(2, 3), (1, 4)], 3, None)),
    ]


def _skewed():
    return torch.tensor([0.9, 0.0, 0.1], dtype=torch.float32)


def _rows(generator, lengths):
    weights = torch.rand(len(lengths), generator=generator, dtype=torch.float64) + 0.1
    return [
        Row(some_ids(generator, prompt), some_ids(generator, response), weight)
        for (prompt, response), weight in zip(lengths, weights.tolist(), strict=True)
    ]


def examine(compute_loss, generator):
    trainer, model, inputs, _, counted = cases(generator)[0].arguments
    loss = compute_loss(trainer, model, copy.deepcopy(inputs), False, counted)
    if not loss.requires_grad:
        return "the value is right, but carries no gradient: `.item()`, `.detach()` or `torch.no_grad()` cuts it off."
    found = compute_loss(trainer, model, copy.deepcopy(inputs), return_outputs=True, num_items_in_batch=counted)
    if not isinstance(found, tuple) or len(found) != 2 or not hasattr(found[1], "logits"):
        return "with `return_outputs=True`, as in an evaluation, the pair (loss, outputs of the model) is asked for."
    return _in_the_trainer(compute_loss, small_qwen3(generator), _rows(generator, [(2, 4), (3, 1), (1, 3), (2, 2)]))


def _in_the_trainer(compute_loss, model, rows):
    """One step of TRL's own trainer in two micro-batches, against the library's loss of the batch."""
    constant = sum(row.weight * len(row.response) for row in rows)
    wanted, seen = torch.autograd.grad(_library_loss(model, rows, constant), list(model.parameters())), Gradients()
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(compute_loss, model, rows, constant, folder, MICRO_BATCHES)
        trainer.add_callback(seen)
        trainer.train()
    apart = [(a - b).abs().max().item() for a, b in zip(seen.steps[0], wanted, strict=True)]
    return "" if max(apart) < 1e-4 else "in TRL's trainer the gradient of a step is not that of the whole batch."


def _library_loss(model, rows, constant):
    log_probs = response_log_probs(model, [(row.prompt, row.response) for row in rows])
    weights = [log_probs.new_full((len(row.response),), row.weight) for row in rows]
    return dr_sft_loss(log_probs, torch.cat(weights), constant)


def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    labels = inputs["labels"][:, 1:]
    log_probs = outputs.logits[:, :-1].log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    rows = log_probs.where(labels != -100, 0.0).sum(-1)
    loss = -(inputs["weights"] * rows).sum() / self.constant
    if num_items_in_batch is None:  # then, and only then, the trainer divides by the number of micro-batches
        loss = loss * self.current_gradient_accumulation_steps
    return (loss, outputs) if return_outputs else loss


def by_cross_entropy(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    weights, labels = inputs.pop("weights"), inputs.pop("labels")
    outputs = model(**inputs)
    scores = outputs.logits[:, :-1].transpose(1, 2)
    losses = torch.nn.functional.cross_entropy(scores, labels[:, 1:], ignore_index=-100, reduction="none")
    made_up_for = self.current_gradient_accumulation_steps if num_items_in_batch is None else 1
    loss = (losses.sum(-1) @ weights) * made_up_for / self.constant
    return (loss, outputs) if return_outputs else loss


def by_the_library(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    outputs = model(inputs["input_ids"], attention_mask=inputs["attention_mask"])
    targets = inputs["labels"][:, 1:]
    row, place = (targets != -100).nonzero(as_tuple=True)
    log_probs = torch.log_softmax(outputs.logits[row, place], -1)[torch.arange(len(row)), targets[row, place]]
    constant = self.constant
    if num_items_in_batch is None:
        constant = constant / self.current_gradient_accumulation_steps
    loss = dr_sft_loss(log_probs, inputs["weights"][row], constant)
    return (loss, outputs) if return_outputs else loss


def _parts(model, inputs, shift=1, masked=True):
    """Outputs, log-probabilities of the labels, and which of them count."""
    outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    targets = (inputs["labels"] if masked else inputs["input_ids"])[:, shift:]
    taken = outputs.logits[:, : targets.shape[1]].log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    counted = targets != -100 if masked else inputs["attention_mask"][:, shift:] > 0
    return outputs, taken.where(counted, 0.0), counted


GIVEN = 0  # a number of items, whatever it is


def _made_up_for(self, loss, num_items_in_batch):
    return loss * self.current_gradient_accumulation_steps if num_items_in_batch is None else loss


def _weighted(self, model, inputs, num_items_in_batch, **slips):
    _, taken, _ = _parts(model, inputs, **slips)
    loss = -(inputs["weights"] * taken.sum(-1)).sum() / self.constant
    return _made_up_for(self, loss, num_items_in_batch)


def over_items(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """it divides by `num_items_in_batch`, the number of trained tokens of *this* step. No cut changes that, but the
    next batch does: beside long traces a trace pulls less. `self.constant` stays the same for the whole training."""
    _, taken, counted = _parts(model, inputs)
    items = counted.sum() if num_items_in_batch is None else num_items_in_batch
    return -(inputs["weights"] * taken.sum(-1)).sum() / items


def token_mean(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """it divides by the tokens of the micro-batch: a mean of means. The trainer adds up the micro-batches of a step as
    they are, so divide by `self.constant`."""
    _, taken, counted = _parts(model, inputs)
    return -(inputs["weights"] * taken.sum(-1)).sum() / counted.sum()


def own_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """this is the model's own loss: a mean over tokens in which the weights do not occur."""
    return _mean(model, inputs)


def _mean(model, inputs):
    return model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=inputs["labels"]).loss


def own_loss_weighted(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """it multiplies the model's own loss, which is a mean over all tokens of the micro-batch, by a number. Weights
    belong to rows, and have to be there before anything is summed over rows."""
    return _mean(model, inputs) * inputs["weights"].mean()


def always_made_up_for(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """it multiplies by the number of micro-batches though `num_items_in_batch` was given. Then this trainer takes the
    loss as it is, unlike the loop of task 7.5, and the step would be that many times too long."""
    return _weighted(self, model, inputs, None)


def never_made_up_for(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """`num_items_in_batch` is None, so the trainer divides what it gets by the number of micro-batches, and the step
    would be that much too short. Make up for it."""
    return _weighted(self, model, inputs, GIVEN)


def divided_too(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """`num_items_in_batch` is None, so the trainer divides by the number of micro-batches: you divide as well. Make up
    for its division; do not repeat it."""
    loss = _weighted(self, model, inputs, GIVEN)
    return loss / self.current_gradient_accumulation_steps if num_items_in_batch is None else loss


def steps_of_the_settings(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """it takes the number of micro-batches from the settings. The last step of an epoch may have fewer, and the trainer
    divides by how many there are: `self.current_gradient_accumulation_steps`."""
    loss = _weighted(self, model, inputs, GIVEN)
    return loss * self.args.gradient_accumulation_steps if num_items_in_batch is None else loss


def not_shifted(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """the logits of position t are held against the label of position t. They predict the next one; the labels of the
    batch are not shifted yet, for models of `transformers` do that inside."""
    return _weighted(self, model, inputs, num_items_in_batch, shift=0)


def two_late(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """it is shifted twice: a label is read off two positions earlier. One shift is enough."""
    return _weighted(self, model, inputs, num_items_in_batch, shift=2)


def prompts_count(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """prompts are trained on as well. The labels say what counts: -100 does not."""
    return _weighted(self, model, inputs, num_items_in_batch, masked=False)


def masked_are_zero(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """a label of -100 counts as token 0. `clamp` makes it a token that can be looked up; it must be left out of the sum
    too."""
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, :-1]
    taken = logits.log_softmax(-1).gather(-1, inputs["labels"][:, 1:].clamp(min=0)[..., None])[..., 0]
    return _made_up_for(self, -(inputs["weights"] * taken.sum(-1)).sum() / self.constant, num_items_in_batch)


def mean_in_each_row(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """it averages over the tokens of each row: long traces would pull less. log π(z,y|x) is a sum."""
    _, taken, counted = _parts(model, inputs)
    loss = -(inputs["weights"] * taken.sum(-1) / counted.sum(-1)).sum() / self.constant
    return _made_up_for(self, loss, num_items_in_batch)


def renormalized(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """the weights are made to sum to one in the micro-batch. They were normalised where they belong, in their
    question."""
    loss = _weighted(self, model, inputs, num_items_in_batch)
    return loss / inputs["weights"].sum().clamp(min=1e-8)


def no_weights(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """the weights are not used: a bad trace counts like a good one."""
    _, taken, _ = _parts(model, inputs)
    return _made_up_for(self, -taken.sum() / self.constant, num_items_in_batch)


def sign_turned(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """the sign is turned: the trainer would push the good traces away."""
    return -_weighted(self, model, inputs, num_items_in_batch)


def a_number(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """the value is right, but carries no gradient: `.item()`, `.detach()` or `torch.no_grad()` cuts it off."""
    return _weighted(self, model, inputs, num_items_in_batch).detach()


def without_outputs(self, model, inputs, return_outputs=False, num_items_in_batch=None):
    """with `return_outputs=True`, as in an evaluation, the pair (loss, outputs of the model) is asked for."""
    return _weighted(self, model, inputs, num_items_in_batch)


TASK = Task(
    name="7.6",
    title="Weights in TRL's trainer",
    tier="core",
    hints=(
        "It is task 7.5 for one micro-batch, after a forward pass of your own. `labels` says at once which token and "
        "whether it counts. Then read in the table who divides by what, and when.",
        "loss = - Σ_i w_i Σ_t [labels_{i,t+1} ≠ -100] log p(labels_{i,t+1}) / self.constant, times "
        "self.current_gradient_accumulation_steps if num_items_in_batch is None.",
        'outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])\n'
        'labels = inputs["labels"][:, 1:]\n'
        "log_probs = outputs.logits[:, :-1].log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]\n"
        'rows = log_probs.where(labels != ..., 0.0).sum(-1)\nloss = -(inputs["weights"] * ...).sum() / ...\n'
        "if num_items_in_batch is None:\n    loss = ...\nreturn (loss, outputs) if return_outputs else loss",
    ),
    cases=cases,
    examine=examine,
    solution=compute_loss,
    alternatives=(by_cross_entropy, by_the_library),
    mistakes=(
        over_items,
        token_mean,
        own_loss,
        own_loss_weighted,
        always_made_up_for,
        never_made_up_for,
        divided_too,
        steps_of_the_settings,
        not_shifted,
        two_late,
        prompts_count,
        masked_are_zero,
        mean_in_each_row,
        renormalized,
        no_weights,
        sign_turned,
        a_number,
        without_outputs,
    ),
    seconds=120.0,
)
