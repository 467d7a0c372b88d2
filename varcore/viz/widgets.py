"""Explorers for notebooks: ipywidgets over the lessons' figures.

What an explorer computes is a function, here or in `varcore.viz.explore`, that works, and is tested, without any
widget.  The trace-weight explorer reads the ledger of any run, or `toy_ledger()`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ipywidgets
import plotly.graph_objects as go
import pyarrow as pa
import torch
from torch import Tensor

import varcore
from varcore.llm import ledger
from varcore.llm.weighing import SELECTIONS
from varcore.viz.drawing import redraw
from varcore.viz.explore import (
    EXPONENTS,
    estimators_of,
    rows_html,
    token_picture,
    weigh_question,
    weighing_picture,
)
from varcore.viz.lesson_figures import bound_curve, kl_fits, question_weight_curves
from varcore.viz.style import one_title

KS = (1, 2, 4, 8, 16, 32, 64)
TOY_WORDS: list[str] = ["</think>", "so", "2", "3", "5", "6", "plus", "times", "is", "OK", "hmm", "<b>wait</b>"]
Rule = Callable[[Tensor], Tensor]


def bound_picture(
    log_prior: Tensor, log_correctness: Tensor, log_posterior: Tensor, largest: int, groups: int, quality: float
) -> go.Figure:
    """The bound for K up to `largest`, exact and from `groups` draws; q is moved by `quality` to the true posterior."""
    truth = varcore.exact_true_posterior(log_prior, log_correctness).log()
    log_q = torch.logaddexp(log_posterior + math.log(1 - quality + 1e-300), truth + math.log(quality + 1e-300))
    log_rho = varcore.log_importance_weights(log_prior, log_correctness, log_q)
    ks, generator = [k for k in KS if k <= largest], torch.Generator().manual_seed(0)
    draws = [torch.multinomial(log_q.exp(), groups * k, True, generator=generator).view(groups, k) for k in ks]
    bounds = [varcore.iwae_bound(log_rho[draw]) for draw in draws]
    halves = torch.stack([1.96 * bound.std() / math.sqrt(groups) for bound in bounds])
    exact = torch.stack([varcore.quadrature_iwae_bound(log_prior, log_correctness, log_q, k) for k in ks])
    evidence = varcore.exact_log_evidence(log_prior, log_correctness)
    return bound_curve(ks, torch.stack([b.mean() for b in bounds]), halves, log_evidence=evidence, exact=exact)


def gaussian(at: Tensor, mean: Tensor | float, deviation: Tensor | float) -> Tensor:
    return torch.exp(-0.5 * ((at - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


def gaussian_fits(positions: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The Gaussian closest to `target` in either direction of KL, on an evenly spaced grid.

    Forward KL(target || q): the target's mean and variance.  Reverse KL(q || target): the best of a grid of both.
    """
    step = positions[1] - positions[0]
    mass = target / target.sum()
    mean = (mass * positions).sum()
    deviation = (mass * (positions - mean).square()).sum().sqrt()
    means, widths = positions[::2], torch.linspace(0.15, 1.5, 40, dtype=positions.dtype) * deviation
    candidates = gaussian(positions, means[:, None, None], widths[None, :, None])
    log_gap = candidates.clamp_min(1e-300).log() - target.clamp_min(1e-300).log()
    kl = (candidates * log_gap).sum(-1) * step + 100 * (1 - candidates.sum(-1) * step).abs()  # no mass off the grid
    return {"forward KL": gaussian(positions, mean, deviation), "reverse KL": candidates.flatten(0, 1)[kl.argmin()]}


def kl_picture(separation: float, share: float, width: float) -> go.Figure:
    """Both fits to two humps, `separation` apart, the right one with `share` of the mass and `width` times as wide."""
    positions = torch.linspace(-8, 8, 321, dtype=torch.float64)
    left, right = gaussian(positions, -separation / 2, 0.7), gaussian(positions, separation / 2, 0.7 * width)
    target = (1 - share) * left + share * right
    return kl_fits(positions, target, gaussian_fits(positions, target))


