"""exact.py: tables against the loops of the oracle, quadrature against listing and sampling, and a real Qwen3."""

import itertools
import math

import pytest
import torch
from helpers import INF, assert_exact, assert_mean, leaf
from hypothesis import given
from hypothesis import strategies as st
from oracles.enumeration import LatentModel, gradient, kl

import varcore.exact
from varcore import (
    ShapeError,
    exact_elbo,
    exact_iwae_bound,
    exact_kl,
    exact_log_evidence,
    exact_true_posterior,
    iwae_bound,
    list_traces,
    log_answer_probs,
    log_importance_weights,
    quadrature_iwae_bound,
)
from varcore.llm.tiny import tiny_qwen3

pytestmark = pytest.mark.usefixtures("float64")

BOUNDS = [exact_iwae_bound, quadrature_iwae_bound]


def tables(model):
    return model.trace_logits.log_softmax(-1), model.correctness.log(), model.posterior_logits.log_softmax(-1)


def random_tables(*shape, spread=1.0):
    prior, posterior = torch.randn(2, *shape) * spread
    return prior.log_softmax(-1), -torch.rand(shape) * 3 * spread, posterior.log_softmax(-1)


# Tables


def test_evidence_and_posterior_are_those_of_the_oracle():
    model = LatentModel()
    log_prior, log_correctness, log_posterior = tables(model)
    assert_exact(exact_log_evidence(log_prior, log_correctness), model.evidence.log())
    assert_exact(exact_true_posterior(log_prior, log_correctness), model.true_posterior)
    truth = kl(model.posterior, model.true_posterior)
    assert_exact(exact_kl(log_posterior, model.true_posterior.log()), truth)


def test_elbo_identity():
    log_prior, log_correctness, log_posterior = random_tables(3, 7)
    gap = exact_kl(log_posterior, exact_true_posterior(log_prior, log_correctness).log())
    evidence = exact_log_evidence(log_prior, log_correctness)
    assert_exact(exact_elbo(log_prior, log_correctness, log_posterior), evidence - gap)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_bounds_and_all_their_gradients_are_those_of_the_oracle(bound, num_samples):
    model = LatentModel()
    truth = model.bound(num_samples)
    ours = bound(*tables(model), num_samples)
    assert_exact(ours, truth, atol=1e-10)
    leaves = (*model.theta, *model.phi)
    for mine, theirs in zip(gradient(ours, leaves), gradient(truth, leaves), strict=True):
        assert theirs.abs().max() > 1e-4
        assert_exact(mine, theirs, atol=1e-10)


def test_one_sample_is_the_elbo():
    some = random_tables(2, 5)
    for bound in BOUNDS:
        assert_exact(bound(*some, 1), exact_elbo(*some), atol=1e-12)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6), st.floats(0, 8))
def test_quadrature_is_listing(num_traces, num_samples, seed, spread):
    torch.manual_seed(seed)
    prior, posterior = spread * torch.randn(2, num_traces, dtype=torch.float64)
    some = prior.log_softmax(-1), -spread * torch.rand(num_traces, dtype=torch.float64), posterior.log_softmax(-1)
    listed = exact_iwae_bound(*some, num_samples)
    assert_exact(quadrature_iwae_bound(*some, num_samples), listed, atol=1e-10)
    assert listed <= exact_log_evidence(*some[:2]) + 1e-10
    assert exact_iwae_bound(*some, num_samples + 1) >= listed - 1e-10


def test_quadrature_of_many_samples_against_monte_carlo():
    log_prior, log_correctness, log_posterior = random_tables(6)
    exact = quadrature_iwae_bound(log_prior, log_correctness, log_posterior, 64)
    traces = torch.multinomial(log_posterior.exp(), 64 * 20_000, replacement=True).view(-1, 64)
    log_weights = log_importance_weights(log_prior, log_correctness, log_posterior)[traces]
    assert_mean(iwae_bound(log_weights), exact.item())


def test_quadrature_tends_to_the_evidence_at_rate_one_over_k():
    # log p - L^K -> Var(rho) / (2 K p^2)
    log_prior, log_correctness, log_posterior = random_tables(5)
    evidence = exact_log_evidence(log_prior, log_correctness)
    relative = (log_importance_weights(log_prior, log_correctness, log_posterior) - evidence).exp()
    variance = (log_posterior.exp() * (relative - 1).square()).sum()
    gap = evidence - quadrature_iwae_bound(log_prior, log_correctness, log_posterior, 10_000)
    assert_exact(gap * 10_000, variance / 2, atol=1e-2 * variance.item())


