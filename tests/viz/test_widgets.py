"""What an explorer computes is the mathematics; the widgets only pass it on."""

import pytest
import torch

import varcore
from varcore.viz import widgets

LOGS = [
    torch.tensor(values, dtype=torch.float64).log() for values in ((0.5, 0.3, 0.2), (0.2, 0.9, 0.1), (0.2, 0.2, 0.6))
]
SOFT = {"exponent": "1", "estimator": "accuracy", "selection": "soft"}


@pytest.fixture(scope="module")
def toy():
    return widgets.toy_ledger()


def by_name(explorer) -> dict:
    return {child.description: child for child in explorer.children if getattr(child, "description", "")}


def live_figures(explorer) -> list:
    return [child for child in explorer.children if hasattr(child, "data")]


def test_bound_picture_is_the_exact_bound_and_a_perfect_q_closes_the_gap():
    dots = widgets.bound_picture(*LOGS, 8, 50, 0.0).data[2]
    assert dots.y == pytest.approx([varcore.quadrature_iwae_bound(*LOGS, k).item() for k in (1, 2, 4, 8)])
    assert dots.y[0] == pytest.approx(varcore.exact_elbo(*LOGS).item())
    perfect = widgets.bound_picture(*LOGS, 8, 50, 1.0)
    evidence = varcore.exact_log_evidence(*LOGS[:2]).item()
    assert perfect.data[1].y == pytest.approx([evidence] * 4)  # no variance either: every weight is p(x)


def test_gaussian_fits_recover_a_gaussian_and_part_ways_on_two_humps():
    positions = torch.linspace(-8, 8, 321, dtype=torch.float64)
    for fit in widgets.gaussian_fits(positions, widgets.gaussian(positions, 1.0, 0.8)).values():
        assert torch.allclose(fit, widgets.gaussian(positions, 1.0, 0.8), atol=0.02)
    _, forward, reverse = widgets.kl_picture(6.0, 0.4, 1.0).data
    assert positions[torch.tensor(forward.y).argmax()] == pytest.approx(-0.6, abs=0.06)  # the target's mean
    assert positions[torch.tensor(reverse.y).argmax()] == pytest.approx(-3.0, abs=0.1)  # its larger hump


def test_question_weights_certify_the_readers_own_rule():
    figure = widgets.question_weight_picture(4, 1, 0.1, rule=lambda r: varcore.grpo_advantages(r, ddof=1, eps=0.1))
    grpo, own = figure.data[2], figure.data[-1]
    assert own.y == pytest.approx(grpo.y)
    p = torch.tensor([0.3, 0.7], dtype=torch.float64)
    first_only = lambda rewards: rewards * torch.eye(4, dtype=rewards.dtype)[0] * 4  # noqa: E731  looks at positions
    assert widgets.rule_weight(first_only, p, 4) == pytest.approx(p)
    with pytest.raises(varcore.ShapeError):
        widgets.rule_weight(lambda rewards: rewards[:, :1], p, 4)


def test_the_explorer_works_on_a_runs_ledger_with_hostile_text_and_empty_traces(table, template):
    explorer = widgets.trace_weight_explorer(table, template.read_trace, question_id="q-hostile")
    assert "<script" not in next(c.value for c in explorer.children if "<table>" in getattr(c, "value", "").__str__())
    by_name(explorer)["question"].value = "q-mixed"
    assert sum(live_figures(explorer)[0].data[0].x) == pytest.approx(1)


def test_moving_a_slider_draws_the_new_weights_and_a_click_shows_the_traces_tokens(toy):
    explorer = widgets.trace_weight_explorer(toy)
    (bars, heat), controls = live_figures(explorer), by_name(explorer)
    controls["exponent"].value = "1"
    assert list(bars.data[0].x) == widgets.weigh_question(toy, "2 + 3", **SOFT).weights
    controls["drop traces"].value = (1,)
    assert list(bars.data[0].x) == widgets.weigh_question(toy, "2 + 3", **SOFT, dropped=(1,)).weights
    controls["select"].value = "argmax"
    assert sorted(bars.data[0].x) == pytest.approx([0, 0, 0, 0, 1])
    controls["show trace"].value = 1
    expected = widgets.token_picture(toy, "2 + 3", 1, widgets.toy_decode).data[0]
    assert heat.data[0].text == expected.text
    assert len(heat.data[0].x) == 12


def test_an_explorer_shows_the_error_of_the_readers_own_rule():
    def rule(rewards):
        raise RuntimeError("<b>my bug</b>")

    explorer = widgets.question_weight_explorer(rule)
    assert "RuntimeError</b>: &lt;b&gt;my bug" in explorer.children[-1].value


def test_the_other_explorers_follow_their_sliders():
    kl, bound = widgets.kl_explorer(), widgets.bound_explorer(*LOGS)
    by_name(kl)["distance"].value = 6.0
    assert live_figures(kl)[0].data[2].y == pytest.approx(widgets.kl_picture(6.0, 0.4, 1.0).data[2].y)
    by_name(bound)["K up to"].value = 4
    assert len(live_figures(bound)[0].data[2].y) == 3
