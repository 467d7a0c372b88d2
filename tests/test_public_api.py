"""The names that research code imports, their signatures, and what importing them costs."""

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import varcore

ROOT = Path(__file__).parent.parent

# name -> parameters as written in a def, without annotations
SIGNATURES = {
    "accuracy_preferred_threshold": "answer_set_size",
    "accuracy_worst_case_variance": "correctness",
    "avg_at_k": "correct",
    "binary_rl_question_weight": "p",
    "bootstrap_interval": "per_question_values, *, num_resamples=10000, level=0.95, seed",
    "certified_exchangeable_question_weight": "advantages, p, group_size, *, kept=None",
    "certified_question_weight": "advantages, p, group_size, *, kept=None",
    "dapo_kept_groups": "rewards",
    "dapo_question_weight": "p, group_size=None, *, ddof=0, eps=0.0",
    "debiased_reward": "correct, well_formed, accuracy, well_formed_rate, *, alpha, beta, gamma",
    "debiased_reward_optimum": "joint_correct, joint_well_formed, *, alpha, beta, gamma",
    "dr_grpo_advantages": "rewards",
    "dr_grpo_question_weight": "p, group_size=None",
    "duplicate_fraction": "token_ids",
    "effective_sample_size": "log_weights",
    "elbo": "log_weights",
    "exact_elbo": "log_prior, log_correctness, log_posterior",
    "exact_iwae_bound": "log_prior, log_correctness, log_posterior, num_samples",
    "exact_kl": "log_from, log_to",
    "exact_log_evidence": "log_prior, log_correctness",
    "exact_true_posterior": "log_prior, log_correctness",
    "expected_accuracy_loss": "log_prior, correctness",
    "forward_kl_loss": "log_posterior, correctness",
    "forward_kl_question_weight": "p, num_traces=None",
    "grpo_advantages": "rewards, *, ddof=1, eps=0.0001",
    "grpo_question_weight": "p, group_size=None, *, ddof=0, eps=0.0",
    "iwae_bound": "log_weights",
    "iwae_posterior_loss": "log_posterior, log_weights",
    "iwae_reasoner_loss": "log_joint, log_weights",
    "likelihood_worst_case_variance": "correctness, answer_set_size",
    "list_traces": "logits, prompt, *, open_tokens, end_token, max_tokens, batch_size=512",
    "local_forward_kl": "log_prior, log_correctness",
    "log_accuracy_correctness": "num_correct, num_answers",
    "log_answer_probs": "logits, prompt, traces, answers, *, batch_size=512",
    "log_geometric_mean_correctness": "log_answer, num_answer_tokens",
    "log_importance_weights": "log_prior, log_likelihood, log_posterior",
    "log_likelihood_correctness": "log_answers, answer_set_size",
    "maximum_likelihood_question_weight": "p",
    "maxrl_advantages": "rewards",
    "maxrl_question_weight": "p, group_size=None",
    "normalized_weights": "log_weights",
    "one_kept_advantages": "rewards",
    "paired_bootstrap": "values_a, values_b, *, num_resamples=10000, level=0.95, seed",
    "pareto_k": "log_weights",
    "pass_at_k": "num_samples, num_correct, k",
    "policy_gradient_loss": "log_probs, advantages",
    "quadrature_iwae_bound": "log_prior, log_correctness, log_posterior, num_samples, *, step=0.125",
    "reinforce_advantages": "rewards",
    "reverse_kl_loss": "log_posterior, log_weights",
    "rft_loss": "log_probs, correct",
    "rft_one_kept_question_weight": "p, group_size=None",
    "rft_question_weight": "p",
    "rloo_advantages": "rewards",
    "rloo_question_weight": "p, group_size=None",
    "shaped_reward": "correct, well_formed, *, alpha, beta, gamma",
    "shaped_reward_optimum": "joint_correct, joint_well_formed, *, alpha, beta, gamma",
    "tempered_log_weights": "log_prior, log_posterior, log_correctness, num_tokens, exponent=None",
    "truncated_log_weights": "log_weights",
    "vimco_posterior_loss": "log_posterior, log_weights",
}
OTHER_NAMES = {"Interval", "ListedTraces", "ShapeError"}


def bare_signature(function):
    signature = inspect.signature(function)
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))[1:-1]


def test_public_names_are_pinned():
    assert set(varcore.__all__) == set(SIGNATURES) | OTHER_NAMES
    assert len(varcore.__all__) == len(set(varcore.__all__))


def test_signatures_are_pinned():
    assert {name: bare_signature(getattr(varcore, name)) for name in SIGNATURES} == SIGNATURES
    assert varcore.Interval._fields == ("mean", "lower", "upper")
    assert varcore.ListedTraces._fields == ("ids", "lengths", "closed", "log_probs")
    assert issubclass(varcore.ShapeError, ValueError)


def test_every_public_name_is_documented_and_annotated():
    for name in SIGNATURES:
        function = getattr(varcore, name)
        assert len(function.__doc__.splitlines()) > 3, name
        signature = inspect.signature(function)
        annotations = [p.annotation for p in signature.parameters.values()] + [signature.return_annotation]
        assert inspect.Signature.empty not in annotations, name


def test_version_is_that_of_the_distribution():
    assert varcore.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_loads_nothing_beyond_torch():
    result = run_python(
        "import sys, torch; before = set(sys.modules); import varcore;"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) - set(sys.stdlib_module_names) == {"varcore"}


def test_works_without_jaxtyping():
    result = run_python(
        "import sys\n"
        "sys.modules['jaxtyping'] = sys.modules['beartype'] = None  # importing them raises ImportError\n"
        "import torch, varcore\n"
        "log_weights = varcore.log_importance_weights(*torch.tensor([[-1., -2.], [-3., -1.], [-2., -2.]]))\n"
        "print(log_weights.tolist(), varcore.effective_sample_size(torch.zeros(4)).item())\n"
        "print(varcore.pass_at_k(4, torch.tensor([4]), 2).item())\n"
        "try:\n"
        "    varcore.iwae_reasoner_loss(torch.zeros(2, 3), torch.zeros(3))\n"
        "except varcore.ShapeError as error:\n"
        "    print(error)\n"
    )
    assert result.returncode == 0, result.stderr
    first, second, third = result.stdout.splitlines()
    assert first == "[-2.0, -1.0] 4.0"
    assert second == "1.0"
    assert third.startswith(
        "iwae_reasoner_loss: its arguments need one common shape, "
        "got log_joint of shape (2, 3), log_weights of shape (3,). Nothing is broadcast"
    )
