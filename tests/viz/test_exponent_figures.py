"""The bargain of the exponent, drawn: the points are those of a model whose limit is known in closed form."""

import math

import pytest
import torch

import varcore
from varcore.viz.exponent_figures import exponent_tradeoff

# pi = (1/2, 1/2), q = (4/5, 1/5), both traces always right.  rho = ((5/8)^a, (5/2)^a), so the limit gives the first
# trace 4 / (4 + 4^a): 4/5, 2/3, 1/2 at a = 0, 1/2, 1; and (E rho)^2 / E rho^2 is 1, 0.81 / 0.9, 1 / 1.5625.
EXPONENTS, SHARES = [0.0, 0.5, 1.0], [1.0, 0.9, 0.64]
GAPS = [0.8 * math.log(1.6) + 0.2 * math.log(0.4), 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3), 0.0]


def from_the_library(exponent: float) -> tuple[torch.Tensor, torch.Tensor]:
    log_prior, log_q = torch.tensor([[0.5, 0.5], [0.8, 0.2]], dtype=torch.float64).log()
    lengths = torch.tensor([3, 7])
    log_weights = varcore.tempered_log_weights(log_prior, log_q, torch.zeros_like(log_q), lengths, exponent)
    mean, square = ((log_q + power * log_weights).logsumexp(-1) for power in (1, 2))
    limit = (log_q + log_weights).log_softmax(-1)
    return (2 * mean - square).exp(), varcore.exact_kl(limit, varcore.exact_true_posterior(log_prior, log_q * 0).log())


def test_points_are_those_of_the_model_in_the_order_of_their_exponents():
    shares, gaps = zip(*map(from_the_library, [1.0, 0.0, 0.5]), strict=True)
    (curve,) = exponent_tradeoff([1.0, 0.0, 0.5], torch.stack(shares), torch.stack(gaps)).data
    assert curve.customdata == (0.0, 0.5, 1.0)
    assert curve.x == pytest.approx([100 * share for share in SHARES])
    assert curve.y == pytest.approx(GAPS, abs=1e-12)
    assert curve.text == ("α = 0", "0.5", "1")


def test_the_length_rule_is_a_star_inside_the_picture():
    figure = exponent_tradeoff(EXPONENTS, SHARES, GAPS, length_rule=(0.7, 2.5))
    star = figure.data[1]
    assert (star.x[0], star.y[0], star.text[0], star.marker.symbol) == (pytest.approx(70), 2.5, "1/|z|", "star")
    assert figure.layout.yaxis.range[1] > 2.5
    assert "1/|z|: 70.0 of 100, 2.5 nats" in figure.layout.meta["alt"]
    assert "1/|z|" not in exponent_tradeoff(EXPONENTS, SHARES, GAPS).layout.meta["alt"]


def test_axes_title_caption_and_words():
    figure = exponent_tradeoff(EXPONENTS, SHARES, GAPS)
    assert figure.layout.xaxis.title.text == "effective traces of 100 drawn"
    assert "nats" in figure.layout.yaxis.title.text
    assert "exponent 0.5: 90.0 of 100 traces, 0.0566 nats" in figure.layout.meta["alt"]
    assert 0 < len(figure.layout.meta["caption"]) < 200


def test_crowded_points_share_a_label_and_all_are_drawn():
    (curve,) = exponent_tradeoff([0.0, 0.01, 0.5], [0.9, 0.899, 0.5], [1.0, 0.99, 0.2]).data
    assert curve.text == ("α = 0", "", "0.5")
    assert len(curve.x) == 3


def test_what_is_not_a_number_is_left_out_and_said_so():
    figure = exponent_tradeoff(EXPONENTS, [1.0, math.nan, 0.64], GAPS)
    assert figure.data[0].customdata == (0.0, 1.0)
    assert "1 point is not a finite number and left out" in figure.layout.meta["caption"]
    nothing = exponent_tradeoff([1.0], [math.nan], [math.inf])
    assert nothing.data[0].x == ()


def test_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match=r"share of the traces.*97.*Divide by K"):
        exponent_tradeoff([0.0], [97.0], [1.0])
    with pytest.raises(ValueError, match="a KL is at least 0"):
        exponent_tradeoff([0.0], [0.5], [-0.1])
    with pytest.raises(ValueError, match="share of the traces"):
        exponent_tradeoff([0.0], [0.5], [0.1], length_rule=(1.5, 0.1))
    with pytest.raises(varcore.ShapeError, match="gaps must be"):
        exponent_tradeoff([0.0, 1.0], [0.5, 0.5], [1.0])