def test_quadrature_of_extreme_weights():
    # q proposes, half of the time, a trace that pi finds e^400 times less likely
    log_prior = torch.tensor([0.0, -400.0])
    log_posterior = torch.tensor([0.5, 0.5]).log()
    some = log_prior, torch.zeros(2), log_posterior
    for num_samples in (1, 4):
        exact = exact_iwae_bound(*some, num_samples)
        assert_exact(quadrature_iwae_bound(*some, num_samples), exact, atol=1e-9)


def test_quadrature_has_a_gradient_where_exponentials_overflow():
    leaves = log_prior, logits = leaf(0.0, -800.0), leaf(0.0, 0.0)
    for num_samples in (1, 4):
        listed, ours = (bound(log_prior, torch.zeros(2), logits.log_softmax(-1), num_samples) for bound in BOUNDS)
        assert_exact(ours, listed, atol=1e-9)
        for mine, theirs in zip(gradient(ours, leaves), gradient(listed, leaves), strict=True):
            assert_exact(mine, theirs, atol=1e-9)


def test_quadrature_of_a_rare_giant_weight():
    # rho = (1/2, e^30/2), the second once in e^30 draws: far above the mean weight, which is one
    rare = math.exp(-30.0)
    some = torch.tensor([0.5, 0.5]).log(), torch.zeros(2), torch.tensor([1.0 - rare, rare]).log()
    for num_samples in (1, 4):
        exact = exact_iwae_bound(*some, num_samples)
        assert_exact(quadrature_iwae_bound(*some, num_samples), exact, atol=1e-11)


@pytest.mark.parametrize(
    "bound", [exact_elbo, lambda *t: exact_iwae_bound(*t, 3), lambda *t: quadrature_iwae_bound(*t, 3)]
)
def test_a_good_trace_that_never_comes_up_sends_no_gradient(bound):
    prior, correctness, posterior = (leaf(*x) for x in ([-1.0, -2.0, -1.5], [-0.1, -0.7, -0.2], [math.log(0.5)] * 2))
    log_posterior = torch.cat([posterior, torch.tensor([-INF])])  # its weight would be infinite
    value, short = bound(prior, correctness, log_posterior), bound(prior[:2], correctness[:2], posterior)
    assert_exact(value, short)
    leaves = prior, correctness, posterior
    for mine, theirs in zip(torch.autograd.grad(value, leaves), torch.autograd.grad(short, leaves), strict=True):
        assert_exact(mine, theirs)


@pytest.mark.parametrize(
    "bound", [exact_elbo, lambda *t: exact_iwae_bound(*t, 3), lambda *t: quadrature_iwae_bound(*t, 3)]
)
def test_traces_that_never_come_up_and_traces_that_cannot_be_right(bound):
    log_prior = leaf(*[math.log(1 / 3)] * 3)
    log_correctness = torch.tensor([0.0, math.log(0.5), -INF])
    never, sometimes = torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.5, 0.3, 0.2]).log()
    short = bound(log_prior[:2], log_correctness[:2], never[:2])
    assert_exact(bound(log_prior, log_correctness, never), short)
    log_posterior = sometimes.requires_grad_()
    value = bound(log_prior, log_correctness, log_posterior)
    assert value == -INF
    for grad in torch.autograd.grad(value, (log_prior, log_posterior)):
        assert_exact(grad, [0.0, 0.0, 0.0])
    rare = torch.zeros(3).requires_grad_()
    log_q = torch.stack([rare[0] - math.log(2), rare[1] - math.log(2), torch.tensor(-INF)])
    (grad,) = torch.autograd.grad(bound(log_prior, log_correctness, log_q), rare)
    assert grad.isfinite().all()


def test_quadrature_of_a_hopeless_question_beside_a_good_one():
    # in the first q draws a trace that cannot be right, and never the last, whose weight would be infinite
    log_prior, log_correctness = torch.tensor([[-1.0, -1.0, -2.0]] * 2), torch.tensor([[-INF, -1.0, -0.5], [-0.1] * 3])
    log_posterior = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]).log()
    ours = quadrature_iwae_bound(log_prior, log_correctness, log_posterior, 3)
    assert ours[0] == -INF
    assert_exact(ours[1], exact_iwae_bound(log_prior[1], log_correctness[1], log_posterior[1], 3), atol=1e-10)


def test_a_question_that_cannot_be_right():
    log_prior = torch.tensor([0.5, 0.5]).log().requires_grad_()
    nothing = torch.tensor([-INF, -INF])
    evidence = exact_log_evidence(log_prior, nothing)
    assert evidence == -INF
    assert_exact(torch.autograd.grad(evidence, log_prior)[0], [0.0, 0.0])
    assert exact_true_posterior(log_prior, nothing).tolist() == [0.0, 0.0]


