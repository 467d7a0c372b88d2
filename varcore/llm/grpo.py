"""Binary-reward GRPO from pi_0: the reinforcement-learning baseline, on as many rollouts as VR draws traces.

At every optimiser step the current model draws G = `prior_traces` traces with their answers, in one go as evaluation
does, for each of a few training questions.  The reward is 1 if the verifier says right and 0 otherwise; what the
length limit cut is wrong.  Advantages are those of `varcore.grpo_advantages` with its defaults (the sample standard
deviation, eps = 1e-4): a group that is all right or all wrong has none and is not trained on.  The loss of a step is

    - sum_g A_g sum_t log pi(token t of rollout g) / constant                                                (Eq. 12)

with log pi at the temperature of the draws and one constant for the whole run, that of Dr. SFT on the curated
examples; no rollout is divided by its own length.  A batch is drawn from the weights that it moves, once: every
importance ratio is 1 and there is nothing to clip.  No KL penalty, and no curated examples mixed in.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from varcore.llm import comparison, stages, training_sets
from varcore.llm.presets import Config
from varcore.llm.run import Cost, forward_cost, stream_seed
from varcore.llm.sampling import Request, TransformersSampler
from varcore.llm.training import Example, TrainLog, TrainSettings, batches, loss_constant, train
from varcore.llm.workbench import Metrics, Workbench
from varcore.policies import dapo_kept_groups, grpo_advantages
from varcore.tasks import Question, Verdict


def policy_settings(config: Config) -> TrainSettings:
    """The reasoner's settings with the steps of all rounds, `batch_size` rollouts a step and learning rates of its own.

    The rollouts of all steps are at least the num_train (M + K) traces a round that VR draws, and no more than a group
    a step above them: what does not divide is rounded up.
    """
    size, reasoner = config.prior_traces, config.reasoner
    groups = math.ceil(config.num_train * (size + config.posterior_traces) / (size * reasoner.steps))
    factor = config.grpo_learning_rate_factor
    return dataclasses.replace(
        reasoner,
        steps=reasoner.steps * config.rounds,
        batch_size=groups * size,
        learning_rate=factor * reasoner.learning_rate,
        muon_learning_rate=factor * reasoner.muon_learning_rate,
    )


def train_policy(bench: Workbench, role: str, start: str) -> tuple[Cost, Metrics]:
    """The stage: `role` from a copy of the model `start`.

    Metrics of every step: `policy_loss` (a surrogate: its gradient counts, its value says nothing), the gradient norm,
    the mean reward of the rollouts, the share of groups that are trained on, and the mean tokens of a rollout.
    """
    settings = policy_settings(bench.config)
    constant = loss_constant(training_sets.curated_examples(bench), settings.batch_size)

    def teach(model: PreTrainedModel, seed: int, **options: Any) -> TrainLog:
        order = _questions(bench, settings, seed)
        return train(
            model,
            lambda step: rollouts(bench, model, order[step], step),
            constant,
            settings,
            temperature=bench.config.temperature,
            **options,
        )

    cost, metrics = stages.train_role(bench, role, start, settings.steps, teach)
    read, drawn = (int(sum(row.pop(name) for row in metrics)) for name in ("prefill_tokens", "decode_tokens"))
    samples = settings.steps * settings.batch_size
    cost += forward_cost(bench.models.num_parameters(role), samples=samples, prefill=read, decode=drawn)
    return cost, [{"policy_loss": row.pop("loss"), **row} for row in metrics]


def rollouts(
    bench: Workbench, model: PreTrainedModel, questions: Sequence[Question], step: int
) -> tuple[list[Example], dict[str, float]]:
    """A step's rollouts of non-zero advantage, each weighted with it, and what is noted of all of them."""
    config, template, size = bench.config, bench.template, bench.config.prior_traces
    asked = [question for question in questions for _ in range(size)]
    prompts = [template.prompt(question.text) for question in asked]
    seeds = [stream_seed(config.seed, "grpo", step, index) for index in range(len(asked))]
    limit, stop = config.max_trace_tokens + config.max_answer_tokens, template.answer_close
    settings: dict[str, Any] = {"temperature": config.temperature, "max_tokens": limit, "stop": stop}
    sampler = TransformersSampler(model, batch_size=config.batch_size, **settings)
    samples = sampler.sample([Request(*pair) for pair in zip(prompts, seeds, strict=True)])
    right = [verdict is Verdict.RIGHT for verdict in comparison.judge(bench, asked, samples)]
    rewards = torch.tensor(right, dtype=torch.float64).view(-1, size)
    pairs = zip(prompts, samples, grpo_advantages(rewards).flatten().tolist(), strict=True)
    drawn = sum(len(sample.ids) for sample in samples)
    return [Example(prompt, sample.ids, advantage) for prompt, sample, advantage in pairs if advantage], {
        "mean_reward": rewards.mean().item(),
        "groups_trained_on": dapo_kept_groups(rewards).double().mean().item(),
        "mean_tokens": drawn / len(samples),
        "decode_tokens": drawn,
        "prefill_tokens": sum(map(len, prompts[::size])),
    }


def _questions(bench: Workbench, settings: TrainSettings, seed: int) -> list[list[Question]]:
    """The training questions of every step: each epoch is a new permutation."""
    examples = [Example(bench.template.prompt(question.text), ()) for question in bench.train]
    order = batches(examples, settings.batch_size // bench.config.prior_traces, seed, window=1)
    return [[bench.train[index] for index in batch] for batch in itertools.islice(order, settings.steps)]
