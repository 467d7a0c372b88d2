"""Bounds, losses and exact values against Pyro, called as it ships.

Both sides see the traces that Pyro draws, so every comparison is exact, one draw at a time: no false alarms.  Pyro is
given the model and nothing else, B questions of Z traces each; weights, surrogates and gradients are its own.
"""

import functools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from helpers import assert_exact
from pyro.infer import RenyiELBO, ReweightedWakeSleep, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch.nn.functional import logsigmoid

from varcore import (
    elbo,
    exact_elbo,
    exact_iwae_bound,
    exact_log_evidence,
    forward_kl_loss,
    iwae_bound,
    iwae_posterior_loss,
    iwae_reasoner_loss,
    log_importance_weights,
    reverse_kl_loss,
)

pytestmark = pytest.mark.usefixtures("float64", "empty_param_store")

Z, K = 5, 6


@pytest.fixture
def empty_param_store():
    """Pyro keeps parameters in one global store."""
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


class Questions:
    """Logits of pi(z|x), pi(Y|x,z) and q(z|x,y'), leaves of [B, Z]; and the same as a model and a guide of Pyro's."""

    def __init__(self, size=3):
        self.size = size
        self.prior, self.right, self.posterior = (torch.randn(size, Z).requires_grad_() for _ in range(3))
        self.drawn = []

    @property
    def theta(self):
        return self.prior, self.right

    @property
    def phi(self):
        return (self.posterior,)

    @property
    def tables(self):
        """The three logs of every trace, [B, Z]."""
        return self.prior.log_softmax(-1), logsigmoid(self.right), self.posterior.log_softmax(-1)

    def pick(self, table, z):
        """Each question's own entries; the questions are the last axis of z, as Pyro has them."""
        return table[torch.arange(self.size), z]

    def logs(self):
        """log pi(z,Y|x), log q(z|x,y') and log rho of the traces that were drawn, [B, K]."""
        traces = torch.stack(self.drawn).reshape(K, self.size)
        assert all(len(z.unique()) > 1 for z in traces.T)  # of K equal traces every weight is 1/K
        log_prior, log_right, log_q = (self.pick(table, traces).T for table in self.tables)
        return log_prior + log_right, log_q, log_importance_weights(log_prior, log_right, log_q)

    def model(self):
        with pyro.plate("questions", self.size, dim=-1):
            z = pyro.sample("z", dist.Categorical(logits=pyro.param("prior", self.prior)))
            log_odds = self.pick(pyro.param("right", self.right), z)
            pyro.sample("right answer", dist.Bernoulli(logits=log_odds), obs=torch.ones_like(log_odds))

    def guide(self):
        with pyro.plate("questions", self.size, dim=-1):
            self.drawn.append(pyro.sample("z", dist.Categorical(logits=pyro.param("posterior", self.posterior))))

    def model_of_groups(self):
        """One latent variable is a group of K traces; its log density, log q(group) + L with q held fixed, makes L of
        a group's log weight."""
        log_prior, log_right, log_q = self.tables
        log_rho = []
        with pyro.plate("questions", self.size, dim=-1):
            for k in range(K):
                z = pyro.sample(f"z{k}", dist.Categorical(logits=self.posterior.detach()))
                log_rho.append(self.pick(log_prior + log_right - log_q, z))
            pyro.factor("bound", functools.reduce(torch.logaddexp, log_rho) - math.log(K))

    def guide_of_groups(self):
        posterior = pyro.param("posterior", self.posterior)
        with pyro.plate("questions", self.size, dim=-1):
            self.drawn = [pyro.sample(f"z{k}", dist.Categorical(logits=posterior)) for k in range(K)]


@pytest.fixture
def questions():
    return Questions()


def assert_gradients(loss, leaves):
    """What Pyro left on the leaves is the gradient of `loss`, and not zero."""
    for leaf, mine in zip(leaves, torch.autograd.grad(loss, leaves, retain_graph=True), strict=True):
        assert mine.abs().max() > 1e-3
        assert_exact(leaf.grad, mine)


def assert_value(theirs, mine):
    assert theirs == pytest.approx(mine.item(), abs=1e-12)


# The K-sample bound


def test_renyi_elbo_is_the_bound_and_the_reasoner_gradient(questions):
    pyro_bound = RenyiELBO(alpha=0, num_particles=K, vectorize_particles=True, max_plate_nesting=1)
    value = pyro_bound.loss_and_grads(questions.model, questions.guide)
    log_joint, _, log_weights = questions.logs()
    assert_value(value, -iwae_bound(log_weights).sum())
    assert_gradients(iwae_reasoner_loss(log_joint, log_weights).sum(), questions.theta)
    # The trap: a guide that cannot be reparameterised gets a gradient of zero, without a word.  The bound has another.
    assert (questions.posterior.grad == 0).all()
    (exact,) = torch.autograd.grad(exact_iwae_bound(*questions.tables, K).sum(), questions.phi)
    assert exact.abs().max() > 1e-2


