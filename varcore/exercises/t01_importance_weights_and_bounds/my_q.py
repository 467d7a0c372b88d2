"""Task 1.8: a helper that leans on the hint, and is good all the same."""

import torch
from torch import Tensor

import varcore
from varcore.exercises.t01_importance_weights_and_bounds.toy import LOG_LIKELIHOOD, LOG_P, LOG_PRIOR
from varcore.exercises.task import Task

COPY, SHARE, NUM_TRACES, TARGET = 1, 0.5, 8, 0.06


def examine(q, generator):
    wanted = f"a tensor or list of {len(LOG_PRIOR)} probabilities"
    if isinstance(q, Tensor) and q.shape != LOG_PRIOR.shape:
        return f"its shape is {tuple(q.shape)}; it should be {wanted}."
    try:
        q = torch.as_tensor(q, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        return f"it is of type {type(q).__name__}; it should be {wanted}."
    if q.shape != LOG_PRIOR.shape:
        return f"it should be {wanted}."
    if not bool((q >= 0).all()):
        return "probabilities are not negative, and not NaN. Did you hand in logarithms?"
    if abs(q.sum().item() - 1) > 1e-4:
        return f"its probabilities sum to {q.sum().item():.4f}, not to one."
    if q[COPY].item() < SHARE - 1e-6:
        return f"the trace that copies the hint gets {q[COPY].item():.4g}; this helper gives it at least {SHARE}."
    return _missed(q / q.sum())


def _missed(q: Tensor) -> str:
    gap = LOG_P - varcore.quadrature_iwae_bound(LOG_PRIOR, LOG_LIKELIHOOD, q.log(), NUM_TRACES).item()
    if gap <= TARGET:
        return ""
    said = f"its gap is {gap:.4f} nats; the target is {TARGET}."
    if bool((q == 0).any()):
        return f"{said} Some trace has probability 0: what q never proposes is missing from the bound at every K."
    if q[COPY].item() > SHARE + 0.01:
        return f"{said} It gives the copied trace more than it must."
    return f"{said} Which traces does it propose too rarely? Look at the largest ρ."


def my_q():
    # ρ is the same for every trace that q proposes in proportion to the true posterior: share the other half so.
    q = torch.exp(LOG_PRIOR + LOG_LIKELIHOOD)
    q[1] = 0.0
    q = 0.5 * q / q.sum()
    q[1] = 0.5
    return q


def climbed():
    logits = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    copy = torch.nn.functional.one_hot(torch.tensor(1), 6).double()
    for _ in range(150):
        q = 0.5 * copy + 0.5 * logits.softmax(-1)
        loss = -varcore.quadrature_iwae_bound(LOG_PRIOR, LOG_LIKELIHOOD, q.log(), 8)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (0.5 * copy + 0.5 * logits.softmax(-1)).detach()


def by_hand():
    return [0.26, 0.5, 0.19, 0.025, 0.015, 0.01]


def the_true_posterior():
    """the trace that copies the hint gets 0.09223; this helper gives it at least 0.5."""
    return (LOG_PRIOR + LOG_LIKELIHOOD).softmax(-1)


def the_rest_alike():
    """its gap is 0.2055 nats; the target is 0.06. Which traces does it propose too rarely? Look at the largest ρ."""
    return torch.tensor([0.1, 0.5, 0.1, 0.1, 0.1, 0.1])


def the_right_ones_only():
    """its gap is 0.1268 nats; the target is 0.06. Some trace has probability 0: what q never proposes is missing from
    the bound at every K."""
    return [0.5 * 10 / 18, 0.5, 0.5 * 8 / 18, 0.0, 0.0, 0.0]


def more_copying():
    """its gap is 0.1197 nats; the target is 0.06. It gives the copied trace more than it must."""
    return [0.10, 0.55, 0.25, 0.05, 0.03, 0.02]


def logarithms():
    """probabilities are not negative, and not NaN. Did you hand in logarithms?"""
    return torch.log(torch.tensor(by_hand()))


def not_normalised():
    """its probabilities sum to 1.5000, not to one."""
    return [0.5, 0.5, 0.1, 0.2, 0.1, 0.1]


TASK = Task(
    name="1.8",
    title="A helper that cannot stop copying",
    tier="core",
    kind="experiment",
    wants="value",
    hints=(
        "Half of q is fixed. Where does the other half help most? Print ρ for your q: a trace with a huge ρ is one "
        "that q proposes too rarely. Ask what the perfect helper does with these traces, and keep in mind that leaving "
        "a trace out costs at every K.",
        "With q = P every ρ is p(x). Of the half that is free, give each of the other traces a part in proportion to "
        "π(z|x) π(Y|x,z).",
        "q = torch.exp(LOG_PRIOR + LOG_LIKELIHOOD)\nq[1] = 0.0\nq = ... * q / q.sum()\nq[1] = ...\nmy_q = q",
    ),
    examine=examine,
    solution=my_q,
    alternatives=(climbed, by_hand),
    mistakes=(
        the_true_posterior,
        the_rest_alike,
        the_right_ones_only,
        more_copying,
        logarithms,
        not_normalised,
    ),
)
