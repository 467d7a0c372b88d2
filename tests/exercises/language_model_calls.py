"""Library functions of tutorial 5 that take other arguments than the task's."""

import copy

import torch
from torch import Tensor

from varcore.exercises.t05_a_language_model_end_to_end.tokens import TOKENIZER
from varcore.llm import ledger
from varcore.llm.sampling import Request, TransformersSampler
from varcore.llm.scoring import response_log_probs
from varcore.llm.templates import Markers, Template
from varcore.llm.training import dr_sft_loss
from varcore.llm.weighing import WeightRule, weigh

TEMPLATE = Template(TOKENIZER, Markers())


def cut(ids, close):
    template = copy.copy(TEMPLATE)
    template.trace_close = close
    return template.split(ids)


def sampled(model, prompts, seeds, temperature, max_tokens, stop):
    sampler = TransformersSampler(model, temperature=temperature, max_tokens=max_tokens, stop=(stop,))
    requests = [Request(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
    return [(drawn.ids, torch.tensor(drawn.log_probs)) for drawn in sampler.sample(requests)]


def weighed(rows: list[dict], rule: WeightRule) -> Tensor:
    traces = len(rows) // len({row["question_id"] for row in rows})
    lists = [{name: row[name].tolist() for name in ("log_pi", "log_q")} for row in rows]
    table = ledger.from_rows([{**row, **lists[n], "trace_index": n % traces} for n, row in enumerate(rows)])
    weights = weigh(table, rule, 0)[0]["weight"]
    return torch.tensor(weights.to_pylist(), dtype=torch.float64)


LANGUAGE_MODEL = {
    "varcore.llm.templates.Template.hinted_prompt": lambda question, hint: (
        TEMPLATE.prompt(question),
        TEMPLATE.hinted_prompt(question, hint),
    ),
    "varcore.llm.templates.Template.split": cut,
    "varcore.llm.scoring.response_log_probs": lambda model, rows, temperature: response_log_probs(
        model, rows, temperature=temperature
    ),
    "varcore.llm.sampling.TransformersSampler": sampled,
    "varcore.llm.weighing.weigh": lambda rows, exponent: weighed(rows, WeightRule(exponent=exponent)),
    "varcore.llm.training.dr_sft_loss": lambda log_probs, weights, lengths, constant: dr_sft_loss(
        log_probs, weights.repeat_interleave(lengths), constant
    ),
    "varcore.llm.weighing.WeightRule": lambda rows, exponent, threshold: weighed(
        rows, WeightRule(exponent=exponent, gate="token", threshold=threshold)
    ),
}
