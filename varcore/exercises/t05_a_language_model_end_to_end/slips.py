"""A sampler that errs as it is told to, for the mistakes of task 5.4."""

import torch

from varcore.exercises.t05_a_language_model_end_to_end.uniforms import uniforms


def with_each(rows, change):
    return [change(ids, logs) for ids, logs in rows]


def drawn(model, prompts, seeds, temperature, max_tokens, stop, pick=None, step=lambda t: t, see=True, recorded=None):
    """Like the solution of task 5.4, with the slips of its mistakes as settings; nothing ends at the marker."""
    ids, columns = torch.tensor(prompts), []
    with torch.no_grad():
        for t in range(max_tokens):
            logits = model(input_ids=ids if see else torch.tensor(prompts)).logits[:, -1]
            log_probs = (logits / temperature).log_softmax(-1)
            cdf = log_probs.double().exp().cumsum(-1)
            below = (cdf / cdf[:, -1:] <= uniforms(seeds, step(t))[:, None]).sum(-1, keepdim=True)
            token = below if pick is None else pick(log_probs, below)
            columns.append((logits / (recorded or temperature)).log_softmax(-1).gather(-1, token)[:, 0])
            ids = torch.cat([ids, token], 1)
    return [
        (tuple(row), logs)
        for row, logs in zip(ids[:, len(prompts[0]) :].tolist(), torch.stack(columns, 1), strict=True)
    ]


def cut(rows, stop):
    return with_each(
        rows, lambda ids, logs: (ids[: [*ids, stop].index(stop) + 1], logs[: [*ids, stop].index(stop) + 1])
    )
