"""What the checks of tutorial 5 run on: a Qwen3 with random weights, small enough to be judged many times."""

import copy
import functools

import torch

from varcore.llm.tiny import tiny_qwen3

VOCABULARY = 12
CLOSE = 1  # the id that closes a trace


@functools.cache
def _frame():
    return tiny_qwen3(VOCABULARY, 0, hidden=8, layers=1, heads=1).float().eval()


def small_qwen3(generator):
    """A Qwen3ForCausalLM of one layer, width 8 and 12 tokens, with fresh random weights."""
    model = copy.deepcopy(_frame())
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.copy_(drawn * parameter.shape[-1] ** -0.5 if parameter.ndim == 2 else 1 + 0.2 * drawn)
        model.model.embed_tokens.weight.mul_(1.5)  # so that next tokens differ well in probability
    object.__setattr__(model, "__deepcopy__", lambda memo: model)  # a check copies for every call: longer than the call
    return model


def some_ids(generator, length):
    """A tuple of this many token ids, none of which closes a trace."""
    return tuple(torch.randint(2, VOCABULARY, (length,), generator=generator).tolist())
