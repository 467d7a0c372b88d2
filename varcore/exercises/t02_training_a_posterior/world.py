"""Questions on which a q can be trained: traces are drawn and judged, never listed, and every one counts."""

import torch

from varcore import exact_kl
from varcore.exercises.t02_training_a_posterior.toy import ACCURACY, PRIOR, START, slots_q

BUDGET = 4_000  # traces
WORLDS = 8  # that a training is tried on


class Spent(RuntimeError):
    """More traces were asked for than are left."""


class World:
    """A question much like the toy's: its numbers are jittered and its traces shuffled. `start` is log q [12] of the
    helper as it begins, `left` the number of traces that may still be drawn."""

    def __init__(self, generator: torch.Generator):
        order = torch.randperm(len(PRIOR), generator=generator)
        jitter = 0.3 * torch.randn(len(PRIOR), generator=generator, dtype=torch.float64)
        self._log_prior = (PRIOR.log() + jitter).log_softmax(-1)[order]
        self._accuracy = ACCURACY[order]
        self._generator = generator
        self.start = slots_q(START)[order]
        self.left = BUDGET

    def from_reasoner(self, M):
        """M traces from pi: their numbers z [M], and one sampled verdict each, right [M], 1.0 or 0.0."""
        z = self._drawn(self._log_prior, M)
        return z, self._judged(z)

    def from_helper(self, log_q, K):
        """K traces from q: their numbers z [K], one sampled verdict each, right [K], and log pi(z|x) [K]."""
        z = self._drawn(torch.as_tensor(log_q, dtype=torch.float64).detach(), K)
        return z, self._judged(z), self._log_prior[z]

    def gap(self, log_q):
        """Exact KL(P || q) in nats; for the report after training, not for training."""
        truth = (self._log_prior + self._accuracy.log()).log_softmax(-1)
        return exact_kl(truth, log_q.detach().double()).item()

    def _drawn(self, log_chances, count):
        if count > self.left:
            raise Spent(f"World: {count} traces asked for, {self.left} of {BUDGET} left. Draw fewer a step, or stop.")
        self.left -= count
        return torch.multinomial(log_chances.exp(), count, replacement=True, generator=self._generator)

    def _judged(self, z):
        return torch.bernoulli(self._accuracy[z], generator=self._generator)


def gaps(train_q, generator):
    """Exact KL(P || q) before and after training, in each of 8 fresh worlds: two lists."""
    worlds = [World(generator) for _ in range(WORLDS)]
    return [world.gap(world.start) for world in worlds], [world.gap(train_q(world)) for world in worlds]
