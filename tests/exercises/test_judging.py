"""What a reader is told whose mistake nobody foresaw, and a task that judges by `examine` alone."""

import itertools

import pytest
import torch

from varcore.exercises.judging import judge
from varcore.exercises.task import Case, Task, find


def said(answer, task: Task | None = None) -> str:
    return judge(task or find("1.3"), answer, torch.Generator().manual_seed(0)).because


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x.mean(-1).tolist(), "on three questions of four traces it returns a value of type list, where the"),
        (lambda x: x.mean(-1, keepdim=True), "the result has shape (3, 1), where the spec asks for (3,)"),
        (lambda x: x.mean(-1).float(), "the result has dtype torch.float32, where the spec asks for torch.float64"),
        (lambda x: x.mean(-1) * float("nan"), "the result is NaN"),
        (lambda x: x.mean(-1) + 1, "the value is off by up to 1."),
        (
            lambda x: x.mean(-1).nan_to_num(neginf=-9.0),
            "on a trace of weight zero the value is -9 where it should be -inf",
        ),
        (lambda x: x.mean(-1) - (torch.inf if x.ndim > 2 else 0), "is -inf where it should be finite"),
        (lambda x: x.mean(-1).detach(), "the value is right, but carries no gradient"),
        (lambda x: x.mean(-1) + x[..., 0] - x[..., 0].detach(), "its gradient in `log_weights` is not"),
        (lambda x: x.mean(-1) if x.ndim == 2 else x.foo, "on one question of five traces it raises AttributeError"),
    ],
)
def test_an_unforeseen_mistake_is_described(answer, words: str):
    assert words in said(answer)


def test_the_sign_is_noticed_where_no_mistake_has_it():
    assert "the sign is wrong" in said(lambda values: -torch.logsumexp(values, -1), find("1.1"))


def test_a_number_in_the_place_of_a_nan_is_told():
    def hidden(log_weights, values):
        return find("3.5").solution(log_weights, values.nan_to_num(7.0))

    assert said(hidden, find("3.5")).endswith("where it should be nan.")


def test_a_gradient_that_is_nan_is_told():
    def nan_behind(log_joint, log_weights):
        weights = torch.nan_to_num(log_weights.detach().softmax(-1))
        return -(weights * log_joint.masked_fill(weights == 0, 0.0)).sum(-1) + _nothing(log_joint)

    def _nothing(values):
        return torch.where(values < 0, 0.0, values.sqrt()).sum(-1)

    assert said(nan_behind, find("1.6")).endswith("its gradient in `log_joint` is NaN.")


def test_a_second_value_for_the_same_input_is_noticed():
    calls = itertools.count()
    cases = len(find("1.3").cases(torch.Generator()))  # type: ignore[misc]
    assert "called again with the same input" in said(lambda x: x.mean(-1) + (next(calls) >= cases))


def test_a_stub_for_some_inputs_is_wrong():
    def half(log_weights):
        if log_weights.ndim > 2:
            raise NotImplementedError
        return log_weights.mean(-1)

    assert "of shape (2, 3, 4) it still raises NotImplementedError" in said(half)


def test_values_that_are_no_tensors_are_compared_too():
    def solution(words):
        return {word: len(word) for word in words}

    task = Task(
        name="9.1",
        title="Lengths",
        tier="core",
        hints=("a", "b", "c"),
        solution=solution,
        mistakes=(),
        cases=lambda generator: [Case("two words", (["a", "bcd"],))],
    )
    assert said(lambda words: {word: len(word) for word in words}, task) == ""
    for answer, words in (
        (lambda words: {word: 1 for word in words}, "on two words `bcd` is something else than the spec says."),
        (lambda words: {word: len(word) / 1 for word in words}, "`a` is a value of type float, where the spec asks"),
        (lambda words: {words[0]: 1}, "on two words its keys are not those of the spec: 'bcd'."),
        (list, "it returns a value of type list"),
    ):
        assert words in said(answer, task)


def test_a_type_inside_a_list_is_told():
    def solution(count):
        return [((n,), torch.ones(2)) for n in range(count)]

    task = Task("9.2", "Pairs", "core", ("a", "b", "c"), solution, (), cases=lambda generator: [Case("two", (2,))])
    for change, words in (
        (lambda n: ((n,), torch.ones(2).double()), "on two it holds a tensor of torch.float64, not of torch.float32."),
        (
            lambda n: ([n], torch.ones(2)),
            "it holds a value of type list, where the spec asks for a value of type tuple.",
        ),
        (lambda n: ((n + 1,), torch.ones(2)), "on two it returns something else than the spec says."),
    ):
        assert words in said(lambda count, change=change: [change(n) for n in range(count)], task)


def test_an_examined_value_that_raises_is_wrong():
    assert "it should be a tensor or list of 6 probabilities" in said("abc", find("1.8"))
    assert "its shape is (3,)" in said(torch.ones(3), find("1.8"))
    assert "negative" in said([float("nan")] * 6, find("1.8"))
