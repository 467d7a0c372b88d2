"""Every task of every tutorial: what is right is accepted, each committed mistake gets its own diagnosis.

Checks draw fresh cases, so each statement is tried with several seeds.  The cases are continuous: two different
functions agree on one to nine digits with a probability that never shows.
"""

import ast
import importlib
import inspect
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from language_model_calls import LANGUAGE_MODEL
from own_task_calls import OWN_TASK
from torch import Tensor

import varcore
from varcore.exercises import task
from varcore.exercises.judging import judge
from varcore.exercises.task import Task, diagnosis_of, source_of, tasks_of, tutorials

TASKS = [one for number in tutorials() for one in tasks_of(number)]
CODING = [one for one in TASKS if one.wants == "function"]
CASED = [one for one in TASKS if one.cases is not None]
SEEDS = range(2)
CALLS = {  # library functions that take other arguments than the task's
    **LANGUAGE_MODEL,
    **OWN_TASK,
    "torch.logsumexp": lambda values: torch.logsumexp(values, -1),
    "varcore.exact_iwae_bound": lambda log_weights, log_posterior, K: varcore.exact_iwae_bound(
        log_weights + log_posterior, torch.zeros_like(log_weights), log_posterior, K
    ),
    "varcore.grpo_advantages": lambda rewards, ddof, eps: varcore.grpo_advantages(rewards, ddof=ddof, eps=eps),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def named(one: Task) -> str:
    return one.name


def codes(kind: str) -> list:
    return [pytest.param(one, code, id=f"{one.name}-{code.__name__}") for one in TASKS for code in getattr(one, kind)]


def test_tutorials_are_found():
    assert tutorials()[1] == "t01_importance_weights_and_bounds"
    assert len(tasks_of(1)) == 9


@pytest.mark.parametrize("number", tutorials())
def test_tasks_are_numbered_in_order_and_no_module_is_forgotten(number: int):
    tasks = tasks_of(number)
    assert [one.name for one in tasks] == [f"{number}.{place}" for place in range(1, len(tasks) + 1)]
    folder = Path(task.__file__).parent / tutorials()[number]
    holders = {path.stem for path in folder.glob("*.py") if "\nTASK = " in path.read_text(encoding="utf-8")}
    assert {one.solution.__name__ for one in tasks} == holders, "a module is named after its solution, and is listed"
    tiers = [one.tier for one in tasks]
    assert tiers == sorted(tiers, key=["warm-up", "core", "stretch"].index)
    assert set(tiers) == {"warm-up", "core", "stretch"}
    assert {"debugging", "experiment"} <= {one.kind for one in tasks}


@pytest.mark.parametrize("one", TASKS, ids=named)
def test_a_task_has_enough_of_everything(one: Task):
    assert len(one.hints) == 3
    assert all(one.hints)
    assert one.cases or one.examine
    diagnoses = [diagnosis_of(mistake) for mistake in one.mistakes]
    assert all(diagnoses)
    assert len(set(diagnoses)) == len(diagnoses)
    if one.wants == "function":
        assert len(one.alternatives) >= 2
        assert len(one.mistakes) >= 5


@pytest.mark.parametrize("one", TASKS, ids=named)
def test_no_code_of_a_task_is_forgotten(one: Task):
    source = inspect.getsource(inspect.getmodule(inspect.unwrap(one.solution)))  # type: ignore[arg-type]
    defined = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    listed = {code.__name__ for code in (one.solution, *one.alternatives, *one.mistakes)} | {"cases", "examine"}
    assert {node.name for node in defined if not node.name.startswith("_")} <= listed


@pytest.mark.parametrize("one", TASKS, ids=named)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_solution_is_correct(one: Task, seed: int):
    verdict = judge(one, one.answer_of(one.solution), seeded(seed))
    assert verdict.outcome == "correct", verdict


@pytest.mark.parametrize(("one", "code"), codes("alternatives"))
@pytest.mark.parametrize("seed", SEEDS)
def test_an_alternative_is_correct(one: Task, code, seed: int):
    verdict = judge(one, one.answer_of(code), seeded(seed))
    assert verdict.outcome == "correct", verdict


@pytest.mark.parametrize(("one", "code"), codes("mistakes"))
@pytest.mark.parametrize("seed", SEEDS)
def test_a_mistake_gets_its_own_diagnosis(one: Task, code, seed: int):
    verdict = judge(one, one.answer_of(code), seeded(seed))
    assert (verdict.outcome, verdict.because) == ("wrong", diagnosis_of(code))


@pytest.mark.parametrize("one", [one for one in TASKS if one.library], ids=named)
def test_the_solution_agrees_with_the_library(one: Task):
    module, _, name = one.library.rpartition(".")
    ready = CALLS.get(one.library) or getattr(importlib.import_module(module), name)
    assert one.cases is not None
    for case in one.cases(seeded(0)):
        torch.testing.assert_close(one.solution(*case.arguments), ready(*case.arguments), rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------ hostile attempts


@pytest.mark.parametrize("one", CASED, ids=named)
def test_values_learned_by_heart_are_rejected(one: Task):
    """The right values of one draw of the cases, in their order, whatever comes in."""
    shown = itertools.cycle([one.solution(*case.arguments) for case in one.cases(seeded(0))])
    verdict = judge(one, lambda *arguments: next(shown), seeded(1))
    assert verdict.outcome == "wrong"


def endless(*arguments):
    while True:
        try:
            sum(range(1000))
        except Exception:
            continue


def recursive(*arguments):
    return recursive(*arguments)


def leave(*arguments):
    raise SystemExit(0)


def divide(*arguments):
    return 1 / 0


@pytest.mark.parametrize("one", CODING, ids=named)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda *arguments: None, "returns None"),
        (lambda *arguments: "text", ""),
        (lambda *arguments: object(), ""),
        (lambda *arguments: arguments, ""),
        (lambda: None, "TypeError"),
        (endless, "did not finish within 0.2 seconds"),
        (recursive, "RecursionError"),
        (leave, "SystemExit"),
        (divide, "ZeroDivisionError: division by zero"),
        (torch.zeros(3), "hand over the function itself"),
        ("text", "hand over the function itself"),
    ],
    ids=["none", "text", "object", "input", "no arguments", "endless", "recursive", "exit", "raise", "tensor", "str"],
)
def test_a_hostile_answer_is_wrong_and_nothing_worse(one: Task, answer, said: str):
    verdict = judge(replace(one, seconds=0.2) if answer is endless else one, answer, seeded(0))
    assert verdict.outcome == "wrong"
    assert verdict.because
    assert said in verdict.because


