"""What the lessons' figures draw is what the mathematics says."""

import math

import pytest
import torch

import varcore
from varcore.viz import drawing, lesson_figures
from varcore.viz.style import LOOKS

NAN, INF = math.nan, math.inf
P = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
HOSTILE = ["<script>alert(1)</script>", "", "שלום", "\u202eevil", "a\nb"]


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def every_figure():
    logs = torch.log_softmax(torch.arange(5.0), -1)
    return {
        "posterior_bars": lesson_figures.posterior_bars(HOSTILE, {"prior": logs, "q": logs.flip(0)}),
        "bound_curve": lesson_figures.bound_curve([1, 2], [-2.0, -1.5], [0.1, 0.1], log_evidence=-1.0),
        "kl_fits": lesson_figures.kl_fits(P, P.exp(), {"forward KL": P, "reverse KL": 1 - P}),
        "question_weight_curves": lesson_figures.question_weight_curves(P, {"RFT": P}),
        "variance_curves": lesson_figures.variance_curves([1, 2, 3], 0.5),
        "token_log_ratio": lesson_figures.token_log_ratio(HOSTILE, logs),
        "diagnostics_over_questions": lesson_figures.diagnostics_over_questions(torch.randn(4, 32)),
        "length_ratio_density": lesson_figures.length_ratio_density(torch.rand(9), torch.rand(9)),
    }


def texts(figure) -> str:
    """All that plotly would read as its little HTML: the alt text in layout.meta is not drawn."""
    drawn = figure.to_plotly_json()
    drawn["layout"] = {key: value for key, value in drawn["layout"].items() if key not in ("meta", "template")}
    return str(drawn)


def test_every_figure_has_a_title_a_caption_words_and_named_axes():
    for name, figure in every_figure().items():
        assert all(figure.layout.meta[part].strip() for part in ("title", "caption", "alt")), name
        assert len(figure.layout.meta["caption"]) < 200, name
        if name != "token_log_ratio":  # boxes of text have no axes
            axes = [*figure.select_xaxes(), *figure.select_yaxes()]
            assert sum(bool(axis.title.text) for axis in axes) >= len(axes) - (name == "posterior_bars"), name


def test_text_from_traces_is_shown_as_text():
    for figure in every_figure().values():
        assert "<script" not in texts(figure)
        assert "\u202e" not in texts(figure)
    ticks = lesson_figures.posterior_bars(HOSTILE, {"q": torch.zeros(5)}).layout.yaxis.ticktext
    assert ticks[:3] == ("&lt;script&gt;alert(1)&lt;/script&gt;", "∅", "שלום")


def test_posterior_bars_are_the_probabilities_of_every_trace():
    log_prior, log_correctness = torch.log(doubles(0.5, 0.3, 0.2)), torch.log(doubles(0.2, 0.9, 0.0))
    truth = varcore.exact_true_posterior(log_prior, log_correctness).log()
    figure = lesson_figures.posterior_bars(["a", "a", "b"], {"prior": log_prior, "true posterior": truth})
    prior, posterior = figure.data
    assert prior.x == pytest.approx([0.5, 0.3, 0.2])
    assert posterior.x == pytest.approx([0.10 / 0.37, 0.27 / 0.37, 0.0])
    assert posterior.y == (0, 1, 2)  # two traces with one text stay two
    assert "true posterior: most likely is a, 0.73" in figure.layout.meta["alt"]


def test_posterior_bars_say_in_words_how_many_traces_tie_for_the_first_place():
    values = {"prior": torch.log(doubles(0.2, 0.4, 0.4)), "q": torch.log(doubles(0.2, 0.5, 0.3))}
    words = lesson_figures.posterior_bars(["a", "b", "c"], values).layout.meta["alt"]
    assert "prior π(z|x): most likely is b, 0.4 (1 more as likely)" in words
    assert words.count("as likely") == 1


def test_posterior_bars_leave_nan_out_and_refuse_what_is_no_log_probability():
    figure = lesson_figures.posterior_bars(["a", "b"], {"q": doubles(NAN, -1.0)})
    assert "1 value is not a finite number and left out" in figure.layout.meta["caption"]
    with pytest.raises(ValueError, match="Take the logarithm"):
        lesson_figures.posterior_bars(["a", "b"], {"q": doubles(0.5, 0.5)})
    with pytest.raises(varcore.ShapeError, match=r"q must be \[2\].*\(1, 2\)"):
        lesson_figures.posterior_bars(["a", "b"], {"q": doubles(-1.0, -1.0)[None]})


