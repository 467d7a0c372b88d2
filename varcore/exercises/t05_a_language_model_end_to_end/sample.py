"""Task 5.4: draw traces, and remember with what probability."""

import torch

from varcore.exercises.t05_a_language_model_end_to_end.slips import cut as _cut
from varcore.exercises.t05_a_language_model_end_to_end.slips import drawn as _drawn
from varcore.exercises.t05_a_language_model_end_to_end.slips import with_each as _with
from varcore.exercises.t05_a_language_model_end_to_end.small import CLOSE, small_qwen3, some_ids
from varcore.exercises.t05_a_language_model_end_to_end.uniforms import uniforms
from varcore.exercises.task import Case, Task


def cases(generator):
    model = small_qwen3(generator)

    def arguments(rows, length, temperature, max_tokens):
        prompts = [some_ids(generator, length) for _ in range(rows)]
        seeds = torch.randint(2**31, (rows,), generator=generator).tolist()
        endless = sample(model, prompts, seeds, temperature, 2, stop=-1)
        stop = endless[0][0][1]  # so some row stops in every case, before its last step
        return model, prompts, seeds, temperature, max_tokens, stop

    return [
        Case("three prompts at temperature 1", arguments(3, 4, 1.0, 3)),
        Case("ten prompts at temperature 0.7", arguments(10, 3, 0.7, 5)),
        Case("six prompts at temperature 2", arguments(6, 5, 2.0, 4)),
    ]


def examine(sample, generator):
    drawn = sample(small_qwen3(generator), [(3, 4)], [0], 1.0, 2, CLOSE)
    if drawn[0][1].requires_grad:
        return (
            "the samples are right, but their log-probabilities hold on to the model's gradient, and so to its memory. "
            "Draw inside `with torch.no_grad():`."
        )
    return ""


def sample(model, prompts, seeds, temperature, max_tokens, stop):
    ids, columns = torch.tensor(prompts), []
    with torch.no_grad():
        for t in range(max_tokens):
            log_probs = (model(input_ids=ids).logits[:, -1] / temperature).log_softmax(-1)
            cdf = log_probs.double().exp().cumsum(-1)
            token = torch.searchsorted(cdf / cdf[:, -1:], uniforms(seeds, t)[:, None], right=True)
            columns.append(log_probs.gather(-1, token)[:, 0])
            ids = torch.cat([ids, token], 1)
    found = []
    for row, logs in zip(ids[:, len(prompts[0]) :].tolist(), torch.stack(columns, 1), strict=True):
        end = row.index(stop) + 1 if stop in row else max_tokens  # what was drawn after the marker does not count
        found.append((tuple(row[:end]), logs[:end]))
    return found


def with_cache(model, prompts, seeds, temperature, max_tokens, stop):
    fed, past, ids, columns = torch.tensor(prompts), None, [], []
    for t in range(max_tokens):
        with torch.no_grad():
            out = model(input_ids=fed, past_key_values=past, use_cache=True)
        past, log_probs = out.past_key_values, torch.log_softmax(out.logits[:, -1] / temperature, -1)
        below = log_probs.double().exp().cumsum(-1) <= uniforms(seeds, t)[:, None]
        fed = below.sum(-1, keepdim=True)
        ids.append(fed)
        columns.append(log_probs.gather(-1, fed))
    found = []
    for row, logs in zip(torch.cat(ids, 1).tolist(), torch.cat(columns, 1), strict=True):
        end = [*row, stop].index(stop) + 1
        found.append((tuple(row[:end]), logs[:end]))
    return found


def row_by_row(model, prompts, seeds, temperature, max_tokens, stop):
    found = []
    for prompt, seed in zip(prompts, seeds, strict=True):
        drawn, logs = [], []
        while len(drawn) < max_tokens and stop not in drawn:
            logits = model(input_ids=torch.tensor([[*prompt, *drawn]])).logits[0, -1].detach()
            chances = torch.softmax(logits / temperature, -1)
            left = uniforms([seed], len(drawn)).item()
            token = 0
            while left >= chances[token] and token + 1 < len(chances):
                left -= chances[token].item()
                token += 1
            drawn.append(token)
            logs.append(chances[token].log())
        found.append((tuple(drawn), torch.stack(logs)))
    return found


def recorded_at_one(model, prompts, seeds, temperature, max_tokens, stop):
    """the tokens are right, their log-probabilities are not: they are those at temperature 1. Weights divide by the
    probability with which a trace was drawn, and it was drawn at your temperature."""
    return _cut(_drawn(model, prompts, seeds, temperature, max_tokens, stop, recorded=1.0), stop)


def multiplied(model, prompts, seeds, temperature, max_tokens, stop):
    """it multiplies the logits by the temperature; they are divided by it."""
    return sample(model, prompts, seeds, 1 / temperature, max_tokens, stop)


