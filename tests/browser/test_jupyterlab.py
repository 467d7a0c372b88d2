"""The lessons in JupyterLab, in a real browser: a slider that moves draws what the mathematics says for its value."""

import math
from pathlib import Path

import pytest
import torch

import varcore
from varcore.llm import ledger
from varcore.viz.widgets import bound_picture, token_picture, toy_decode, toy_ledger, weigh_question

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def lesson(number: str) -> pytest.MarkDecorator:
    """The test takes the lesson of this number; while there is none yet, there is nothing to test."""
    found = sorted(path.name for path in NOTEBOOKS.glob(f"{number}_*.ipynb"))
    return pytest.mark.parametrize("lesson", found, indirect=True)


def tensor(numbers) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@lesson("03")
def test_03_draws_the_exact_bound_of_the_chosen_k_and_of_the_helper_as_good_as_chosen(lesson):
    explorer = lesson.explorer("present(bound_explorer(prior.log(), log_right, copying.log()))")
    prior, right, q = (
        tensor(row) for row in lesson.ask("[prior.tolist(), log_right.exp().tolist(), copying.tolist()]")
    )
    truth = varcore.exact_true_posterior(prior.log(), right.log())

    def agree(largest: int, groups: int, quality: float) -> None:
        tables = prior.log(), right.log(), ((1 - quality) * q + quality * truth).log()
        powers = [power for power in range(7) if 2**power <= largest]
        bounds = [varcore.quadrature_iwae_bound(*tables, 2**power).item() for power in powers]
        explorer.expect(2, "y", bounds)
        explorer.expect(2, "x", powers)
        sampled = bound_picture(prior.log(), right.log(), q.log(), largest, groups, quality)
        explorer.expect(1, "y", sampled.data[1].y)

    agree(16, 100, 0.0)
    largest = int(explorer.push("K up to"))
    assert largest == 32
    agree(largest, 100, 0.0)
    groups = int(explorer.push("draws"))
    agree(largest, groups, 0.0)
    quality = float(explorer.push("q → true"))
    assert quality == pytest.approx(0.1)
    agree(largest, groups, quality)
    explorer.keep("bound-of-32")


@lesson("05")
def test_05_draws_the_worst_cases_of_the_chosen_accuracy(lesson):
    explorer = lesson.explorer("live(worst_cases")
    before, a = float(explorer.value("a")), float(explorer.push("a"))
    assert a == pytest.approx(before + 0.02)
    sizes = tensor(explorer.drawn()[0]["x"])
    explorer.expect(0, "y", ((sizes - 1) * a**2).tolist())
    explorer.expect(1, "y", [a * (1 - a)] * len(sizes))
    explorer.keep("worst-cases")

    explorer = lesson.explorer("live(tradeoff")
    names = "prior", "q", "correctness", "lengths"
    prior, q, right, lengths = (tensor(lesson.ask(f"{name}.tolist()")) for name in names)
    extra = int(explorer.push("more ok"))
    assert extra == 4
    rho = (prior / q) ** (1 / (lengths + extra * (torch.arange(8) == 5))) * right
    limit, truth = q * rho / (q @ rho), prior * right / (prior @ right)
    explorer.expect(1, "x", [100 * ((q @ rho) ** 2 / (q @ rho**2)).item()])
    explorer.expect(1, "y", [(limit * (limit / truth).log()).sum().item()])
    explorer.keep("tradeoff")

    explorer, heat = (lesson.explorer("present(trace_weight_explorer(toy_ledger()))", number) for number in (0, 1))
    table = toy_ledger().slice(0, 5)
    log_pi, log_q = (ledger.sums(table, name)[0] for name in ("log_pi", "log_q"))
    accuracy = tensor(table["num_correct"].to_pylist()) / tensor(table["num_answers"].to_pylist())
    for exponent in ("0.05", "0.1", "0.2"):
        assert explorer.push("exponent") == exponent
        logs = varcore.tempered_log_weights(log_pi, log_q, accuracy.log(), ledger.lengths(table)[0], float(exponent))
        explorer.expect(0, "x", varcore.normalized_weights(logs).tolist())
    explorer.click(1)
    heat.expect(0, "x", token_picture(toy_ledger(), "2 + 3", 1, toy_decode).data[0].x)
    heat.keep("tokens-of-trace-1")
    rule = {"exponent": "0.2", "estimator": "gml", "selection": "argmax"}
    explorer.choose("π(Y|x,z)", "gml")
    explorer.choose("select", "argmax")
    explorer.expect(0, "x", weigh_question(toy_ledger(), "2 + 3", **rule).weights)
    explorer.control("question").locator("select").select_option(index=1)
    explorer.control("drop traces").locator("select").select_option(index=[0, 3])
    explorer.expect(0, "x", weigh_question(toy_ledger(), "3 + 2", **rule, dropped=(0, 3)).weights)
    explorer.keep("another-question")


