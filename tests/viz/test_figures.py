"""The numbers in the pictures are the numbers that went in."""

import itertools
import json
import math
import runpy
from pathlib import Path

import pytest

from varcore.llm import ledger
from varcore.viz import figures
from varcore.viz.style import in_order, look, spread

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def bars(figure, axis: str):
    return next(trace for trace in figure.data if trace.type == "bar" and trace.xaxis == axis)


@pytest.mark.parametrize(("axis", "group"), [("x", "all"), ("x2", "2")])
@pytest.mark.parametrize("columns", [1, 2])
def test_method_bars_show_the_scores_and_intervals_of_all_questions_and_of_the_hardest_level(
    results, axis, group, columns
):
    drawn = bars(figures.method_bars(results, columns=columns), axis)
    cells = [results["methods"][role][group]["avg"] for role in ("pi0", "rft", "accuracy", "vr")]
    assert list(drawn.y) == [look(role).label for role in ("pi0", "rft", "accuracy", "vr")]
    assert drawn.x == pytest.approx([100 * cell["mean"] for cell in cells])
    highs = [x + up for x, up in zip(drawn.x, drawn.error_x.array, strict=True)]
    lows = [x - down for x, down in zip(drawn.x, drawn.error_x.arrayminus, strict=True)]
    assert highs == pytest.approx([100 * cell["high"] for cell in cells])
    assert lows == pytest.approx([100 * cell["low"] for cell in cells])


def test_method_bars_share_one_scale_which_holds_every_interval(results):
    figure = figures.method_bars(results)
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range
    highest = max(method[g]["avg"]["high"] for method in results["methods"].values() for g in ("all", "2"))
    assert figure.layout.xaxis.range[1] > 100 * highest


def test_method_bars_without_a_finite_interval_draw_the_mean_alone(results):
    cell = {"mean": 0.3, "low": -math.inf, "high": math.inf}
    one = {"k": 8, "all": {"avg": cell}, "pass_curve": {}}
    figure = figures.method_bars({"methods": {"vr": one}, "levels": {"1": "only"}})
    assert list(bars(figure, "x").error_x.array) == [0.0]
    assert "30.0%" in figure.layout.meta["alt"]


def test_pass_curves_show_every_k(results):
    for trace, role in zip(figures.pass_curves(results).data, ("pi0", "rft", "accuracy", "vr"), strict=True):
        curve = results["methods"][role]["pass_curve"]
        assert trace.x == pytest.approx([0, 1, 2, 3])  # log2 of 1, 2, 4, 8
        assert trace.y == pytest.approx([100 * curve[str(k)] for k in (1, 2, 4, 8)])


def test_training_curves_show_every_step_and_the_trailing_mean(metrics):
    figure = figures.training_curves(metrics)
    rows = [row for row in metrics if row["stage"] == "train-reasoner-vr"]
    thin, thick = [trace for trace in figure.data if trace.name == "VR" and trace.yaxis == "y3"]
    assert list(thin.y) == [row["loss"] for row in rows]
    assert thick.y[10] == pytest.approx((rows[9]["loss"] + rows[10]["loss"]) / 2)  # 40 steps: the last two
    norms = next(trace for trace in figure.data if trace.name == "VR" and trace.yaxis == "y6")
    assert list(norms.y) == [row["gradient_norm"] for row in rows]


def test_training_curves_of_no_training_are_empty():
    assert figures.training_curves([{"stage": "weigh-1", "questions": 3}]).data == ()


def test_weight_bars_show_weights_and_say_why_a_trace_has_none(table):
    rows = table.to_pylist()[:4]
    (drawn,) = figures.weight_bars(table, "q-mixed").data
    assert list(drawn.x) == [row["weight"] for row in rows]
    assert sum(drawn.x) == pytest.approx(1)
    assert drawn.text[2:] == ("unclosed", "no correct answer")
    assert "2/2" in drawn.y[0]


def test_weight_bars_of_a_question_without_weight_say_so(table):
    figure = figures.weight_bars(table, "q-unsolved")
    assert list(figure.data[0].x) == [0, 0, 0, 0]
    assert "none of its 4 traces is usable" in figure.layout.meta["caption"]


def test_weight_bars_name_an_unknown_question(table):
    with pytest.raises(KeyError, match="no question 'nobody'"):
        figures.weight_bars(table, "nobody")


def test_weights_of_a_ledger_that_was_not_weighed_are_refused(prior):
    with pytest.raises(ledger.LedgerError, match="weigh"):
        figures.effective_sample_sizes(prior)


def test_effective_sample_sizes_count_every_question_once_and_unusable_ones_apart(table):
    sizes, largest = figures.effective_sample_sizes(table).data
    assert sum(sizes.y) == 6
    assert sizes.y[0] == 2  # q-unsolved and q-unclosed
    assert sizes.y[4] >= 1  # q-even: four equal traces
    assert sum(largest.y) == 4
    assert largest.y[2] >= 1  # a quarter each


