"""What the pictures of scores draw is what they were given, and they say what they left out."""

import math

import pytest
import torch

import varcore
from varcore.viz.score_figures import interval_groups, interval_rows, named_curves
from varcore.viz.style import LOOKS

TEXTS = {"title": "Is it more than luck?", "caption": "Mean and 95% interval."}
AXES = ("k, attempts", "share, %")


def test_a_row_is_its_mean_with_whiskers_to_both_ends():
    figure = interval_rows({"seed 1": (2.0, 1.5, 4.0), "<b>all</b>": (-1.0, -3.0, 0.0)}, unit="points", **TEXTS)
    (dots,) = figure.data
    assert dots.x == (2.0, -1.0)
    assert dots.error_x.array == (2.0, 1.0)
    assert dots.error_x.arrayminus == (0.5, 2.0)
    assert figure.layout.yaxis.ticktext == ("seed 1", "&lt;b&gt;all&lt;/b&gt;")
    assert figure.layout.yaxis.autorange == "reversed"  # the first row is on top
    assert figure.layout.shapes[0].x0 == figure.layout.shapes[0].x1 == 0
    assert "eed 1 2 [1.5, 4]" in figure.layout.meta["alt"]


def test_an_interval_without_an_end_shows_its_mean_and_is_counted():
    figure = interval_rows({"one seed": (2.0, -math.inf, math.inf), "all": (1.0, 0.5, 1.5)}, unit="points", **TEXTS)
    assert figure.data[0].x == (2.0, 1.0)
    assert figure.data[0].error_x.array == (0.0, 0.5)
    assert "1 interval is not a finite number and left out" in figure.layout.meta["caption"]


def test_groups_stand_side_by_side_and_their_names_beside_each_other():
    groups = {
        "easy <1>": {"pi0": (2.0, 1.5, 4.0), "ours": (1.0, 0.0, 1.5)},
        "four numbers, hard": {"ours": (3.0, 2.0, 3.5), "pi0": (5.0, -math.inf, math.inf)},  # in another order
    }
    figure = interval_groups(groups, unit="points", **TEXTS)
    start, ours = figure.data
    assert start.y == (2.0, 5.0)
    assert ours.y == (1.0, 3.0)
    assert start.error_y.array == (2.0, 0.0)
    assert start.error_y.arrayminus == (0.5, 0.0)
    assert ours.error_y.array == (0.5, 0.5)
    assert [round(x) for x in (*start.x, *ours.x)] == [0, 1, 0, 1]  # each above its own group's name
    assert all(left < right for left, right in zip(start.x, ours.x, strict=True))
    assert figure.layout.xaxis.ticktext == ("easy &lt;1&gt;", "four numbers, hard")
    assert (start.name, start.marker.color, start.marker.symbol) == ("π₀, the start", LOOKS["pi0"].colour, "square")
    assert ours.name == "ours"
    assert ours.marker.symbol != "square"
    assert "1 interval is not a finite number and left out" in figure.layout.meta["caption"]
    assert "π₀, the start 2 [1.5, 4], ours 1 [0, 1.5]" in figure.layout.meta["alt"]


def test_curves_keep_their_points_and_count_what_is_no_number():
    figure = named_curves([1, 2, 4], {"a": torch.tensor([3.0, math.nan, 5.0]), "b": [1, 1, 1]}, axes=AXES, **TEXTS)
    assert figure.data[0].x == (1.0, 2.0, 4.0)
    assert figure.data[0].y == (3.0, None, 5.0)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == AXES
    assert {"a", "b"} == {note.text.split(" ")[-1] for note in figure.layout.annotations}
    assert "1 value is not a finite number and left out" in figure.layout.meta["caption"]
    assert "from 3 at 1 to 5 at 4" in figure.layout.meta["alt"]
    long = named_curves([500, 8000], {"a": [1, 2]}, axes=AXES, **TEXTS)
    assert "from 1 at 500 to 2 at 8,000" in long.layout.meta["alt"], "spelled out: it is read aloud"


def test_rules_are_named():
    with pytest.raises(ValueError, match="needs a row"):
        interval_rows({}, unit="points", **TEXTS)
    with pytest.raises(ValueError, match=r"lower <= mean <= upper; got \['seed 1'\]"):
        interval_rows({"seed 1": (2.0, 3.0, 4.0)}, unit="points", **TEXTS)
    with pytest.raises(ValueError, match="needs a group"):
        interval_groups({}, unit="points", **TEXTS)
    with pytest.raises(ValueError, match=r"others in \['hard'\]"):
        interval_groups({"easy": {"vr": (1.0, 0.0, 2.0)}, "hard": {}}, unit="points", **TEXTS)
    with pytest.raises(ValueError, match=r"lower <= mean <= upper; got \['vr'\]"):
        interval_groups({"easy": {"vr": (3.0, 0.0, 2.0)}}, unit="points", **TEXTS)
    with pytest.raises(ValueError, match="needs a curve"):
        named_curves([1.0], {}, axes=AXES, **TEXTS)
    with pytest.raises(varcore.ShapeError, match=r"a must be \[2\]"):
        named_curves([1.0, 2.0], {"a": [1.0]}, axes=AXES, **TEXTS)
