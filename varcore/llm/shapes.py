"""The Qwen3 models by name, as configurations: what is known before weights are there, FLOPs among it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, Qwen3Config

# Hidden size, layers, attention heads, width of the MLP, tied embeddings: as in the config.json of each model.
QWEN3 = {
    "qwen3-0.6b": ("Qwen/Qwen3-0.6B-Base", 1024, 28, 16, 3072, True),
    "qwen3-1.7b": ("Qwen/Qwen3-1.7B-Base", 2048, 28, 16, 6144, True),
    "qwen3-4b": ("Qwen/Qwen3-4B-Base", 2560, 36, 32, 9728, True),
    "qwen3-8b": ("Qwen/Qwen3-8B-Base", 4096, 36, 32, 12288, False),
}


@dataclass(frozen=True)
class Shape:
    """Counts that decide memory and compute.  `parameters` counts a tied embedding once."""

    parameters: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    tied: bool

    @property
    def multiplied(self) -> int:
        """Parameters that every token is multiplied by: an input embedding of its own is only looked up."""
        return self.parameters - (0 if self.tied else self.vocabulary * self.hidden)

    @property
    def attention_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_numbers_per_token(self) -> int:
        """Numbers that the key-value cache holds for one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def qwen3_config(name: str) -> Qwen3Config:
    """The configuration of a Qwen3 base model; ValueError lists the names."""
    if name not in QWEN3:
        raise ValueError(f"There is no Qwen3 called {name!r} here; choose one of {list(QWEN3)}.")
    _, hidden, layers, heads, mlp, tied = QWEN3[name]
    return Qwen3Config(
        vocab_size=151_936,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=mlp,
        max_position_embeddings=32_768,
        tie_word_embeddings=tied,
    )


def local_config(folder: Path) -> PretrainedConfig:
    """The configuration in a model folder.  ValueError if there is none that transformers can read."""
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} has no model configuration ({error}). Name a folder with a config.json.") from error


def num_parameters(config: PretrainedConfig) -> int:
    """Of the model that `config` describes, tied weights once; nothing is allocated."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config).num_parameters()


def shape_of(config: PretrainedConfig) -> Shape:
    """Counts of the model that `config` describes; nothing is allocated."""
    return Shape(
        parameters=num_parameters(config),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        mlp=config.intermediate_size,
        vocabulary=config.vocab_size,
        tied=config.tie_word_embeddings,
    )


def flops_per_token(shape: Shape, context: float | int, adapter: int = 0) -> float:
    """Forward FLOPs of one token that sees `context` tokens: 2 per parameter, and 4 per attended position and width.

    `adapter`: numbers of a LoRA adapter that the token passes as well.
    """
    return 2.0 * (shape.multiplied + adapter) + 4.0 * shape.layers * shape.attention_width * context


def training_flops_per_token(shape: Shape, context: float | int, adapter: int = 0) -> float:
    """Forward, the gradient of the states, and that of the weights that learn: all of them, or an adapter's.

    What gradient checkpointing computes a second time is not counted: it is part of the share of the peak.
    """
    frozen = 2.0 * shape.multiplied if adapter else 0.0
    return 3 * flops_per_token(shape, context, adapter) - frozen
