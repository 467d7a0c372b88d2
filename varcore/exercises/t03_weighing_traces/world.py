"""Questions on which a rule of weights is measured exactly: every group of eight traces from q is listed."""

import itertools
import math
from typing import NamedTuple

import torch

from varcore import effective_sample_size, normalized_weights

QUESTIONS = 24  # that a rule is measured on
WAYS = ("honest", "mistaken", "rationalised")
_WAY = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
_STYLE = torch.tensor([-1.2, -0.4, 0.4, 1.2], dtype=torch.float64)  # how far the honest traces suit the reasoner
K = len(_WAY)
_GROUPS = torch.tensor(list(itertools.combinations_with_replacement(range(len(_WAY)), K)))
_COUNTS = torch.nn.functional.one_hot(_GROUPS, len(_WAY)).sum(1).double()
_LOG_ORDERS = math.lgamma(K + 1) - torch.lgamma(_COUNTS + 1).sum(-1)


class Listed(NamedTuple):
    """A question with eight possible traces, each [8], in random order; `truth` is P, `way` a place in WAYS."""

    log_q: torch.Tensor
    log_ratio: torch.Tensor  # log pi - log q, up to a constant of the question
    num_tokens: torch.Tensor
    accuracy: torch.Tensor
    way: torch.Tensor
    truth: torch.Tensor


class Measured(NamedTuple):
    """What a rule does to groups of eight traces: means over every group that q can draw, exact."""

    effective: float  # effective size, 0 for a group without weight
    bias: float  # share of the weight that lies on another way of thinking than P's does
    bias_of_traces: float  # the same, trace by trace
    unusable: float  # share of groups without weight


def draw_question(generator: torch.Generator) -> Listed:
    """Four honest traces, whose ratios differ by style, the more the longer they are; two mistaken ones, which q
    avoids; two rationalised ones, which q likes and the reasoner would not write."""

    def uniform(count, low, high):
        return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)

    num_tokens = uniform(K, math.log(30), math.log(200)).exp().round().long()
    style = _STYLE[torch.randperm(4, generator=generator)]
    style = style + uniform(4, -0.3, 0.3)
    honest = 0.3 + 0.18 * style * num_tokens[:4].sqrt()
    log_ratio = torch.cat([honest, uniform(2, 1.5, 2.5), -uniform(2, 4.0, 6.0)])
    q = torch.cat([uniform(4, 0.075, 0.225), uniform(2, 0.015, 0.045), uniform(2, 0.11, 0.21)])
    accuracy = torch.cat([uniform(4, 0.6, 0.98), uniform(2, 0.02, 0.1), uniform(2, 0.8, 0.98)])
    log_q = q.log().log_softmax(-1)
    truth = (log_q + log_ratio + accuracy.log()).softmax(-1)
    order = torch.randperm(K, generator=generator)
    return Listed(*(column[order] for column in (log_q, log_ratio, num_tokens, accuracy, _WAY, truth)))


def groups_of(question: Listed) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log_ratio, num_tokens and accuracy of every group of eight traces, order ignored: [6435, 8] each."""
    return question.log_ratio[_GROUPS], question.num_tokens[_GROUPS], question.accuracy[_GROUPS]


def measured(question: Listed, log_weights: torch.Tensor) -> Measured:
    """What these log weights [6435, 8] of all groups do, each group counted with its chance."""
    chance = (_LOG_ORDERS + _COUNTS @ question.log_q).exp()
    log_weights = log_weights.detach().double()
    usable = (log_weights > -math.inf).any(-1)
    on_trace = torch.zeros_like(_COUNTS).scatter_add(1, _GROUPS, normalized_weights(log_weights))
    found = (chance * usable).sum()
    off = chance @ on_trace / found.clamp(min=1e-300) - question.truth
    ways = torch.zeros(len(WAYS), dtype=off.dtype).index_add(0, question.way, off)
    effective = chance @ effective_sample_size(log_weights)
    halves = [0.5 * values.abs().sum().item() for values in (ways, off)]
    return Measured(effective.item(), *halves, unusable=1 - found.item())


def measure(rule, generator: torch.Generator) -> Measured:
    """The means over 24 fresh questions."""
    questions = [draw_question(generator) for _ in range(QUESTIONS)]
    return mean_of([measured(question, rule(*groups_of(question))) for question in questions])


def mean_of(found: list[Measured]) -> Measured:
    return Measured(*torch.tensor(found, dtype=torch.float64).mean(0).tolist())
