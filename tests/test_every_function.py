"""What holds for every function of tensors: no NaN from finite input or -inf, any leading shape, vmap, every dtype.

One table of their arguments.  The draws are seeded and each statement holds for all of them: there are no false alarms.
"""

import inspect
from functools import partial
from typing import NamedTuple

import pytest
import torch
from helpers import INF
from torch import Tensor

import varcore
from varcore import ShapeError, dapo_kept_groups, grpo_advantages

pytestmark = pytest.mark.usefixtures("float64")


class Numbers(NamedTuple):
    """An argument of one question: its last axes, the ends between which most of its values lie, and its extremes."""

    low: float
    high: float
    extremes: tuple[float, ...]
    axes: tuple[int, ...] = (4,)

    def draw(self, *batch: int, dtype: torch.dtype, extreme: float) -> Tensor:
        shape = (*batch, *self.axes)
        usual = self.low + (self.high - self.low) * torch.rand(shape)
        picked = torch.tensor(self.extremes)[torch.randint(len(self.extremes), shape)]
        return torch.where(torch.rand(shape) < extreme, picked, usual).to(dtype)


class Table(Numbers):
    """log q of all traces of a question, which are as many as its last axis; the first can always be drawn."""

    def draw(self, *batch, dtype, extreme):
        logits = super().draw(*batch, dtype=torch.float64, extreme=extreme)
        logits[..., 0] = 0.0
        return logits.log_softmax(-1).to(dtype)


class Counts(Numbers):
    def draw(self, *batch, dtype, extreme):
        return super().draw(*batch, dtype=torch.long, extreme=extreme)


class Verdicts(Numbers):
    def draw(self, *batch, dtype, extreme):
        return torch.rand(*batch, *self.axes) < 0.5


log_prob = Numbers(-3, 0, (-INF, -800.0, 0.0))
log_weight = Numbers(-3, 3, (-INF, -800.0, 0.0, 800.0))
many_log_weights = Numbers(-3, 3, (-INF, -745.0, -740.0, -30.0, 0.0), (30,))
log_answers = Numbers(-3, 0, (-INF, -800.0, 0.0), (4, 2))
table = Table(-3, 0, (-INF, -800.0, 0.0))
probability = Numbers(0, 1, (0.0, 1e-300, 1.0))
accuracy = Numbers(0, 1, (0.0, 1e-300, 1.0), ())
reward = Numbers(-3, 3, (0.0, 1.0, 1e-200, 2e-200))
score = Numbers(0, 1, (0.0, 1.0))
advantage = Numbers(-3, 3, (0.0,))
verdict = Verdicts(0, 1, (0.0,))
count = Counts(0, 9, (0.0,))
number = Counts(0, 9, (0.0,), ())
token = Counts(0, 3, (0.0,), (4, 3))
WORTH = {"alpha": 1.0, "beta": 0.25, "gamma": -0.5}
PAPER = {"ddof": 0, "eps": 0.0}

