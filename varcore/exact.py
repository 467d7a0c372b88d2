"""Models whose traces can be listed: evidence, posterior and bounds with no sampling, all differentiable.

A question is a table of Z traces: log pi(z|x), log pi(Y|x,z) and log q(z|x,y'), each [*batch, Z], in nats.  The tables
come from anywhere: logits one makes up (``log_softmax``), or any causal language model whose traces are short enough to
list (``list_traces``, ``log_answer_probs``).  Gradients flow into all three, *through the distribution of the samples
as well*: the gradient of ``exact_iwae_bound`` in q is the whole one, which ``iwae_posterior_loss`` estimates.

q(z) = 0 means that the trace never comes up, whatever its weight.  A bound that is -inf has zero gradient.  dtypes are
kept: float64 for exact work; float32 is good to about six digits, bfloat16 to two.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from varcore._shapes import Bool, Float, Int, require_samples
from varcore.bounds import iwae_bound, log_importance_weights, normalized_weights

MOST_GROUPS = 500_000
Logits = Callable[[Tensor], Tensor]


def exact_log_evidence(
    log_prior: Float[Tensor, "*batch Z"], log_correctness: Float[Tensor, "*batch Z"]
) -> Float[Tensor, "*batch"]:
    """log p(x) = log sum_z pi(z|x) pi(Y|x,z), the log of the model's accuracy on x, in nats         (section 1).

    Differentiable.  No trace can be right: -inf, with zero gradient.  Raises ShapeError if Z = 0 or the shapes differ.
    """
    require_samples("exact_log_evidence", log_prior=log_prior, log_correctness=log_correctness)
    return iwae_bound(log_prior + log_correctness) + math.log(log_prior.shape[-1])


def exact_true_posterior(
    log_prior: Float[Tensor, "*batch Z"], log_correctness: Float[Tensor, "*batch Z"]
) -> Float[Tensor, "*batch Z"]:
    """P(z|x,Y) = pi(z|x) pi(Y|x,z) / p(x), probabilities                                             (section 1).

    Differentiable.  No trace can be right: all 0, for there is no posterior.  Raises ShapeError if Z = 0 or the shapes
    differ.
    """
    require_samples("exact_true_posterior", log_prior=log_prior, log_correctness=log_correctness)
    return normalized_weights(log_prior + log_correctness)


def exact_kl(log_from: Float[Tensor, "*batch Z"], log_to: Float[Tensor, "*batch Z"]) -> Float[Tensor, "*batch"]:
    """KL(from || to) = sum_z from(z) (log from(z) - log to(z)), in nats; the gap of Eq. 4.

    Differentiable in both.  A trace with from(z) = 0 adds 0; one with to(z) = 0 < from(z) makes it +inf, with zero
    gradient.  Raises ShapeError if Z = 0 or the shapes differ.
    """
    require_samples("exact_kl", log_from=log_from, log_to=log_to)
    return _expectation(log_from, log_from - log_to)


def exact_elbo(
    log_prior: Float[Tensor, "*batch Z"],
    log_correctness: Float[Tensor, "*batch Z"],
    log_posterior: Float[Tensor, "*batch Z"],
) -> Float[Tensor, "*batch"]:
    """ELBO = E_q log rho = log p(x) - KL(q || P(z|x,Y)), in nats; maximise                           (Eq. 2 and 4).

    Differentiable in all three.  q can draw a trace that cannot be right: -inf.  Raises ShapeError if Z = 0 or the
    shapes differ.
    """
    require_samples("exact_elbo", log_prior=log_prior, log_correctness=log_correctness, log_posterior=log_posterior)
    return _expectation(log_posterior, log_importance_weights(log_prior, log_correctness, log_posterior))


def exact_iwae_bound(
    log_prior: Float[Tensor, "*batch Z"],
    log_correctness: Float[Tensor, "*batch Z"],
    log_posterior: Float[Tensor, "*batch Z"],
    num_samples: int,
) -> Float[Tensor, "*batch"]:
    """L^K = E_q log (1/K) sum_k rho_k by listing every group of K traces, in nats; maximise                 (Eq. 5).

    Order does not matter, so C(Z+K-1, K) groups are listed with their multinomial probabilities.  For larger K:
    ``quadrature_iwae_bound``, an independent route to the same number.

    Differentiable in all three.  q can draw a trace that cannot be right: -inf (all K samples might be such).
    Raises ValueError if num_samples < 1 or more than 500,000 groups would be listed, ShapeError as ``exact_elbo``.
    """
    require_samples(
        "exact_iwae_bound", log_prior=log_prior, log_correctness=log_correctness, log_posterior=log_posterior
    )
    log_weights = log_importance_weights(log_prior, log_correctness, log_posterior)
    log_weights = log_weights.masked_fill(log_posterior == -math.inf, 0.0)
    groups = _list_groups(log_weights.shape[-1], num_samples).to(log_weights.device)
    log_chances = _log_orders(groups).to(log_weights) + log_posterior[..., groups].sum(-1)
    return _expectation(log_chances, iwae_bound(log_weights[..., groups]))


def quadrature_iwae_bound(
    log_prior: Float[Tensor, "*batch Z"],
    log_correctness: Float[Tensor, "*batch Z"],
    log_posterior: Float[Tensor, "*batch Z"],
    num_samples: int,
    *,
    step: float = 0.125,
) -> Float[Tensor, "*batch"]:
    """L^K for any K as an integral over one variable, in nats; maximise                                     (Eq. 5).

        E log S = integral_0^inf ( e^-t - E e^(-t S) ) dt/t,   E e^(-t S) = ( E_q e^(-t rho/K) )^K

    since the K weights are independent.  With t = e^u the integrand is analytic in a strip of half-width pi/2 and
    decays at both ends, so the trapezoidal rule errs by about exp(-pi^2/step): far below rounding at the default.
    Computed in float64, good to 1e-10 for K up to 10^4; the result has the tables' dtype.

    Differentiable in all three; not for vmap, since the range of u is read from the values.  q can draw a trace that
    cannot be right: -inf.  Raises ValueError if num_samples < 1 or some q does not sum to one within 1e-3 (bfloat16
    tables do not), ShapeError as ``exact_elbo``.
    """
    require_samples(
        "quadrature_iwae_bound", log_prior=log_prior, log_correctness=log_correctness, log_posterior=log_posterior
    )
    if num_samples < 1:
        raise ValueError(f"quadrature_iwae_bound: needs num_samples >= 1, got {num_samples}.")
    _require_whole("quadrature_iwae_bound", log_posterior)
    log_weights = log_importance_weights(log_prior, log_correctness, log_posterior)
    never = log_posterior == -math.inf
    hopeless = ((log_weights == -math.inf) & ~never).any(-1)
    # Traces that never come up, and questions without a finite bound, take part with the harmless weight one.
    log_rho = log_weights.masked_fill(never | hopeless[..., None], 0.0).double()
    chance = log_posterior.double().exp()
    # The identity holds in any unit of S; in units of E rho the integrand is O(t^2) near 0.
    unit = (log_posterior.double() + log_rho).logsumexp(-1, keepdim=True).detach()
    scaled = (log_rho - unit).masked_fill(never, 0.0)
    lowest, highest = (end.item() for end in scaled.detach().aminmax())
    u = torch.arange(-37 - max(highest, 0.0), 4 - min(lowest, 0.0), step, dtype=torch.float64, device=scaled.device)
    points = u.reshape(-1, *[1] * scaled.ndim)
    # e^(-t rho/K) - 1, which is -1 long before the ceiling; beyond it e^x would overflow, and the gradient be 0 * inf
    decay = torch.expm1(-(points - math.log(num_samples) + scaled).clamp(max=100.0).exp())
    log_transform = torch.log1p((chance * decay).sum(-1).clamp(min=-1.0 + 1e-15))
    integral = step * (torch.exp(-points[..., 0].exp()) - (num_samples * log_transform).exp()).sum(0)
    return (integral + unit[..., 0]).masked_fill(hopeless, -math.inf).to(log_weights.dtype)


class ListedTraces(NamedTuple):
    """Z traces of at most T tokens.  A closed trace ends with the end token, counted in its length; others were cut."""

    ids: Int[Tensor, "Z T"]  # padded with the end token
    lengths: Int[Tensor, " Z"]
    closed: Bool[Tensor, " Z"]
    log_probs: Float[Tensor, " Z"]


def list_traces(
    logits: Logits,
    prompt: Sequence[int],
    *,
    open_tokens: Sequence[int],
    end_token: int,
    max_tokens: int,
    batch_size: int = 512,
) -> ListedTraces:
    """Every trace of a causal language model, with its log-probability given the prompt.

    With b open tokens: 1 + b + ... + b^(T-1) closed traces and b^T cut ones.  Where open tokens and the end token
    are the whole vocabulary, the probabilities sum to one.  Only the b^(T-1) longest prefixes are run: a causal
    model's logits along them hold those of every shorter prefix.

    Args:
        logits: token ids [S, L] -> logits [S, L, V], e.g. ``lambda ids: model(input_ids=ids).logits``; causal.
        prompt: ids of the question (for q: with its hint), at least one.
        open_tokens: the ids a trace may go on with: at least one, different, the end token not among them.
        end_token: the id that closes a trace.
        max_tokens: T, the end token included.
        batch_size: sequences per call of ``logits``.

    Order: closed by length, each length as in open_tokens, then the cut ones; the same for every model and prompt, so a
    reasoner's and a posterior's tables line up.  log_probs carries gradient if ``logits`` does, with the model's own
    rounding: Qwen3's RMSNorm works in float32 even in a float64 model.  Raises ValueError for arguments that break
    these rules.
    """
    _require_listing(prompt, open_tokens, end_token, max_tokens)
    branches, tokens = len(open_tokens), torch.tensor(open_tokens)
    # of the longest prefixes; one empty row for T = 1
    digits = torch.tensor(list(itertools.product(range(branches), repeat=max_tokens - 1)), dtype=torch.long)
    log_steps = _next_token_log_probs(logits, prompt, tokens[digits], batch_size)[..., [*open_tokens, end_token]]
    taken = log_steps[:, :-1].gather(-1, digits[..., None].to(log_steps.device))[..., 0]
    log_prefixes = torch.nn.functional.pad(taken.cumsum(-1), (1, 0))  # column d: the first d tokens
    ids, lengths, log_probs = [], [], []
    for depth in range(max_tokens):
        first = slice(None, None, branches ** (max_tokens - 1 - depth))  # one longest prefix below each of this depth
        begun = tokens[digits[first, :depth]]
        ids.append(torch.nn.functional.pad(begun, (0, max_tokens - depth), value=end_token))
        lengths.append(torch.full((len(begun),), depth + 1))
        log_probs.append(log_prefixes[first, depth] + log_steps[first, depth, -1])
    num_closed, num_cut = sum(map(len, ids)), branches**max_tokens
    last = tokens.repeat(len(digits))[:, None]
    ids.append(torch.cat([tokens[digits].repeat_interleave(branches, 0), last], -1))
    lengths.append(torch.full((num_cut,), max_tokens))
    log_probs.append((log_prefixes[:, -1:] + log_steps[:, -1, :-1]).flatten())
    closed = torch.arange(num_closed + num_cut) < num_closed
    return ListedTraces(torch.cat(ids), torch.cat(lengths), closed, torch.cat(log_probs))


def log_answer_probs(
    logits: Logits,
    prompt: Sequence[int],
    traces: ListedTraces,
    answers: Sequence[Sequence[int]],
    *,
    batch_size: int = 512,
) -> Float[Tensor, "Z R"]:
    """log pi(y|x,z) of each of R answers after each listed trace, in nats.

    ``log_answer_probs(...).logsumexp(-1)`` is log pi(Y|x,z) when the answers are all of Y, each ending with its closing
    marker (so that none is a beginning of another).  A trace that was cut has no answer: -inf.
    ``prompt`` is the reasoner's, without a hint.  Other arguments as ``list_traces``; gradient flows if ``logits``
    carries it.  Raises ValueError for no answers or an empty one.
    """
    if not answers or not all(answers):
        raise ValueError(f"log_answer_probs: needs at least one answer, each of at least one token; got {answers!r}.")
    columns = []
    for answer in answers:
        column = torch.full(traces.log_probs.shape, -math.inf).to(traces.log_probs)
        for length in traces.lengths[traces.closed].unique().tolist():
            rows = (traces.lengths == length) & traces.closed
            begun = traces.ids[rows, :length]
            response = torch.cat([begun, torch.tensor(answer).expand(len(begun), -1)], -1)
            log_steps = _next_token_log_probs(logits, prompt, response[:, :-1], batch_size)[:, length:]
            targets = response[:, length:, None].to(log_steps.device)
            column = column.masked_scatter(rows.to(column.device), log_steps.gather(-1, targets)[..., 0].sum(-1))
        columns.append(column)
    return torch.stack(columns, -1)


def _next_token_log_probs(
    logits: Logits, prompt: Sequence[int], responses: Int[Tensor, "S L"], batch_size: int
) -> Float[Tensor, "S L1 V"]:
    """Log-probabilities of the token after the prompt and after every token of the response: L + 1 positions."""
    begun = torch.tensor(list(prompt)).expand(len(responses), -1)
    batches = torch.cat([begun, responses], -1).split(batch_size)
    return torch.cat([logits(ids)[:, len(prompt) - 1 :].log_softmax(-1) for ids in batches])


def _expectation(log_chances: Float[Tensor, "*batch Z"], values: Float[Tensor, "*batch Z"]) -> Float[Tensor, "*batch"]:
    """sum_z chance(z) values(z); what has no chance counts 0, an infinite value that has some decides alone."""
    chances = log_chances.exp()
    infinite = values.isinf() & (chances > 0)
    finite = (chances * values.masked_fill(infinite | (chances == 0), 0.0)).sum(-1)
    return torch.where(infinite.any(-1), values.detach().masked_fill(~infinite, 0.0).sum(-1), finite)


def _list_groups(size: int, num_samples: int) -> Int[Tensor, "S K"]:
    """Every multiset of K out of `size`, as sorted rows."""
    count = math.comb(size + num_samples - 1, num_samples) if num_samples > 0 else 0
    if not 1 <= count <= MOST_GROUPS:
        raise ValueError(
            f"exact_iwae_bound: needs num_samples >= 1 and at most {MOST_GROUPS:,} groups of traces, got num_samples = "
            f"{num_samples} of {size} traces, {count:,} groups. Use quadrature_iwae_bound, which takes any K."
        )
    rows: Iterator[tuple[int, ...]] = itertools.combinations_with_replacement(range(size), num_samples)
    return torch.tensor(list(rows))


def _log_orders(groups: Int[Tensor, "S K"]) -> Float[Tensor, " S"]:
    """log( K! / prod n_i! ), the ways to order each multiset: n! is the product of the positions within its run."""
    position = torch.ones(len(groups), dtype=torch.float64, device=groups.device)
    log_repeats = torch.zeros_like(position)
    for k in range(1, groups.shape[-1]):
        position = torch.where(groups[:, k] == groups[:, k - 1], position + 1, 1.0)
        log_repeats = log_repeats + position.log()
    return math.lgamma(groups.shape[-1] + 1) - log_repeats


def _require_whole(function: str, log_posterior: Tensor) -> None:
    total = log_posterior.detach().double().exp().sum(-1)
    if not bool(((total - 1).abs() < 1e-3).all()):
        raise ValueError(
            f"{function}: log_posterior must list all traces of q, probabilities summing to one; sums go from "
            f"{total.min().item():g} to {total.max().item():g}. Keep the cut traces in the table, or use log_softmax."
        )


def _require_listing(prompt: Sequence[int], open_tokens: Sequence[int], end_token: int, max_tokens: int) -> None:
    if not prompt or not open_tokens or max_tokens < 1:
        raise ValueError(
            "list_traces: needs a prompt of at least one token, at least one open token and max_tokens >= 1; got "
            f"{len(prompt)} prompt tokens, {len(open_tokens)} open tokens, max_tokens = {max_tokens}."
        )
    if len({*open_tokens, end_token}) != len(open_tokens) + 1:
        raise ValueError(
            f"list_traces: open_tokens must be different and must not hold end_token; got {list(open_tokens)} and "
            f"{end_token}. Traces would be listed twice."
        )