def test_kl_edges():
    p, q = torch.tensor([1.0, 0.0]).log(), torch.tensor([0.5, 0.5]).log()
    assert_exact(exact_kl(p, q), math.log(2))
    log_from, log_to = (t.clone().requires_grad_() for t in (q, p))
    infinite = exact_kl(log_from, log_to)
    assert infinite == INF
    for grad in torch.autograd.grad(infinite, (log_from, log_to)):
        assert_exact(grad, [0.0, 0.0])
    assert_exact(exact_kl(p, p), 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_batches_are_rows(dtype):
    batch = [t.to(dtype) for t in random_tables(2, 3, 4)]
    for function in (exact_elbo, lambda *t: exact_iwae_bound(*t, 2), lambda *t: quadrature_iwae_bound(*t, 2)):
        together = function(*batch)
        assert together.dtype == dtype
        assert together.shape == (2, 3)
        for i, j in itertools.product(range(2), range(3)):
            assert_exact(
                together[i, j], function(*[t[i, j] for t in batch]), atol=1e-5 if dtype == torch.float32 else 1e-12
            )


def test_quadrature_is_taken_in_float64_whatever_the_dtype():
    # tables of which float32 holds every sum and difference, q within 1e-3 of one
    some = [(t * 4096).round() / 4096 for t in random_tables(100, 4)]
    assert torch.equal(quadrature_iwae_bound(*(t.float() for t in some), 3), quadrature_iwae_bound(*some, 3).float())


def test_gradcheck():
    prior, correct, posterior = torch.randn(3, 4).requires_grad_().unbind()
    for bound in (exact_elbo, lambda *t: exact_iwae_bound(*t, 3), lambda *t: quadrature_iwae_bound(*t, 3)):

        def value(a, b, c, bound=bound):
            return bound(a.log_softmax(-1), torch.nn.functional.logsigmoid(b), c.log_softmax(-1))

        leaves = [t.detach().clone().requires_grad_() for t in (prior, correct, posterior)]
        assert torch.autograd.gradcheck(value, leaves)


def test_refusals():
    some = random_tables(40)
    with pytest.raises(ValueError, match=r"at most 500,000 groups .* 8,145,060 groups\. Use quadrature_iwae_bound"):
        exact_iwae_bound(*some, 6)
    for bound in BOUNDS:
        with pytest.raises(ValueError, match="num_samples"):
            bound(*some, 0)
    with pytest.raises(ValueError, match=r"^quadrature_iwae_bound: log_posterior must list all .* from 0\.5"):
        quadrature_iwae_bound(some[0], some[1], some[2] + math.log(0.5), 2)
    with pytest.raises(ShapeError, match="at least one sample"):
        exact_elbo(*[torch.zeros(2, 0)] * 3)


def test_the_most_groups_are_still_listed(monkeypatch):
    some = random_tables(4)  # C(4 + 2 - 1, 2) = 10 pairs
    monkeypatch.setattr(varcore.exact, "MOST_GROUPS", 10)
    assert exact_iwae_bound(*some, 2).isfinite()
    monkeypatch.setattr(varcore.exact, "MOST_GROUPS", 9)
    with pytest.raises(ValueError, match="at most 9 groups"):
        exact_iwae_bound(*some, 2)


# Language models whose traces can be listed


def markov_logits(vocabulary, seed=0):
    """Causal, and different after every token and at every position."""
    table = torch.randn(64, vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return lambda ids: torch.stack([table[i, ids[:, i]] for i in range(ids.shape[1])], 1)


def naive_traces(logits, prompt, open_tokens, end_token, max_tokens):
    """The tree, one node at a time."""
    found = {}

    def walk(so_far, log_prob):
        if len(so_far) == max_tokens:
            found[so_far] = log_prob
            return
        steps = logits(torch.tensor([[*prompt, *so_far]]))[0, -1].log_softmax(-1)
        found[(*so_far, end_token)] = log_prob + steps[end_token].item()
        for token in open_tokens:
            walk((*so_far, token), log_prob + steps[token].item())

    walk((), 0.0)
    return found


@pytest.mark.parametrize("max_tokens", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [2, 512])
def test_listed_traces_are_those_of_the_tree(max_tokens, batch_size):
    logits, prompt, open_tokens = markov_logits(5), [3, 1], [0, 3, 4]
    found = list_traces(
        logits, prompt, open_tokens=open_tokens, end_token=2, max_tokens=max_tokens, batch_size=batch_size
    )
    naive = naive_traces(logits, prompt, open_tokens, 2, max_tokens)
    ours = {}
    for ids, length, closed, log_prob in zip(*(t.tolist() for t in found), strict=True):
        assert closed == (ids[length - 1] == 2)
        assert set(ids[length:]) <= {2}
        ours[tuple(ids[:length])] = log_prob
    assert len(ours) == len(found.ids) == len(naive)
    assert ours == pytest.approx(naive, abs=1e-12)


def test_all_traces_sum_to_one_and_the_order_is_stated():
    found = list_traces(markov_logits(4), [0], open_tokens=[1, 0, 2], end_token=3, max_tokens=2)
    assert_exact(found.log_probs.exp().sum(), 1.0)
    cut = [[1, 1], [1, 0], [1, 2], [0, 1], [0, 0], [0, 2], [2, 1], [2, 0], [2, 2]]
    assert found.ids.tolist() == [[3, 3], [1, 3], [0, 3], [2, 3], *cut]
    assert found.lengths.tolist() == [1, *[2] * 12]
    assert found.closed.tolist() == [True] * 4 + [False] * 9


def test_answers_against_one_at_a_time():
    logits, prompt = markov_logits(5), [3, 1]
    traces = list_traces(logits, prompt, open_tokens=[0, 1], end_token=2, max_tokens=3)
    answers = [[4], [1, 4], [0, 0, 4]]
    found = log_answer_probs(logits, prompt, traces, answers)
    for row, (ids, length, closed) in enumerate(zip(traces.ids, traces.lengths, traces.closed, strict=True)):
        for column, answer in enumerate(answers):
            expected = -INF
            if closed:
                whole = [*prompt, *ids[:length].tolist(), *answer]
                steps = logits(torch.tensor([whole[:-1]]))[0].log_softmax(-1)
                start = len(whole) - len(answer)
                expected = sum(steps[i - 1, whole[i]].item() for i in range(start, len(whole)))
            assert found[row, column].item() == pytest.approx(expected, abs=1e-12)


def test_listings_have_the_dtype_of_the_model():
    logits = markov_logits(4)
    traces = list_traces(lambda ids: logits(ids).float(), [0], open_tokens=[0, 1], end_token=3, max_tokens=2)
    found = log_answer_probs(lambda ids: logits(ids).float(), [0], traces, [[2]])
    assert traces.log_probs.dtype == found.dtype == torch.float32


def test_refused_listings():
    logits = markov_logits(4)
    good = {"open_tokens": [0, 1], "end_token": 3, "max_tokens": 2}
    for bad, message in [
        ({"open_tokens": [0, 0]}, "must be different"),
        ({"open_tokens": [0, 3]}, "must not hold end_token"),
        ({"open_tokens": []}, "at least one open token"),
        ({"max_tokens": 0}, "max_tokens >= 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            list_traces(logits, [0], **{**good, **bad})
    with pytest.raises(ValueError, match="a prompt of at least one token"):
        list_traces(logits, [], **good)
    traces = list_traces(logits, [0], **good)
    for answers in ([], [[1], []]):
        with pytest.raises(ValueError, match="at least one answer, each of at least one token"):
            log_answer_probs(logits, [0], traces, answers)


def test_a_real_qwen3_goes_through_it():
    """3,906 traces of up to 5 tokens; the reasoner's exact accuracy, its posterior, a bound, and its gradient."""
    reasoner, posterior = (tiny_qwen3(6, seed=seed).eval() for seed in (0, 1))
    listing = {"open_tokens": [0, 1, 2, 3, 4], "end_token": 5, "max_tokens": 5}
    question, hinted, answers = [1, 2], [1, 2, 4], [[3, 5], [4, 4, 5]]

    def logits(model):
        return lambda ids: model(input_ids=ids).logits

    prior = list_traces(logits(reasoner), question, **listing)
    proposals = list_traces(logits(posterior), hinted, **listing)
    assert torch.equal(prior.ids, proposals.ids)
    assert len(prior.ids) == 1 + 5 + 25 + 125 + 625 + 3125
    assert_exact(prior.log_probs.exp().sum(), 1.0, atol=1e-10)
    log_correctness = log_answer_probs(logits(reasoner), question, prior, answers).logsumexp(-1)
    evidence = exact_log_evidence(prior.log_probs, log_correctness)
    exact = exact_true_posterior(prior.log_probs, log_correctness)
    assert_exact(exact.sum(), 1.0)
    # a cut trace cannot be right and q can draw it: q restricted to closed traces is what has a finite bound
    closed = prior.closed
    log_q = proposals.log_probs[closed].log_softmax(-1)
    bounds = [quadrature_iwae_bound(prior.log_probs[closed], log_correctness[closed], log_q, k) for k in (1, 8, 64)]
    assert bounds[0] < bounds[1] < bounds[2] < evidence
    bounds[1].backward()
    for model in (reasoner, posterior):
        assert sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None) > 0