def rule_weight(rule: Rule, p: Tensor, group_size: int) -> Tensor:
    """W(p) of the reader's advantage rule, rewards [S, G] -> advantages [S, G]."""
    try:
        return varcore.certified_exchangeable_question_weight(rule, p, group_size)
    except varcore.ShapeError:
        raise
    except ValueError:
        return varcore.certified_question_weight(rule, p, group_size)


def question_weight_picture(
    group_size: int, ddof: int, eps: float, log_axis: bool = False, rule: Rule | None = None
) -> go.Figure:
    """W(p) of the usual rules for groups of this size, and of the reader's own."""
    p = torch.linspace(0.005, 0.995, 199, dtype=torch.float64)
    curves = {
        "maximum likelihood": varcore.maximum_likelihood_question_weight(p),
        "RFT": varcore.rft_question_weight(p),
        "GRPO": varcore.grpo_question_weight(p, group_size, ddof=ddof, eps=eps),
        "DAPO": varcore.dapo_question_weight(p, group_size, ddof=ddof, eps=eps),
        "Dr. GRPO": varcore.dr_grpo_question_weight(p, group_size),
        "MaxRL": varcore.maxrl_question_weight(p, group_size),
    }
    if rule is not None:
        curves["your rule"] = rule_weight(rule, p, group_size)
    return question_weight_curves(p, curves, log_axis=log_axis)


def toy_decode(ids: Sequence[int]) -> str:
    """Words of the toy ledger."""
    return " ".join(TOY_WORDS[index] for index in ids)


def toy_ledger() -> pa.Table:
    """Two questions with five traces each: a short right one, a long right one, a lucky, a wrong and a cut one."""
    texts = ["so 2 plus 3 is 5 </think>", "hmm hmm so 2 plus 3 is 5 so 5 OK </think>", "5 </think>"]
    texts += ["so 2 times 3 is 6 </think>", "hmm <b>wait</b> hmm"]
    hits = {"2 + 3": (4, 4, 2, 0, 0), "3 + 2": (3, 1, 4, 1, 0)}
    return ledger.from_rows([_toy_row(id_, k, text, hits[id_][k]) for id_ in hits for k, text in enumerate(texts)])


def bound_explorer(log_prior: Tensor, log_correctness: Tensor, log_posterior: Tensor) -> ipywidgets.VBox:
    """How the bound tightens with K, and with a better q, on a model whose Z traces are listed; [Z] each, nats."""
    controls = {
        "largest": ipywidgets.SelectionSlider(options=KS, value=16, description="K up to"),
        "groups": ipywidgets.SelectionSlider(options=(20, 100, 500, 2000), value=100, description="draws"),
        "quality": ipywidgets.FloatSlider(0.0, min=0, max=1, step=0.1, description="q → true"),
    }
    return explorer(lambda **chosen: bound_picture(log_prior, log_correctness, log_posterior, **chosen), controls)


def kl_explorer() -> ipywidgets.VBox:
    """Forward and reverse KL fits to a target with two humps that move apart."""
    distance = ipywidgets.FloatSlider(4.0, min=0, max=8, step=0.25, description="distance")
    share = ipywidgets.FloatSlider(0.4, min=0, max=1, step=0.05, description="right share")
    width = ipywidgets.FloatSlider(1.0, min=0.5, max=2, step=0.1, description="right width")
    return explorer(kl_picture, {"separation": distance, "share": share, "width": width})


def question_weight_explorer(rule: Rule | None = None) -> ipywidgets.VBox:
    """W(p) of the usual rules; `rule` is the reader's own: rewards [S, G] -> advantages [S, G]."""
    controls = {
        "group_size": ipywidgets.IntSlider(8, min=2, max=64, description="group size G"),
        "ddof": ipywidgets.ToggleButtons(options=(0, 1), value=0, description="ddof"),
        "eps": ipywidgets.SelectionSlider(options=(0.0, 1e-6, 1e-4, 1e-2, 0.1, 1.0), value=0.0, description="eps"),
        "log_axis": ipywidgets.Checkbox(False, description="logarithmic axes"),
    }
    return explorer(lambda **chosen: question_weight_picture(**chosen, rule=rule), controls)