@lesson("06")
def test_06_draws_the_weights_of_the_group_size_ddof_and_eps_that_are_chosen(lesson):
    explorer = lesson.explorer("live(\n    weights_picture")

    def agree(size: int, ddof: int, eps: float) -> None:
        p = tensor(explorer.drawn()[0]["x"])
        curves = [
            varcore.grpo_question_weight(p, size, ddof=ddof, eps=eps),
            varcore.grpo_question_weight(p),
            varcore.binary_rl_question_weight(p),
            varcore.maxrl_question_weight(p, size),
        ]
        for index, weights in enumerate(curves):
            explorer.expect(index, "y", weights.tolist())

    agree(8, 0, 0.0)
    size = int(explorer.push("group size"))
    assert size == 16
    agree(size, 0, 0.0)
    for expected in (1e-6, 1e-4, 1e-2, 0.1):
        eps = float(explorer.push("eps"))
        assert eps == expected
        agree(size, 0, eps)
    explorer.choose("ddof", "1")
    agree(size, 1, 0.1)
    explorer.keep("group-size-16")


@lesson("07")
def test_07_draws_q_after_the_chosen_step_beside_the_enumerated_posterior(lesson):
    explorer = lesson.explorer("live(step_picture")
    shown = lesson.ask("shown.tolist()")
    joint = tensor(lesson.ask("(log_pi[0].exp() * log_a[0].exp()).tolist()"))
    posterior = (joint / joint.sum())[shown].tolist()

    def agree(step: int) -> None:
        runs = f"[paths['copies', name][:, when.index({step}), 0].exp().tolist() for name in LOSSES]"
        for index, q in enumerate(lesson.ask(runs)):
            explorer.expect(index, "x", tensor(q).mean(0)[shown].tolist())
        explorer.expect(2, "x", posterior)

    agree(20)
    for expected in (25, 30):
        assert int(explorer.push("step")) == expected
        agree(expected)
    explorer.keep("step-30")
    explorer.push("step", "Home")
    agree(0)
    copied = lesson.ask("names.index('3 + 3 .')")
    forward, reverse, truth = (bars["x"][shown.index(copied)] for bars in explorer.drawn())
    assert forward == reverse > 0.9 > 0.5 > truth  # both begin as copies of the hint


@lesson("08")
def test_08_weighs_the_traces_of_its_own_run_by_the_exponent_that_is_chosen(lesson):
    explorer = lesson.explorer("present(trace_weight_explorer(part")
    first = lesson.ask("[{k: v for k, v in r.items() if k in ('log_pi', 'log_q', 'verdicts')} for r in one]")
    log_pi, log_q = (tensor([sum(row[name]) for row in first]) for name in ("log_pi", "log_q"))
    lengths = tensor([len(row["log_pi"]) for row in first])
    accuracy = tensor([row["verdicts"].count("right") / max(1, len(row["verdicts"])) for row in first])
    for exponent in ("0.05", "0.1"):
        assert explorer.push("exponent") == exponent
        logs = varcore.tempered_log_weights(log_pi, log_q, accuracy.log(), lengths, float(exponent))
        explorer.expect(0, "x", varcore.normalized_weights(logs).tolist())
    explorer.keep("own-run")


@lesson("09")
def test_09_gates_all_listed_traces_at_the_exponent_that_is_chosen(lesson):
    explorer = lesson.explorer("live(\n    draw_cuts")
    mass = "first.right * first.q.sum(-1).exp()"
    bad = "[100 * (w * ~first.valid).sum().item() / w.sum().item()"
    cuts = "for c in torch.linspace(-14, 0, 57).tolist()"
    for exponent in ("0.30", "0.35"):
        assert explorer.push("exponent") == exponent
        weights = f"rule_weights(first.pi, first.q, {mass}, {exponent}, in_sum, c)"
        explorer.expect(0, "y", lesson.ask(f"{bad} {cuts} for w in [{weights}]]"))
    explorer.keep("gate-at-0.35")


@lesson("10")
def test_10_halves_the_hours_when_the_gpus_are_doubled(lesson):
    explorer = lesson.explorer("live(hours_picture")
    assert explorer.value("GPUs") == "8"
    before = explorer.drawn()
    assert explorer.push("GPUs") == "16"
    for index, curve in enumerate(before):
        explorer.expect(index, "y", [hours / 2 for hours in curve["y"]])
    explorer.keep("sixteen-gpus")


@lesson("11")
def test_11_draws_the_gain_of_choosing_for_the_number_of_questions_that_is_chosen(lesson):
    explorer = lesson.explorer("live(illusion")
    before, questions = float(explorer.value("questions")), float(explorer.push("questions"))
    assert questions == before + 50
    noise, largest = lesson.ask("[per_question, largest]")
    # of one, two and three normal numbers the largest is 0, 1/sqrt(pi) and 3/2 of that on average
    assert largest[:3] == pytest.approx([0, math.pi**-0.5, 1.5 * math.pi**-0.5], abs=1e-9)
    explorer.expect(0, "y", [100 * z * noise / math.sqrt(questions) for z in largest])
    explorer.expect(1, "y", [0.0] * len(largest))
    explorer.keep("choosing-among-many")
