"""The signal-to-noise picture draws the numbers it is given, and says what it cannot draw."""

import math

import pytest

import varcore
from varcore.viz.gradient_figures import ROOM, signal_to_noise_curves
from varcore.viz.style import LOOKS

NAN = math.nan
RISING, FALLING = ([1.0, 1.4, 2.0], [0.1, 0.2, 0.1]), ([0.5, 0.05, 0.01], [0.05, 0.02, 0.03])


def test_lines_bands_and_exact_points_are_the_numbers_given():
    figure = signal_to_noise_curves(
        [2, 4, 8],
        {"reasoner, Eq. 6": RISING, "posterior, A.2": FALLING},
        exact={"reasoner, Eq. 6": [1.1, NAN, NAN], "posterior, A.2": [0.4, 0.06, NAN]},
    )
    rising, rising_band, falling, falling_band, *exact = figure.data
    assert rising.x == falling.x == (2.0, 4.0, 8.0)
    assert rising.y == tuple(RISING[0])
    assert rising_band.y == pytest.approx([0.9, 1.2, 1.9, 2.1, 1.6, 1.1])
    assert falling_band.y[2] == pytest.approx(ROOM * 0.01)  # 0.01 - 0.03 has no logarithm
    assert [(dots.x, dots.y) for dots in exact] == [((2.0,), (1.1,)), ((2.0, 4.0), (0.4, 0.06))]
    assert [dots.showlegend for dots in exact] == [True, False]
    assert not any(dots.cliponaxis for dots in exact)  # the first of them stands on the axis
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert rising.line.color == LOOKS["reasoner"].colour
    assert falling.line.color == LOOKS["posterior"].colour
    assert "reasoner, Eq. 6: from 1 at 2 to 2 at 8" in figure.layout.meta["alt"]
    assert "Left out" not in figure.layout.meta["caption"]


def test_every_line_carries_its_name_inside_the_picture():
    figure = signal_to_noise_curves([2, 4, 8], {"posterior, A.2": FALLING, "posterior, <i>": RISING})
    labels = [note for note in figure.layout.annotations if note.name == "line label"]
    assert [label.text.split("> ")[1] for label in labels] == ["posterior, A.2", "posterior, &lt;i&gt;"]
    low, high = figure.layout.yaxis.range
    assert all(low <= label.y <= high for label in labels)
    assert figure.data[0].line.dash != figure.data[2].line.dash  # one role, two lines


def test_the_order_of_the_ks_does_not_matter():
    shuffled = signal_to_noise_curves([8, 2, 4], {"q": ([2.0, 1.0, 1.4], [0.1, 0.1, 0.2])})
    for drawn, expected in zip(shuffled.data, signal_to_noise_curves([2, 4, 8], {"q": RISING}).data, strict=True):
        assert (drawn.x, drawn.y) == (expected.x, expected.y)


def test_what_has_no_logarithm_is_left_out_and_counted():
    figure = signal_to_noise_curves([1, 2, 4], {"q": ([NAN, 0.3, -0.1], [NAN, 0.1, 0.1])})
    assert figure.data[0].y == (None, 0.3, None)
    assert figure.data[1].y == pytest.approx([0.2, 0.4])
    assert "Left out, not positive: 2 of 3 ratios." in figure.layout.meta["caption"]
    nothing = signal_to_noise_curves([1, 2], {"q": ([NAN, NAN], [NAN, NAN])})
    assert nothing.layout.meta["alt"].endswith("nothing.")


def test_bad_input_is_refused_with_its_repair():
    with pytest.raises(ValueError, match=r"K is at least 1; got 0.*Drop smaller"):
        signal_to_noise_curves([0, 1], {"q": ([1, 1], [0, 0])})
    with pytest.raises(ValueError, match="needs an estimator"):
        signal_to_noise_curves([1], {})
    with pytest.raises(varcore.ShapeError, match=r"q must be \[2\]"):
        signal_to_noise_curves([1, 2], {"q": ([1, 1, 1], [0, 0, 0])})