def test_bound_curve_draws_bounds_bands_and_the_evidence():
    means, halves, exact = [-1.5, NAN, -1.2], [0.2, 0.1, 0.05], [-1.51, -1.3, -1.21]
    figure = lesson_figures.bound_curve([1, 2, 8], means, halves, log_evidence=torch.tensor(-1.0), exact=exact)
    band, line, dots = figure.data
    assert line.x == (0.0, 3.0)  # log2 of K; K = 2 has no finite estimate
    assert line.y == (-1.5, -1.2)
    assert band.y == pytest.approx([-1.7, -1.25, -1.15, -1.3])
    assert dots.y == tuple(exact)
    assert figure.layout.shapes[0].y0 == -1.0
    assert "left out" in figure.layout.meta["caption"]
    with pytest.raises(ValueError, match="K is at least 1"):
        lesson_figures.bound_curve([0, 1], [0.0, 0.0], [0.0, 0.0], log_evidence=0.0)


def test_kl_fits_draw_the_densities():
    fits = {"forward KL": P.sin(), "reverse KL": P.cos()}
    target, forward, reverse = lesson_figures.kl_fits(P, P, fits).data
    assert target.fill == "tozeroy"
    assert forward.y == pytest.approx(fits["forward KL"].tolist())
    assert reverse.y == pytest.approx(fits["reverse KL"].tolist())
    assert (forward.line.color, forward.line.dash) != (reverse.line.color, reverse.line.dash)
    with pytest.raises(ValueError, match="not their logarithms"):
        lesson_figures.kl_fits(P, P.log(), fits)


def test_question_weight_curves_draw_w_and_say_what_leaves_the_picture():
    grpo = varcore.grpo_question_weight(P)
    figure = lesson_figures.question_weight_curves(P, {"RFT": P, "GRPO": grpo, "own": P})
    assert figure.data[1].y == pytest.approx(grpo.tolist())
    assert figure.layout.yaxis.range[1] == pytest.approx(4.0)
    assert "exceed 4" in figure.layout.meta["caption"]
    labels = [note for note in figure.layout.annotations if note.name == "line label"]
    assert [label.text.split("> ")[1] for label in labels] == ["RFT", "GRPO", "own"]
    low, high = figure.layout.yaxis.range
    assert all(low <= label.y <= high for label in labels)


def test_logarithmic_weight_curves_leave_out_what_has_no_logarithm():
    p = doubles(0.0, 0.1, 1.0)
    figure = lesson_figures.question_weight_curves(p, {"odd": doubles(0.0, -1.0, 10.0)}, log_axis=True)
    assert figure.layout.yaxis.type == figure.layout.xaxis.type == "log"
    assert figure.data[0].y == (None, None, 10.0)
    assert "2 values are not finite numbers" in figure.layout.meta["caption"]


def test_variance_curves_are_theorem_1_and_cross_at_one_over_a():
    likelihood, accuracy = lesson_figures.variance_curves([1, 4, 9], 0.25).data
    assert likelihood.y == pytest.approx([0.0, 3 / 16, 8 / 16])
    assert accuracy.y == pytest.approx([3 / 16] * 3)
    assert len(lesson_figures.variance_curves([1, 4], doubles(0.1, 0.5)).data) == 4
    with pytest.raises(ValueError, match="not log a"):
        lesson_figures.variance_curves([1], -0.5)


def test_tokens_carry_their_sign_without_colour():
    (boxes,) = lesson_figures.token_log_ratio(["up", "down", "same", "bad"], doubles(0.5, -1.25, 0.0, NAN)).data
    marks = [text.split(">")[2].removesuffix("</span") for text in boxes.text]
    assert marks == ["▲ +0.50", "▼ −1.25", "= 0.00", "? NaN"]
    assert boxes.marker.color[1] == drawing.tint(-1.0)
    assert "log π − log q ▼ −1.25 nats" in boxes.hovertext[1]


def test_tokens_of_an_empty_and_of_an_endless_trace():
    empty = lesson_figures.token_log_ratio([], torch.zeros(0))
    assert "empty" in empty.layout.meta["caption"]
    long = lesson_figures.token_log_ratio(["x"] * 1000, torch.zeros(1000))
    assert len(long.data[0].x) == lesson_figures.MOST_TOKENS
    assert "last 400 of 1,000 tokens" in long.layout.meta["caption"]
    with pytest.raises(varcore.ShapeError, match="log_ratios"):
        lesson_figures.token_log_ratio(["a"], torch.zeros(2))


def test_boxes_of_tokens_never_overlap():
    starts, rows = drawing.wrapped([40.0, 40.0, 40.0, 120.0, 10.0], 100.0)
    assert starts == [0.0, 40.0, 0.0, 0.0, 0.0]
    assert rows == [0, 0, 1, 2, 3]


def test_diagnostics_are_ess_and_k_hat_sorted():
    torch.manual_seed(0)
    logs = torch.randn(6, 32, dtype=torch.float64)
    logs[1], logs[2, 3] = -INF, NAN
    sizes, tails = lesson_figures.diagnostics_over_questions(logs).data
    kept = logs[[0, 1, 3, 4, 5]]
    assert sizes.y == pytest.approx(varcore.effective_sample_size(kept).sort().values.tolist())
    assert sizes.y[0] == 0  # no usable trace
    assert tails.y == pytest.approx(varcore.pareto_k(logs[[0, 3, 4, 5]]).sort().values.tolist())
    assert "1 question is not a finite number" in lesson_figures.diagnostics_over_questions(logs).layout.meta["caption"]


