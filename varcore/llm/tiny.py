"""A Qwen3 small enough to train from nothing on a laptop, and its tokenizer, both in Qwen's own file formats.

The tokenizer is byte-level BPE with Qwen's pre-tokeniser and special tokens, so any text can be encoded and decoded
without loss; the numbers 0 to 99, with the space before them, are added tokens, so that a number is one token.
"""

from __future__ import annotations

import torch
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM
from transformers.convert_slow_tokenizer import bytes_to_unicode

PAD, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
THINK, END_THINK, HINT, END_HINT = "<think>", "</think>", "<hint>", "</hint>"
MERGES = ["Ġ +", "Ġ -", "Ġ *", "Ġ =", "Ġ x", "O K", "Ġ OK"]


def tiny_tokenizer() -> Qwen2Tokenizer:
    """The tokenizer of the tiny models: 256 bytes, seven merges, special markers and the numbers 0 to 99."""
    symbols = [*bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES)]
    tokenizer = Qwen2Tokenizer(
        vocab={symbol: index for index, symbol in enumerate(symbols)},
        merges=[tuple(merge.split(" ")) for merge in MERGES],  # pyright: ignore[reportArgumentType]
        unk_token=None,  # pyright: ignore[reportArgumentType]
        pad_token=PAD,
        eos_token=IM_END,
        extra_special_tokens=[IM_START, THINK, END_THINK, HINT, END_HINT],
    )
    tokenizer.add_tokens([f" {number}" for number in range(100)])
    return tokenizer


def tiny_qwen3(
    vocabulary_size: int, seed: int, *, hidden: int = 96, layers: int = 3, heads: int = 3
) -> Qwen3ForCausalLM:
    """A randomly initialised Qwen3: one key-value head (cheap to cache), tied embeddings, fan-in initialisation.

    Fan-in initialisation (standard deviation 1/sqrt(inputs)) rather than the usual 0.02, which is meant for widths in
    the thousands and makes a model this narrow learn far more slowly.
    """
    config = Qwen3Config(
        vocab_size=vocabulary_size,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.normal_(0.0, parameter.shape[1] ** -0.5, generator=generator)
    return model