def no_temperature(model, prompts, seeds, temperature, max_tokens, stop):
    """the temperature is not used."""
    return sample(model, prompts, seeds, 1.0, max_tokens, stop)


def greedy(model, prompts, seeds, temperature, max_tokens, stop):
    """it takes the most probable token each time. That is no sample: all traces of a question would be the same, and
    their probabilities would say nothing about how often they come."""
    pick = lambda log_probs, below: log_probs.argmax(-1, keepdim=True)  # noqa: E731
    return _cut(_drawn(model, prompts, seeds, temperature, max_tokens, stop, pick=pick), stop)


def one_too_low(model, prompts, seeds, temperature, max_tokens, stop):
    """it takes the last token whose cumulative probability is *not* above the number: one too low. The token wanted is
    the first that is above."""
    pick = lambda log_probs, below: (below - 1).clamp(min=0)  # noqa: E731
    return _cut(_drawn(model, prompts, seeds, temperature, max_tokens, stop, pick=pick), stop)


def same_number(model, prompts, seeds, temperature, max_tokens, stop):
    """every step of a row uses the same number. Each token needs one of its own: `uniforms(seeds, t)` at step t."""
    return _cut(_drawn(model, prompts, seeds, temperature, max_tokens, stop, step=lambda t: 0), stop)


def counted_from_one(model, prompts, seeds, temperature, max_tokens, stop):
    """the steps are counted from 1; the first token is drawn with `uniforms(seeds, 0)`."""
    return _cut(_drawn(model, prompts, seeds, temperature, max_tokens, stop, step=lambda t: t + 1), stop)


def forgets(model, prompts, seeds, temperature, max_tokens, stop):
    """every token is drawn after the prompt alone: the model does not see what it has written. Append each token
    before the next step."""
    return _cut(_drawn(model, prompts, seeds, temperature, max_tokens, stop, see=False), stop)


def stop_dropped(model, prompts, seeds, temperature, max_tokens, stop):
    """the stop marker is cut off. It was drawn, it has a probability, and it is the last token of the trace."""
    rows = sample(model, prompts, seeds, temperature, max_tokens, stop)
    return _with(rows, lambda ids, logs: (ids[:-1], logs[:-1]) if ids[-1] == stop else (ids, logs))


def runs_on(model, prompts, seeds, temperature, max_tokens, stop):
    """it goes on after the stop marker. A row ends there; what a batch draws for it afterwards has to be thrown
    away."""
    return _drawn(model, prompts, seeds, temperature, max_tokens, stop)


def all_stop_at_once(model, prompts, seeds, temperature, max_tokens, stop):
    """all rows end when the first of them does. Each row ends by itself."""
    rows = sample(model, prompts, seeds, temperature, max_tokens, stop)
    end = min(len(ids) for ids, _ in rows)
    return _with(rows, lambda ids, logs: (ids[:end], logs[:end]))


def with_prompt(model, prompts, seeds, temperature, max_tokens, stop):
    """the prompt stands in front of what was drawn. Only the drawn ids are asked for."""
    rows = sample(model, prompts, seeds, temperature, max_tokens, stop)
    return [(prompt + ids, logs) for prompt, (ids, logs) in zip(prompts, rows, strict=True)]


def summed(model, prompts, seeds, temperature, max_tokens, stop):
    """the log-probabilities are summed over the row; one per token is asked for."""
    return _with(sample(model, prompts, seeds, temperature, max_tokens, stop), lambda ids, logs: (ids, logs.sum()))


def probabilities(model, prompts, seeds, temperature, max_tokens, stop):
    """the tokens are right, and with them stand probabilities; their logarithms are asked for."""
    return _with(sample(model, prompts, seeds, temperature, max_tokens, stop), lambda ids, logs: (ids, logs.exp()))


def numbers(model, prompts, seeds, temperature, max_tokens, stop):
    """the log-probabilities of a row come in a list; the spec asks for a tensor."""
    return _with(sample(model, prompts, seeds, temperature, max_tokens, stop), lambda ids, logs: (ids, logs.tolist()))


def in_double(model, prompts, seeds, temperature, max_tokens, stop):
    """the log-probabilities are in double precision; the spec asks for the model's dtype. Only the cumulated
    probabilities need to be finer."""
    return _with(sample(model, prompts, seeds, temperature, max_tokens, stop), lambda ids, logs: (ids, logs.double()))


def end_not_recorded(model, prompts, seeds, temperature, max_tokens, stop):
    """the stop marker has no log-probability beside it. It was drawn like every other token, and a weight divides by
    its probability too."""
    rows = sample(model, prompts, seeds, temperature, max_tokens, stop)
    return _with(rows, lambda ids, logs: (ids, logs[:-1] if ids[-1] == stop else logs))


def one_token_too_many(model, prompts, seeds, temperature, max_tokens, stop):
    """a row without a stop marker has one token more than `max_tokens`."""
    return sample(model, prompts, seeds, temperature, max_tokens + 1, stop)


