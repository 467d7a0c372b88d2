"""Tutorial 7: what its page says of TRL's trainer, and its experiment's world, which tells objectives apart."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

import varcore
from varcore.exercises.t05_a_language_model_end_to_end.small import small_qwen3
from varcore.exercises.t07_use_varcore_in_your_prototype import compute_loss as task
from varcore.exercises.t07_use_varcore_in_your_prototype import my_objective
from varcore.exercises.t07_use_varcore_in_your_prototype.foreign import Gradients, Row, trainer_of
from varcore.exercises.t07_use_varcore_in_your_prototype.world import (
    ACCURACY,
    HELPER,
    SHARE,
    STYLE,
    THETA,
    accuracy,
    log_policy,
    train,
)
from varcore.llm.tiny import tiny_tokenizer

ROWS = [
    Row((3, 4), (5, 6, 7), 0.3),
    Row((2,), (8, 9), 0.9),
    Row((5, 5, 5), (4,), 0.5),
    Row((6, 2), (3, 3, 10, 4, 2), 0.1),
]
CONSTANT = 4.0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Watched:
    """A `compute_loss` that notes what the trainer hands to it, and in how many pieces a step comes."""

    def __init__(self):
        self.calls = []

    def method(self):
        def compute_loss(trainer, model, inputs, return_outputs=False, num_items_in_batch=None):
            pieces = trainer.current_gradient_accumulation_steps
            self.calls.append((sorted(inputs), num_items_in_batch, pieces))
            if "weights" not in inputs:
                return SFTTrainer.compute_loss(trainer, model, inputs, return_outputs, num_items_in_batch)
            return task.compute_loss(trainer, model, inputs, return_outputs, num_items_in_batch)

        return compute_loss


def gradients(tmp_path, method, takes_loss_kwargs=True, **settings):
    """Of the first step of TRL's trainer, and what the library's loss of the whole batch has."""
    model, seen = small_qwen3(seeded()), Gradients()
    wanted = torch.autograd.grad(task._library_loss(model, ROWS, CONSTANT), list(model.parameters()))
    trainer = trainer_of(method, model, ROWS, CONSTANT, tmp_path, **settings)
    assert trainer.model_accepts_loss_kwargs
    trainer.model_accepts_loss_kwargs = takes_loss_kwargs
    trainer.add_callback(seen)
    trainer.train()
    return seen.steps[0], wanted


@pytest.mark.parametrize("takes_loss_kwargs", [True, False])
@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_the_solution_gives_the_gradient_of_the_batch_however_it_is_cut(tmp_path, micro_batches, takes_loss_kwargs):
    watched = Watched()
    found, wanted = gradients(tmp_path, watched.method(), takes_loss_kwargs, micro_batches=micro_batches)
    for theirs, mine in zip(found, wanted, strict=True):
        assert mine.abs().max() > 1e-4
        torch.testing.assert_close(theirs, mine, rtol=0, atol=1e-5)
    tokens = sum(len(row.response) for row in ROWS)
    assert [(items, pieces) for _, items, pieces in watched.calls] == [
        (tokens if takes_loss_kwargs else None, micro_batches)
    ] * micro_batches


@pytest.mark.parametrize(("method", "factor"), [(task.always_made_up_for, 2.0), (task.never_made_up_for, 1.0)])
def test_where_items_are_counted_the_trainer_takes_the_loss_as_it_is(tmp_path, method, factor):
    found, wanted = gradients(tmp_path, method, micro_batches=2)
    torch.testing.assert_close(found, [factor * g for g in wanted], rtol=0, atol=1e-5)


def test_where_they_are_not_it_divides(tmp_path):
    found, wanted = gradients(tmp_path, task.never_made_up_for, takes_loss_kwargs=False, micro_batches=2)
    torch.testing.assert_close(found, [g / 2 for g in wanted], rtol=0, atol=1e-5)


def test_by_default_the_weights_are_removed_without_a_word(tmp_path):
    """collate asks for them, so it fails here: a collator that does not would train unweighted."""
    with pytest.raises(KeyError, match="weight"):
        gradients(tmp_path, Watched().method(), remove_unused_columns=True)


def test_compute_loss_func_is_deprecated():
    parameters = {"output_dir": "unused", "use_cpu": True, "bf16": False, "report_to": "none"}
    rows = Dataset.from_dict({"input_ids": [[1, 2]], "labels": [[1, 2]]})
    with pytest.warns(FutureWarning, match="override `compute_loss` instead"):
        SFTTrainer(
            small_qwen3(seeded()),
            SFTConfig(**parameters),
            train_dataset=rows,
            processing_class=tiny_tokenizer(),
            compute_loss_func=lambda outputs, labels, num_items_in_batch: outputs.logits.sum(),
        )


# ---------------------------------------------------------------------------------------------------- the experiment


def test_the_world_is_one_of_probabilities():
    ones = torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(log_policy(THETA).exp().sum(-1), ones)
    torch.testing.assert_close(HELPER.sum(), ones[0])
    torch.testing.assert_close(torch.zeros(3, dtype=torch.float64).index_add(0, STYLE, SHARE), torch.ones(3).double())
    by_hand = 0.06 * (0.85 * 0.9 + 0.15 * 0.05) + 0.24 * 0.02 + 0.70 / 14
    assert accuracy(THETA)[1].item() == pytest.approx(by_hand, abs=1e-12)
    assert ((ACCURACY >= 0) & (ACCURACY <= 1)).all()


def exponent(power):
    def objective(log_pi, log_q, rewards, num_tokens):
        return varcore.normalized_weights(varcore.tempered_log_weights(log_pi, log_q, rewards.log(), num_tokens, power))

    return objective


@pytest.mark.parametrize("seed", range(3))
def test_the_target_lies_between_the_exact_ratio_and_everything_less(seed: int):
    """Mean accuracy on hard questions after training; over seeds its standard deviation is below 0.01."""

    def hard(objective):
        before, after = (accuracy(theta).mean(0)[1].item() for theta in train(objective, seeded(seed)))
        assert before < 0.15
        return after

    assert hard(my_objective.as_it_was) < 0.09
    assert hard(exponent(0.0)) < hard(exponent(None)) < hard(exponent(0.5)) < my_objective.TARGET - 0.05
    assert hard(my_objective.ratio_alone) < my_objective.TARGET - 0.02
    assert hard(exponent(1.0)) > my_objective.TARGET + 0.02


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda *columns: None, "returns None"),
        (lambda log_pi, log_q, rewards, num_tokens: rewards > 0, "it should return coefficients"),
        (lambda log_pi, log_q, rewards, num_tokens: rewards / rewards.sum(-1, keepdim=True), "without a right trace"),
        (lambda log_pi, log_q, rewards, num_tokens: rewards / (1 - rewards.mean(-1, keepdim=True)), "some group gets"),
        (lambda log_pi, log_q, rewards, num_tokens: rewards - rewards.mean(), "with the other questions"),
        (lambda log_pi, log_q, rewards, num_tokens: 0 * log_q * rewards, "all 0"),
    ],
    ids=["none", "bool", "hopeless", "infinite", "batch", "zero"],
)
def test_an_objective_that_is_none_is_told_so(answer, said: str):
    assert said in my_objective.examine(answer, seeded())


def test_coefficients_of_another_shape_end_the_training():
    with pytest.raises(ValueError, match="rewards' shape"):
        train(lambda log_pi, log_q, rewards, num_tokens: rewards.sum(-1), seeded())