CASES = [  # name, arguments, settings
    ("accuracy_preferred_threshold", [Numbers(1, 9, (0.0,), ())], {}),
    ("accuracy_worst_case_variance", [accuracy], {}),
    ("avg_at_k", [score], {}),
    ("binary_rl_question_weight", [accuracy], {}),
    ("dapo_kept_groups", [reward], {}),
    ("dapo_question_weight", [accuracy], {}),
    ("dapo_question_weight", [accuracy], {"group_size": 5}),
    ("debiased_reward", [verdict, verdict, probability, probability], WORTH),
    ("debiased_reward", [verdict, verdict, probability, probability], {"alpha": 1.0, "beta": 1.0, "gamma": 0.0}),
    ("debiased_reward", [verdict, verdict, probability, probability], {"alpha": 1.0, "beta": 0.0, "gamma": 0.5}),
    ("debiased_reward_optimum", [probability, probability], WORTH),
    ("dr_grpo_advantages", [reward], {}),
    ("dr_grpo_question_weight", [accuracy], {}),
    ("dr_grpo_question_weight", [accuracy], {"group_size": 5}),
    ("duplicate_fraction", [token], {}),
    ("effective_sample_size", [log_weight], {}),
    ("elbo", [log_weight], {}),
    ("exact_elbo", [table, log_prob, table], {}),
    ("exact_iwae_bound", [table, log_prob, table], {"num_samples": 3}),
    ("exact_kl", [table, table], {}),
    ("exact_log_evidence", [table, log_prob], {}),
    ("exact_true_posterior", [table, log_prob], {}),
    ("expected_accuracy_loss", [log_prob, probability], {}),
    ("forward_kl_loss", [log_prob, probability], {}),
    ("forward_kl_question_weight", [accuracy], {}),
    ("forward_kl_question_weight", [accuracy], {"num_traces": 5}),
    ("grpo_advantages", [reward], {}),
    ("grpo_advantages", [reward], PAPER),
    ("grpo_question_weight", [accuracy], {}),
    ("grpo_question_weight", [accuracy], {"group_size": 5}),
    ("iwae_bound", [log_weight], {}),
    ("iwae_posterior_loss", [log_prob, log_weight], {}),
    ("iwae_reasoner_loss", [log_prob, log_weight], {}),
    ("likelihood_worst_case_variance", [accuracy, number], {}),
    ("local_forward_kl", [table, log_prob], {}),
    ("log_accuracy_correctness", [score], {"num_answers": 8}),
    ("log_geometric_mean_correctness", [log_prob, count], {}),
    ("log_importance_weights", [log_prob, log_prob, log_prob], {}),
    ("log_likelihood_correctness", [log_answers, number], {}),
    ("maximum_likelihood_question_weight", [accuracy], {}),
    ("maxrl_advantages", [score], {}),
    ("maxrl_question_weight", [accuracy], {}),
    ("maxrl_question_weight", [accuracy], {"group_size": 5}),
    ("normalized_weights", [log_weight], {}),
    ("one_kept_advantages", [reward], {}),
    ("pareto_k", [many_log_weights], {}),
    ("pass_at_k", [Numbers(8, 16, (9.0,), ()), Numbers(0, 8, (0.0,), ())], {"k": 3}),
    ("policy_gradient_loss", [log_prob, advantage], {}),
    ("quadrature_iwae_bound", [table, log_prob, table], {"num_samples": 3}),
    ("reinforce_advantages", [reward], {}),
    ("reverse_kl_loss", [log_prob, log_weight], {}),
    ("rft_loss", [log_prob, score], {}),
    ("rft_one_kept_question_weight", [accuracy], {}),
    ("rft_one_kept_question_weight", [accuracy], {"group_size": 5}),
    ("rft_question_weight", [accuracy], {}),
    ("rloo_advantages", [reward], {}),
    ("rloo_question_weight", [accuracy], {"group_size": 5}),
    ("shaped_reward", [verdict, verdict], WORTH),
    ("shaped_reward_optimum", [probability, probability], WORTH),
    ("tempered_log_weights", [log_prob, log_prob, log_prob, count], {}),
    ("tempered_log_weights", [log_prob, log_prob, log_prob, count], {"exponent": 0}),
    ("tempered_log_weights", [log_prob, log_prob, log_prob, count], {"exponent": 1}),
    ("truncated_log_weights", [log_weight], {}),
    ("vimco_posterior_loss", [log_prob, log_weight], {}),
]
CERTIFIED = [
    (partial(getattr(varcore, name), grpo_advantages, group_size=5, kept=kept), [accuracy])
    for name in ("certified_question_weight", "certified_exchangeable_question_weight")
    for kept in (None, dapo_kept_groups)
]
FUNCTIONS = [(partial(getattr(varcore, name), **settings), arguments) for name, arguments, settings in CASES]
# These work element by element, so that no traces give no traces.
ELEMENTWISE = {
    "debiased_reward",
    "log_accuracy_correctness",
    "log_geometric_mean_correctness",
    "log_importance_weights",
    "log_likelihood_correctness",
    "shaped_reward",
    "tempered_log_weights",
}
ELSEWHERE = {"bootstrap_interval", "list_traces", "log_answer_probs", "paired_bootstrap"}  # no tensor function

every_function = pytest.mark.parametrize(
    ("function", "arguments"),
    FUNCTIONS + CERTIFIED,
    ids=[f"{name}-{settings}" for name, _, settings in CASES] + [f"certified-{i}" for i in range(len(CERTIFIED))],
)


def test_no_function_is_forgotten():
    functions = {name for name in varcore.__all__ if inspect.isfunction(getattr(varcore, name))}
    assert {function.func.__name__ for function, _ in FUNCTIONS + CERTIFIED} | ELSEWHERE == functions


def draw(arguments, *batch, dtype=torch.float64, extreme=0.0):
    return [argument.draw(*batch, dtype=dtype, extreme=extreme) for argument in arguments]


