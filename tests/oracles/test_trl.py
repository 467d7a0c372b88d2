"""Advantages and gradients against TRL: its own trainer takes one step on a tiny Qwen3, and varcore repeats it.

TRL samples, rewards, centres, scales, divides by lengths and differentiates; varcore scores the token ids that TRL
drew, by its own scorer.  float32, as TRL computes.  The draws are seeded, so there are no false alarms.
"""

import copy
import os
from typing import NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from varcore import dapo_kept_groups, dr_grpo_advantages, grpo_advantages, policy_gradient_loss, rloo_advantages
from varcore.llm.scoring import response_log_probs
from varcore.llm.tiny import tiny_qwen3, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
PROMPTS, GROUP, MAX_TOKENS = ["1 + 1", "12 * 3", "solved"], 8, 6
# Few tokens to choose from, the end token among them: completions of many lengths, some of them cut.
ALLOWED = {50, 51, 52, 53, TOKENIZER.eos_token_id}


def verdict(prompt, completion):
    """Divides the groups of two questions; the third is solved by anything, so its group has no scale."""
    return 1.0 if prompt == "solved" else float(sum(completion) % 2)


def verdicts(prompts, completion_ids, **_):
    return [verdict(*pair) for pair in zip(prompts, completion_ids, strict=True)]


class Watched:
    """Keeps what TRL feeds to its loss, and the gradient as the loss leaves it, before clipping and step."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.batch = inputs
        return super().compute_loss(model, inputs, *args, **kwargs)

    def training_step(self, model, *args, **kwargs):
        loss = super().training_step(model, *args, **kwargs)
        self.gradients = [parameter.grad.clone() for parameter in model.parameters()]
        return loss


class WatchedGRPO(Watched, GRPOTrainer):
    pass


class WatchedRLOO(Watched, RLOOTrainer):
    pass


class Step(NamedTuple):
    """What TRL did, advantages and parameter gradients, and the same rollouts as varcore has them, [B, G]."""

    advantages: Tensor
    gradients: list[Tensor]
    rewards: Tensor
    lengths: Tensor
    log_probs: Tensor
    parameters: list[Tensor]


@pytest.fixture
def take_step(tmp_path):
    def take(trainer_class, config_class, **settings):
        model = tiny_qwen3(len(TOKENIZER), 0, hidden=32, layers=2, heads=2)
        before = copy.deepcopy(model)
        config = config_class(
            output_dir=str(tmp_path),
            max_steps=1,
            per_device_train_batch_size=len(PROMPTS) * GROUP,
            num_generations=GROUP,
            max_completion_length=MAX_TOKENS,
            generation_kwargs={"suppress_tokens": [i for i in range(len(TOKENIZER)) if i not in ALLOWED]},
            temperature=1.0,
            beta=0.0,
            num_iterations=1,
            steps_per_generation=1,
            gradient_accumulation_steps=1,
            gradient_checkpointing=False,
            disable_dropout=True,
            mask_truncated_completions=False,
            use_vllm=False,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            **settings,
        )
        questions = Dataset.from_dict({"prompt": PROMPTS})
        trainer = trainer_class(model, verdicts, config, questions, processing_class=TOKENIZER)
        trainer.train()
        return as_varcore_has_it(trainer, before)

    return take


def as_varcore_has_it(trainer, model):
    seen = trainer.batch
    prompts, completions = (
        [ids[mask.bool()].tolist() for ids, mask in zip(seen[f"{part}_ids"], seen[f"{part}_mask"], strict=True)]
        for part in ("prompt", "completion")
    )
    order = sorted(range(len(prompts)), key=prompts.__getitem__)  # TRL shuffles the rollouts of all questions
    rows = [(tuple(prompts[i]), tuple(completions[i])) for i in order]
    lengths = [len(completion) for _, completion in rows]
    log_probs = torch.stack([row.sum() for row in response_log_probs(model, rows).split(lengths)])
    rewards = torch.tensor([verdict(TOKENIZER.decode(prompt), completion) for prompt, completion in rows])
    rewards, lengths = rewards.view(-1, GROUP), torch.tensor(lengths).view(-1, GROUP)
    assert dapo_kept_groups(rewards).sum() == len(PROMPTS) - 1
    assert lengths.min() < lengths.max() == MAX_TOKENS
    advantages = seen["advantages"][order].view(-1, GROUP)
    return Step(advantages, trainer.gradients, rewards, lengths, log_probs.view(-1, GROUP), list(model.parameters()))


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def assert_gradient(step, loss):
    """TRL's gradient is that of `loss`, in every parameter, and in none of them zero."""
    for theirs, mine in zip(step.gradients, torch.autograd.grad(loss, step.parameters), strict=True):
        assert mine.abs().max() > 1e-3
        assert_close(theirs, mine)


# What TRL divides the log-probability of a completion by.  varcore leaves it to the caller.
DIVISORS = {
    "grpo": lambda lengths: lengths,  # each completion's own length
    "dr_grpo": lambda lengths: MAX_TOKENS,  # one constant
    "dapo": lambda lengths: lengths.double().mean().item(),  # the mean length of the batch; TRL's default
}


@pytest.mark.parametrize("loss_type", DIVISORS)
@pytest.mark.parametrize(("scale_rewards", "rule"), [("group", grpo_advantages), ("none", dr_grpo_advantages)])
def test_grpo_trainer(take_step, loss_type, scale_rewards, rule):
    step = take_step(WatchedGRPO, GRPOConfig, loss_type=loss_type, scale_rewards=scale_rewards)
    advantages = rule(step.rewards)
    assert_close(step.advantages, advantages)
    log_probs = step.log_probs / DIVISORS[loss_type](step.lengths)
    assert_gradient(step, policy_gradient_loss(log_probs, advantages).mean())


def test_rloo_trainer(take_step):
    """One ratio a sequence, so sums over tokens: nothing is divided."""
    step = take_step(WatchedRLOO, RLOOConfig)
    advantages = rloo_advantages(step.rewards)
    assert_close(step.advantages, advantages)
    assert_gradient(step, policy_gradient_loss(step.log_probs, advantages).mean())


def test_trl_is_not_the_paper(take_step):
    """TRL's standard deviation is the sample's and its epsilon 1e-4, the defaults of grpo_advantages."""
    step = take_step(WatchedGRPO, GRPOConfig, scale_rewards="group")
    assert (step.advantages - grpo_advantages(step.rewards, ddof=0)).abs().max() > 0.03
    assert (step.advantages - grpo_advantages(step.rewards, eps=0.0)).abs().max() > 1e-4
