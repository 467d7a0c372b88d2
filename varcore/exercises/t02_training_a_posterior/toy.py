"""The model of tutorial 2: twelve invented thoughts about the question 2 4 = 8, and a helper that cannot look back."""

import itertools

import torch

from varcore import exact_log_evidence

NUMBERS, OPERATIONS = ("2", "4"), ("+", "-", "*")
HINT = "4 * 2"
TOKENS = tuple(itertools.product(NUMBERS, OPERATIONS, NUMBERS))
TRACES = tuple(" ".join(tokens) for tokens in TOKENS)
_FIRST = {"2": 0.6, "4": 0.4}
_OPERATION = {"+": 0.48, "-": 0.40, "*": 0.12}


def _prior(first, operation, second):
    return _FIRST[first] * _OPERATION[operation] * (0.05 if first == second else 0.95)  # one number twice: a slip


def _accuracy(first, operation, second):
    if first == second:
        return 0.002
    return 0.9 if operation == "*" else 0.02


PRIOR = torch.tensor([_prior(*tokens) for tokens in TOKENS], dtype=torch.float64)  # pi(z|x)
ACCURACY = torch.tensor([_accuracy(*tokens) for tokens in TOKENS], dtype=torch.float64)  # pi(Y|x,z)
P_X = exact_log_evidence(PRIOR.log(), ACCURACY.log()).exp().item()  # p(x)
TRUTH = PRIOR * ACCURACY / P_X  # P(z|x,Y)

_SLOT = torch.tensor([[NUMBERS.index(a), 2 + OPERATIONS.index(b), 5 + NUMBERS.index(c)] for a, b, c in TOKENS])
_LEANT = 0.8 * PRIOR + 0.2 * torch.tensor([float(trace == HINT) for trace in TRACES], dtype=torch.float64)
START = torch.zeros(7, dtype=torch.float64).index_add(0, _SLOT.flatten(), _LEANT.repeat_interleave(3)).log()


def slots_q(theta):
    """log q of all traces [..., 12]; theta [..., 7] holds logits of the first, the second and the third token."""
    log_token = torch.cat([part.log_softmax(-1) for part in theta.split([2, 3, 2], -1)], -1)
    return log_token[..., _SLOT].sum(-1)


def free_q(theta):
    """log q of all traces [..., 12]; theta [..., 12] holds one logit per trace."""
    return theta.log_softmax(-1)


# A weaker reasoner names an operation and then guesses; a whole solution it writes once in 250 thoughts.
WEAK_TRACES = ("+", "-", "*", "2 * 4", "4 * 2")
WEAK_PRIOR = torch.tensor([0.40, 0.396, 0.20, 0.002, 0.002], dtype=torch.float64)
WEAK_ACCURACY = torch.tensor([0.02, 0.02, 0.20, 1.0, 1.0], dtype=torch.float64)
WEAK_TRUTH = WEAK_PRIOR * WEAK_ACCURACY / (WEAK_PRIOR @ WEAK_ACCURACY)
WEAK_START = 0.95 * WEAK_PRIOR + 0.05 * torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64)  # q