@pytest.fixture(scope="module")
def crowd(table):
    """200 traces of one usable question and of one that has none."""
    rows = [table.to_pylist()[k] for k in (0, 4)]
    many = [{**row, "trace_index": k, "weight": 0.0, "log_weight": -math.inf} for row in rows for k in range(200)]
    for k in range(90):
        many[2 * k] |= {"weight": 1 / 90, "log_weight": -1.0}
    return ledger.from_rows(many)


def test_of_many_traces_the_heaviest_are_drawn_and_the_others_counted(crowd):
    figure = figures.weight_bars(crowd, "q-mixed")
    assert list(figure.data[0].x) == [1 / 90] * 64
    assert figure.data[0].text[0] == "0.01"
    assert "90.0 effective traces out of 200. Drawn are its 64 heaviest traces." in figure.layout.meta["caption"]


def test_of_many_traces_neighbouring_effective_sizes_share_a_bar(crowd):
    figure = figures.effective_sample_sizes(crowd)
    sizes = figure.data[0]
    assert len(sizes.y) == 1 + 50  # 200 sizes, four a bar, after "none"
    assert (sizes.y[0], sizes.y[23], sum(sizes.y)) == (1, 1, 2)  # 90 is in the 23rd group, 89 to 92
    assert "89–92 1," in figure.layout.meta["alt"]
    assert figure.layout.xaxis.ticktext[:2] == ("none", "49–52")


def test_compute_bars_show_what_was_spent(results):
    flops, *kinds = figures.compute_bars(results).data
    assert flops.x == pytest.approx([0, 100, 200, 300])  # gigaFLOPs
    for trace, kind in zip(kinds, ("decode", "prefill", "scored", "trained"), strict=True):
        expected = [results["spent"][role][f"{kind}_tokens"] / 1e3 for role in ("pi0", "rft", "accuracy", "vr")]
        assert trace.x == pytest.approx(expected)


def test_every_figure_says_in_words_what_it_shows(results, table, metrics):
    drawn = [figures.method_bars(results), figures.pass_curves(results), figures.compute_bars(results)]
    drawn += [
        figures.training_curves(metrics),
        figures.effective_sample_sizes(table),
        figures.weight_bars(table, "q-even"),
    ]
    for figure in drawn:
        assert all(figure.layout.meta[name].strip() for name in ("title", "caption", "alt"))
        assert len(figure.layout.meta["caption"]) < 130
        assert figure.layout.title.text


def test_texts_from_a_run_are_not_markup_in_a_figure(results, table):
    assert "&lt;/script&gt;" in figures.method_bars(results).layout.annotations[1].text
    assert "<script" not in figures.weight_bars(table, "q-hostile").layout.title.subtitle.text


def test_known_roles_look_different_and_a_round_looks_like_its_kind():
    roles = ("pi0", "sft", "rft", "grpo", "nohint", "accuracy", "direct", "vr")
    assert len({look(role).colour for role in roles}) == len({look(role).label for role in roles}) == len(roles)
    assert len({(look(role).dash, look(role).symbol) for role in roles}) == len(roles)
    assert look("vr-round1").colour == look("vr").colour
    assert in_order(["vr", "zeta", "pi0"]) == ["pi0", "vr", "zeta"]


def test_spread_moves_crowded_labels_apart_and_leaves_others():
    assert spread([5.0, 1.0], 1.0) == [5.0, 1.0]
    assert spread([1.0, 1.0, 1.0], 1.0) == pytest.approx([0.0, 1.0, 2.0])
    placed = sorted(spread([3.0, 3.1, 3.2, 9.0], 1.0))
    assert all(high - low >= 1 - 1e-9 for low, high in itertools.pairwise(placed))


@pytest.mark.parametrize(("seeds", "interval"), [(1, "none is drawn"), (2, "over 2 seeds")])
def test_the_readme_picture_reads_the_log_that_the_benchmark_writes(results, tmp_path, seeds, interval):
    scripts = [runpy.run_path(str(BENCHMARKS / name)) for name in ("tiny_methods.py", "readme_figure.py")]
    runs = [{**results, "seed": seed} for seed in range(seeds)]
    log = tmp_path / "log.json"
    log.write_text(json.dumps({"regimes": {"tiny": scripts[0]["summary"](runs)}}), encoding="utf-8")
    found, over = scripts[1]["load"](log, "tiny")
    figure = figures.method_bars(found, interval=over)
    assert interval in figure.layout.meta["caption"]
    assert bars(figure, "x").x == pytest.approx([10, 20, 30, 40])
    assert bars(figure, "x2").error_x.array == pytest.approx([0, 0, 0, 0])  # equal seeds, or no interval at all