def test_diagnostics_count_the_questions_with_a_heavy_tail_among_those_that_have_a_tail():
    torch.manual_seed(0)
    logs = 4 * torch.randn(7, 32, dtype=torch.float64)
    logs[5], logs[6] = 0.0, -INF  # all weights tie; no usable trace
    tails = varcore.pareto_k(logs[:5])
    heavy = int((tails > 0.7).sum())
    assert 0 < heavy < 5
    said = f"k-hat above 0.7 for {heavy} of the 5 that have one; ties leave 1 without."
    meta = lesson_figures.diagnostics_over_questions(logs).layout.meta
    assert said in meta["caption"]
    assert said in meta["alt"]
    assert "ties" not in lesson_figures.diagnostics_over_questions(logs[:5]).layout.meta["caption"]


def test_diagnostics_of_few_traces_or_one_question():
    assert len(lesson_figures.diagnostics_over_questions(torch.randn(1, 8)).data) == 1  # no k-hat below K = 25
    assert len(lesson_figures.diagnostics_over_questions(torch.randn(1, 25)).data) == 2
    with pytest.raises(varcore.ShapeError, match="unsqueeze"):
        lesson_figures.diagnostics_over_questions(torch.randn(8))


def test_density_counts_every_trace_once_and_draws_the_median():
    lengths, ratios = doubles(1, 1, 1, 9, NAN), doubles(-1.0, -2.0, -6.0, -9.0, 0.0)
    heat, median = lesson_figures.length_ratio_density(lengths, ratios).data
    assert sum(map(sum, heat.z)) == 4
    assert [heat.z[row][0] for row in range(2)] == [1, 2]  # below and above the middle, -5
    assert median.y == pytest.approx([-2.0, -9.0])
    with pytest.raises(varcore.ShapeError, match="length_ratio_density"):
        lesson_figures.length_ratio_density(torch.zeros(2, 3), torch.zeros(3, 2))


def test_density_says_the_slope():
    lengths = torch.arange(1.0, 50.0)
    figure = lesson_figures.length_ratio_density(lengths, -0.25 * lengths)
    assert "−0.250 nats" in figure.layout.meta["caption"]
    assert "correlation -1.00" in figure.layout.meta["alt"]
    assert "too few" in lesson_figures.length_ratio_density(torch.ones(1), torch.ones(1)).layout.meta["caption"]


def test_names_that_begin_with_a_role_look_like_it_and_none_look_alike():
    names = ["GRPO, G = 8", "GRPO, G = 64", "Dr. GRPO", "q", "mine", "yours", "<b>"]
    looks = drawing.looks_of(names)
    assert looks["GRPO, G = 64"].colour == looks["GRPO, G = 8"].colour == LOOKS["grpo"].colour
    assert looks["Dr. GRPO"].colour == LOOKS["dr grpo"].colour
    assert len({(look.colour, look.dash) for look in looks.values()}) == len(names)
    assert looks["<b>"].label == "&lt;b&gt;"


def test_no_two_lines_share_a_dash_or_a_marker_while_these_last():
    names = ["a shaped reward", "another", "prior", "reverse KL", "floored reverse KL", "true posterior"]
    looks = drawing.looks_of(names)
    assert list(looks) == names
    assert len({look.dash for look in looks.values()}) == len({look.symbol for look in looks.values()}) == len(names)
    assert looks["prior"].dash == LOOKS["prior"].dash  # "reverse KL" would have the same, and comes later
    assert looks["true posterior"].symbol == LOOKS["true posterior"].symbol  # roles choose before other names
    assert LOOKS["true posterior"].colour not in {looks[name].colour for name in names[:5]}
    logs = torch.log_softmax(torch.arange(4.0), -1)
    bars = lesson_figures.posterior_bars("abcd", dict.fromkeys(names, logs)).data
    assert len({bar.marker.pattern.shape for bar in bars}) == len(names)


def test_lines_that_coincide_show_their_markers_in_turn_and_in_the_legend():
    names, at = ["forward KL", "reverse KL", "q"], torch.linspace(0, 1, 51, dtype=torch.float64)
    figure = lesson_figures.kl_fits(at, at, dict.fromkeys(names, at))
    marked = [{index for index, size in enumerate(drawn.marker.size) if size} for drawn in figure.data]
    assert all(marked)
    assert not set.intersection(marked[0], marked[1]) | set.intersection(marked[1], marked[2])
    assert figure.layout.legend.itemsizing == "constant"  # else a first point without a marker has none there