def trace_weight_explorer(
    table: pa.Table, decode: Callable[[Sequence[int]], str] = toy_decode, *, question_id: str | None = None
) -> ipywidgets.VBox:
    """The traces of one question and their weights under any rule; click a bar for the tokens of its trace.

    Args:
        table: a ledger with log pi and log q, and the columns of at least one estimator.
        decode: token ids to text, e.g. ``tokenizer.decode``; that of `toy_ledger()` unless given.
    """
    ids, estimators, count = ledger.question_ids(table), estimators_of(table), ledger.num_traces(table)
    rule = {
        "question_id": ipywidgets.Dropdown(options=ids, value=question_id or ids[0], description="question"),
        "exponent": ipywidgets.SelectionSlider(options=EXPONENTS, value="1/|z|", description="exponent"),
        "estimator": ipywidgets.ToggleButtons(options=estimators, description="π(Y|x,z)"),
        "selection": ipywidgets.ToggleButtons(options=list(SELECTIONS), description="select"),
        "dropped": ipywidgets.SelectMultiple(options=range(count), rows=min(count, 6), description="drop traces"),
    }
    trace, rows = ipywidgets.Dropdown(options=range(count), description="show trace"), ipywidgets.HTML()

    def weights(**chosen: Any) -> go.Figure:
        found = weigh_question(table, **chosen)
        rows.value = rows_html(found, decode)
        return weighing_picture(found).update_traces(hoverinfo="none")  # of what is skipped, plotly tells no click

    bars = explorer(weights, rule)
    bars.children[-2].data[0].on_click(lambda _, points, __: setattr(trace, "value", points.point_inds[0]))
    heat = explorer(partial(token_picture, table, decode=decode), {"question_id": rule["question_id"], "trace": trace})
    return ipywidgets.VBox([*bars.children, rows, trace, *heat.children[-2:]])


def explorer(draw: Callable[..., go.Figure], controls: Mapping[str, Any]) -> ipywidgets.VBox:
    """Controls above, the live figure, and the picture in words, or what went wrong, below."""
    said = ipywidgets.HTML()

    def drawn() -> go.Figure | None:
        try:
            picture = one_title(draw(**{name: control.value for name, control in controls.items()}))
        except Exception as error:  # the reader's own rule may raise anything; ipywidgets would only log it
            said.value = f"<b>{type(error).__name__}</b>: {html.escape(str(error))}"
            return None
        alt = html.escape(str(picture["layout"]["meta"]["alt"]))
        said.value = f"<details><summary>In words</summary>{alt}</details>"
        return picture

    live = go.FigureWidget(drawn())  # with its first picture: a page that is slow to listen misses what comes later

    def refresh(_: Any) -> None:
        if (picture := drawn()) is not None:
            redraw(live, picture)

    for control in controls.values():
        control.observe(refresh, names="value")
    return ipywidgets.VBox([*controls.values(), live, said])


def _toy_row(question_id: str, index: int, text: str, hits: int) -> dict[str, Any]:
    ids, closed = [TOY_WORDS.index(word) for word in text.split()], text.endswith("</think>")
    row = {"question_id": question_id, "question": question_id, "round": 1, "source": "posterior", "level": 1}
    row |= {"trace_index": index, "closed": closed, "prompt_ids": [1], "proposal_prompt_ids": [1, 4], "hint_ids": [4]}
    row |= {"trace_ids": ids, "reference_ids": [4, 0], "num_correct_answers": 1, "hint_copied": 0.0}
    row["log_pi"] = [-0.2 - 0.1 * ((3 * t + index) % 5) for t in range(len(ids))]
    row["log_q"] = [-0.2 - 0.15 * ((2 * t + index) % 4) + 0.02 * index for t in range(len(ids))]
    row |= {"log_pi_reference": [-1.5 + 0.3 * hits, -0.1] if closed else [], "num_correct": hits, "num_answers": 4}
    answers, verdicts = ([[part]] * hits + [[other]] * (4 - hits) for part, other in ((4, 5), ("right", "wrong")))
    return row | {"answer_ids": answers, "verdicts": [verdict for (verdict,) in verdicts]}
