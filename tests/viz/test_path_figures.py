"""What the picture of training runs draws is the median and the middle 90% of its seeds."""

import math

import pytest
import torch

import varcore
from varcore.viz.path_figures import seed_paths
from varcore.viz.style import LOOKS

STEPS = [0, 10, 20]
SEEDS = torch.arange(21.0)[:, None]  # of 0 ... 20 the quantiles 5%, 50% and 95% are 1, 10 and 19
RISING = SEEDS * torch.tensor([1.0, 2.0, 3.0])


def test_line_is_the_median_and_band_the_middle_of_the_seeds():
    band, middle = seed_paths(STEPS, {"entropy, nats": {"forward KL": RISING}}).data
    assert middle.x == (0.0, 10.0, 20.0)
    assert middle.y == pytest.approx([10.0, 20.0, 30.0])
    assert band.x == (0.0, 10.0, 20.0, 20.0, 10.0, 0.0)
    assert band.y == pytest.approx([1.0, 2.0, 3.0, 57.0, 38.0, 19.0])
    assert band.fillcolor == middle.line.color == LOOKS["forward kl"].colour


def test_every_measure_has_a_panel_and_every_method_one_name():
    methods = {"forward KL": RISING, "reverse KL": -RISING}
    figure = seed_paths(STEPS, {"nats": methods, "<b>share</b>": methods, "third": {"reverse KL": RISING}})
    assert [axis.title.text for axis in figure.select_yaxes()][:3] == ["nats", "&lt;b&gt;share&lt;/b&gt;", "third"]
    assert [trace.name for trace in figure.data if trace.showlegend] == ["forward KL", "reverse KL"]
    assert [trace.yaxis for trace in figure.data if trace.name == "reverse KL"] == ["y", "y2", "y3"]
    assert "nats, reverse KL -30 (-57 to -3)" in figure.layout.meta["alt"]


def test_what_is_no_number_is_left_out_and_counted():
    rows = torch.tensor([[1.0, math.nan, 3.0], [3.0, math.inf, 5.0]])
    figure = seed_paths(STEPS, {"nats": {"q": rows}})
    assert figure.data[1].y == (2.0, None, 4.0)
    assert len(figure.data[0].x) == 4
    assert "2 values are not finite numbers and left out" in figure.layout.meta["caption"]


def test_logarithmic_axes_leave_out_what_has_no_logarithm():
    figure = seed_paths(STEPS, {"nats": {"q": torch.tensor([[0.0, 1.0, -1.0], [1.0, 3.0, 4.0]])}}, log_axis=True)
    assert figure.layout.yaxis.type == "log"
    assert {"0.3", "1", "3"} <= set(figure.layout.yaxis.ticktext)  # two a decade: a narrow range still has some
    assert figure.data[1].y == pytest.approx((1.0, 2.0, 4.0))
    assert "2 values" in figure.layout.meta["caption"]


def test_rules_are_named():
    with pytest.raises(varcore.ShapeError, match=r"q must be \[S, 3\].*\(3, 21\).*Use values\.T"):
        seed_paths(STEPS, {"nats": {"q": RISING.T}})
    with pytest.raises(varcore.ShapeError, match=r"One run\? Use values\[None\]"):
        seed_paths(STEPS, {"nats": {"q": RISING[0]}})
    with pytest.raises(ValueError, match="steps must rise"):
        seed_paths([0, 20, 10], {"nats": {"q": RISING}})
    with pytest.raises(ValueError, match="needs a measure and a method"):
        seed_paths(STEPS, {"nats": {}})