def test_score_function_of_a_group_is_the_posterior_gradient(questions):
    """The gradient that RenyiELBO leaves out, Pyro's plain ELBO does give when a group is one latent variable."""
    value = Trace_ELBO(max_plate_nesting=1).loss_and_grads(questions.model_of_groups, questions.guide_of_groups)
    log_joint, log_q, log_weights = questions.logs()
    assert_value(value, -iwae_bound(log_weights).sum())
    assert_gradients(iwae_reasoner_loss(log_joint, log_weights).sum(), questions.theta)
    assert_gradients(iwae_posterior_loss(log_q, log_weights).sum(), questions.phi)


# Reweighted wake-sleep without sleep: two losses, for theta and for phi


def wake(questions):
    wake_only = ReweightedWakeSleep(num_particles=K, insomnia=1.0, max_plate_nesting=1)
    return wake_only.loss_and_grads(questions.model, questions.guide)


def test_wake_gradients_are_the_reasoners_and_self_normalised_forward_kl():
    questions = Questions(size=1)
    theta_value, phi_value = wake(questions)
    log_joint, log_q, log_weights = questions.logs()
    phi_loss = forward_kl_loss(log_q, log_weights.exp()).sum()
    assert_value(theta_value, -iwae_bound(log_weights).sum())
    assert_value(phi_value, phi_loss)
    assert_gradients(iwae_reasoner_loss(log_joint, log_weights).sum(), questions.theta)
    assert_gradients(phi_loss, questions.phi)


def test_wake_phi_of_a_copy_of_the_reasoner_is_equation_9():
    """Traces of q are then traces of pi, and rho is pi(Y|x,z): the method's first step of the posterior."""
    questions = Questions(size=1)
    questions.posterior = questions.prior.detach().clone().requires_grad_()
    wake(questions)
    correctness = questions.pick(questions.right.sigmoid(), questions.drawn[-1]).T
    assert_gradients(forward_kl_loss(questions.logs()[1], correctness).sum(), questions.phi)


def test_wake_sleep_takes_a_plate_of_questions_for_one_question(questions):
    """The trap: its weights are products over the plate.  RenyiELBO keeps questions apart, as varcore does."""
    wake(questions)
    log_joint, _, log_weights = questions.logs()
    assert_gradients(iwae_reasoner_loss(log_joint.sum(0), log_weights.sum(0)), questions.theta)
    (apart,) = torch.autograd.grad(iwae_reasoner_loss(log_joint, log_weights).sum(), questions.prior)
    assert (questions.prior.grad - apart).abs().max() > 1e-2


# The ELBO


def test_trace_elbo_is_the_elbo_and_reverse_kl_without_a_baseline(questions):
    """K particles of Pyro's are K questions of one trace each: for K = 1 reverse_kl_loss has no baseline either."""
    pyro_elbo = Trace_ELBO(num_particles=K, vectorize_particles=True, max_plate_nesting=1)
    value = pyro_elbo.loss_and_grads(questions.model, questions.guide)
    log_joint, log_q, log_weights = questions.logs()
    assert_value(value, -elbo(log_weights).sum())
    assert_gradients(-elbo(log_joint).sum(), questions.theta)
    assert_gradients(reverse_kl_loss(log_q[..., None], log_weights[..., None]).mean(-1).sum(), questions.phi)


# Enumeration: values, and gradients through the draws as well


def test_enumerated_evidence_is_the_exact_one(questions):
    value = TraceEnum_ELBO(max_plate_nesting=1).loss_and_grads(config_enumerate(questions.model), lambda: None)
    log_evidence = exact_log_evidence(*questions.tables[:2]).sum()
    assert_value(value, -log_evidence)
    assert_gradients(-log_evidence, questions.theta)


def test_enumerated_elbo_is_the_exact_one(questions):
    value = TraceEnum_ELBO(max_plate_nesting=1).loss_and_grads(questions.model, config_enumerate(questions.guide))
    bound = exact_elbo(*questions.tables).sum()
    assert_value(value, -bound)
    assert_gradients(-bound, questions.theta + questions.phi)


def test_enumerated_elbo_of_groups_is_the_exact_bound(questions):
    """Pyro lists all 5^6 groups in order, varcore 210 multisets."""
    guide = config_enumerate(questions.guide_of_groups)
    value = TraceEnum_ELBO(max_plate_nesting=1).loss_and_grads(questions.model_of_groups, guide)
    bound = exact_iwae_bound(*questions.tables, K).sum()
    assert_value(value, -bound)
    assert_gradients(-bound, questions.theta + questions.phi)