@every_function
@pytest.mark.parametrize("extreme", [0.3, 0.8])
def test_no_nan_comes_out_of_finite_input_or_minus_infinity(function, arguments, extreme):
    # the integrand of quadrature is taken at 13,000 points of each question
    questions = 100 if function.func is varcore.quadrature_iwae_bound else 1000
    given = draw(arguments, questions, extreme=extreme)
    leaves = [x.requires_grad_() for x in given if x.is_floating_point()]
    value = function(*given)
    assert not value.isnan().any()
    if value.requires_grad:
        for grad in torch.autograd.grad(value.sum(), leaves, allow_unused=True, materialize_grads=True):
            assert not grad.isnan().any()


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@every_function
def test_anomaly_mode_has_nothing_to_report(function, arguments):
    # it raises where a NaN passes through the backward, even one that is masked later, as those of W(0) and W(1) are
    if function.func.__name__.endswith("question_weight"):
        return
    with torch.autograd.detect_anomaly():
        value = function(
            *[x.requires_grad_() if x.is_floating_point() else x for x in draw(arguments, 200, extreme=0.5)]
        )
        if value.requires_grad:
            value.sum().backward()


@every_function
def test_any_leading_shape_and_vmap_are_a_loop(function, arguments):
    given = draw(arguments, 2, 3, extreme=0.3)
    value = function(*given)
    looped = torch.stack([torch.stack([function(*(x[i, j] for x in given)) for j in range(3)]) for i in range(2)])
    torch.testing.assert_close(value, looped, rtol=1e-12, atol=1e-12)
    if function.func is not varcore.quadrature_iwae_bound:  # which says so
        mapped = torch.func.vmap(torch.func.vmap(function))(*given)
        torch.testing.assert_close(mapped, looped, rtol=1e-12, atol=1e-12)


@every_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_is_kept_and_near_double(function, arguments, dtype):
    given = draw(arguments, 200, dtype=dtype)
    if dtype == torch.bfloat16 and function.func is varcore.quadrature_iwae_bound:
        with pytest.raises(ValueError, match="summing to one"):  # in two digits it does not
            function(*given)
        return
    value = function(*given)
    if any(x.is_floating_point() for x in given) and value.is_floating_point():
        assert value.dtype == dtype
    # against double on the same, rounded, arguments: the function's own error
    exact = function(*(x.double() if x.is_floating_point() else x for x in given)).double()
    same = value == exact  # -inf, too
    error = ((value.double() - exact).abs() / (1 + exact.abs())).masked_fill(same, 0.0).max().item()
    cancels = function.func is varcore.vimco_posterior_loss  # a difference of two bounds
    assert error < (20 if cancels else 10) * torch.finfo(dtype).eps


@every_function
def test_a_question_without_traces_is_refused_by_name(function, arguments):
    given = draw(arguments, 2)
    if not arguments[0].axes:
        return
    first = 1  # the axis of the traces, after that of the questions
    empty = [x.narrow(first, 0, 0) if argument.axes else x for x, argument in zip(given, arguments, strict=True)]
    if function.func.__name__ in ELEMENTWISE:
        assert function(*empty).shape == (2, 0)
    else:
        with pytest.raises(ShapeError, match=f"^{function.func.__name__}: needs"):
            function(*empty)


@every_function
def test_a_single_number_is_refused_by_name(function, arguments):
    if not arguments[0].axes or function.func.__name__ in ELEMENTWISE:
        return
    bare = partial(inspect.unwrap(function.func), **function.keywords)  # not stopped by its annotations
    with pytest.raises(ShapeError, match=f"^{function.func.__name__}: needs"):
        bare(*(x.flatten()[0] for x in draw(arguments)))


@every_function
def test_unequal_shapes_are_refused_by_name(function, arguments):
    given = draw(arguments, 2)
    bare = partial(inspect.unwrap(function.func), **function.keywords)  # not stopped by its annotations
    alike = given[:2] if function.func is varcore.debiased_reward else given  # its rates may be broadcast
    for i, argument in enumerate(arguments[: len(alike)] if len(given) > 1 else []):
        if argument is not number:  # which may be one for all questions
            with pytest.raises(ShapeError, match=f"^{function.func.__name__}: .* shape"):
                bare(*given[:i], given[i][0], *given[i + 1 :])


@every_function
def test_the_default_dtype_does_not_matter(function, arguments):
    given = draw(arguments, 20, extreme=0.3)
    if not any(x.is_floating_point() for x in given):
        return  # verdicts and ids give the default dtype
    expected = function(*given)
    torch.set_default_dtype(torch.float32)
    try:
        assert torch.equal(function(*given), expected)
    finally:
        torch.set_default_dtype(torch.float64)


READ_VALUES = {"certified_exchangeable_question_weight", "quadrature_iwae_bound"}


@every_function
def test_results_stay_on_the_device_of_the_arguments(function, arguments):
    # "meta" has shapes and no values: a device that every machine has beside the CPU
    given = [x.to("meta") for x in draw(arguments, 2)]
    if function.func.__name__ not in READ_VALUES:
        assert function(*given).device.type == "meta"