def one_token_too_few(model, prompts, seeds, temperature, max_tokens, stop):
    """a row without a stop marker has one token less than `max_tokens`."""
    return sample(model, prompts, seeds, temperature, max_tokens - 1, stop)


def place_as_seed(model, prompts, seeds, temperature, max_tokens, stop):
    """the number of the row stands in for its seed. The same row drawn in another batch would be another trace."""
    return sample(model, prompts, range(len(prompts)), temperature, max_tokens, stop)


def own_dice(model, prompts, seeds, temperature, max_tokens, stop):
    """it draws with torch's own random numbers. The numbers are given, `uniforms(seeds, t)`, so that two samplers can
    be compared."""
    pick = lambda log_probs, below: torch.multinomial(log_probs.exp(), 1)  # noqa: E731
    return _cut(_drawn(model, prompts, seeds, temperature, max_tokens, stop, pick=pick), stop)


def lists(model, prompts, seeds, temperature, max_tokens, stop):
    """the ids of a row come in a list; the spec asks for a tuple, which can be joined to a prompt."""
    rows = sample(model, prompts, seeds, temperature, max_tokens, stop)
    return _with(rows, lambda ids, logs: (list(ids), logs))


def graph_kept(model, prompts, seeds, temperature, max_tokens, stop):
    """the samples are right, but their log-probabilities hold on to the model's gradient, and so to its memory. Draw
    inside `with torch.no_grad():`."""
    rows = sample(model, prompts, seeds, temperature, max_tokens, stop)
    return _with(rows, lambda ids, logs: (ids, logs.clone().requires_grad_()))


def drawn_at_one(model, prompts, seeds, temperature, max_tokens, stop):
    """the tokens are drawn at temperature 1, and only their log-probabilities are at yours. Draw from the same
    probabilities that you write down."""
    return _cut(_drawn(model, prompts, seeds, 1.0, max_tokens, stop, recorded=temperature), stop)


def seeds_moved_up(model, prompts, seeds, temperature, max_tokens, stop):
    """as soon as a row has stopped, the rows behind it are drawn with the seeds of others: the row was taken out of the
    batch, and its seed was not. Each row keeps its own."""
    ids, columns, running = [[] for _ in prompts], [[] for _ in prompts], list(range(len(prompts)))
    for t in range(max_tokens):
        if running:
            so_far = [(*prompts[n], *ids[n]) for n in running]
            tokens = _drawn(model, so_far, seeds[: len(running)], temperature, 1, stop, step=lambda _, t=t: t)
            for n, (token, logs) in zip(running, tokens, strict=True):
                ids[n] += token
                columns[n].append(logs)
            running = [n for n in running if ids[n][-1] != stop]
    return [(tuple(row), torch.cat(logs)) for row, logs in zip(ids, columns, strict=True)]


TASK = Task(
    name="5.4",
    title="Draw, and remember how likely it was",
    tier="core",
    hints=(
        "Write a loop over the steps. All rows together: feed the ids so far, take the logits at the last position, "
        "draw one token a row, append. Let rows that have stopped run along, and cut every row at the end, after its "
        "first stop marker.",
        "log_probs = log_softmax(logits[:, -1] / temperature); token = the smallest v with Σ_{w ≤ v} "
        "exp(log_probs[w]) > u; record log_probs[token].",
        "ids, columns = torch.tensor(prompts), []\nwith torch.no_grad():\n    for t in range(max_tokens):\n"
        "        log_probs = (model(input_ids=ids).logits[...] / temperature).log_softmax(-1)\n"
        "        cdf = log_probs.double().exp().cumsum(-1)\n"
        "        token = torch.searchsorted(cdf, uniforms(...)[:, None], right=True)\n"
        "        columns.append(log_probs.gather(-1, token)[:, 0])\n        ids = torch.cat([ids, token], 1)\n"
        "found = []\nfor row, logs in zip(ids[:, len(prompts[0]) :].tolist(), torch.stack(columns, 1)):\n"
        "    end = row.index(stop) + 1 if ... else ...\n    found.append((tuple(row[:end]), ...))\nreturn found",
    ),
    cases=cases,
    examine=examine,
    solution=sample,
    alternatives=(with_cache, row_by_row),
    mistakes=(
        recorded_at_one,
        multiplied,
        no_temperature,
        greedy,
        one_too_low,
        same_number,
        counted_from_one,
        forgets,
        stop_dropped,
        runs_on,
        all_stop_at_once,
        with_prompt,
        summed,
        probabilities,
        numbers,
        in_double,
        end_not_recorded,
        one_token_too_many,
        one_token_too_few,
        place_as_seed,
        own_dice,
        lists,
        graph_kept,
        drawn_at_one,
        seeds_moved_up,
    ),
    library="varcore.llm.sampling.TransformersSampler",
)