@pytest.mark.parametrize("one", CASED, ids=named)
@pytest.mark.parametrize("spoil", ["shape", "nan", "float16", "numpy"])
def test_a_spoilt_value_is_rejected(one: Task, spoil: str):
    ways = {
        "shape": lambda value: value.unsqueeze(0),
        "nan": lambda value: value * float("nan"),
        "float16": lambda value: value.to(torch.float16),
        "numpy": lambda value: value.detach().numpy(),
    }

    def spoilt(*arguments):
        value = one.solution(*arguments)
        return ways[spoil](value) if isinstance(value, Tensor) else (value, value)

    verdict = judge(one, spoilt, seeded(0))
    assert (verdict.outcome, bool(verdict.because)) == ("wrong", True)


@pytest.mark.parametrize("one", CASED, ids=named)
def test_spoiling_the_input_is_rejected(one: Task):
    def in_place(*arguments):
        value = one.solution(*arguments)
        for argument in arguments:
            if isinstance(argument, Tensor):
                with torch.no_grad():
                    argument += 1
        return value

    if any(isinstance(argument, Tensor) for argument in one.cases(seeded(0))[0].arguments):
        assert "changes its input in place" in judge(one, in_place, seeded(0)).because


@pytest.mark.parametrize("one", CASED, ids=named)
def test_changed_settings_are_rejected_and_put_back(one: Task):
    def careless(*arguments):
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float16)
        torch.manual_seed(1)
        return one.solution(*arguments)

    before = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state()
    assert "changes torch's default dtype or gradient mode" in judge(one, careless, seeded(0)).because
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize("one", CASED, ids=named)
def test_printing_is_kept_apart_and_shown_once(one: Task, capsys: pytest.CaptureFixture):
    def talkative(*arguments, **named):
        print("here I am")
        return one.solution(*arguments, **named)

    verdict = judge(one, talkative, seeded(0))
    assert (verdict.outcome, verdict.notes) == ("correct", ("It printed: here I am",))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("one", CASED, ids=named)
def test_a_default_dtype_of_float64_changes_nothing(one: Task, float64):
    assert judge(one, one.solution, seeded(0)).outcome == "correct"


@pytest.mark.parametrize("one", TASKS, ids=named)
def test_a_stub_is_not_attempted(one: Task):
    def stub(*arguments):
        raise NotImplementedError

    for answer in (stub, None) if one.wants == "function" else (None, ...):
        verdict = judge(one, answer, seeded(0))
        assert (verdict.outcome, verdict.because) == ("not attempted", "")


@pytest.mark.parametrize("one", TASKS, ids=named)
def test_sources_are_shown_as_they_are_written(one: Task):
    for code in (one.solution, *one.alternatives):
        source = source_of(code)
        assert source.startswith(f"def {code.__name__}(")
        assert ast.parse(source)
