"""What is asked of vLLM for one request, and what is made of its answers.

vLLM ends a sequence at a single token (`stop_token_ids`); its `stop` strings are compared with decoded text, which
other ids than the marker's can spell.  So a sample is drawn in segments that end at the marker's last token.  If the
whole marker stands there, the sample has ended; if not, the next segment goes on from there.  A marker of one token
always takes one segment.  Segments have random streams of their own, so the distribution is that of a single draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig

from varcore.llm.sampling import Request, Sample, check_settings, hashed
from varcore.llm.templates import Ids

TEMPERATURES = 0.01, 2.0  # vLLM takes anything below the first for the first, and refuses what is above the second

# spelled out, for a server otherwise takes these from the model's generation_config.json
WHOLE_DISTRIBUTION = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}


class EngineError(RuntimeError):
    """An engine that is missing, has died, or answers in a way that cannot be recorded truthfully."""


class Draft:
    """The tokens drawn so far for one request."""

    def __init__(self, request: Request, *, temperature: float, max_tokens: int, stop: Ids):
        self.request, self.temperature, self.max_tokens, self.stop = request, temperature, max_tokens, stop
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.segments = 0

    @property
    def prompt(self) -> list[int]:
        """Ids that the next segment continues."""
        return [*self.request.prompt, *self.ids]

    @property
    def parameters(self) -> dict[str, Any]:
        """vLLM's names for the next segment: the model's own distribution at the temperature, and nothing else."""
        return {
            **WHOLE_DISTRIBUTION,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens - len(self.ids),
            "seed": fold_seed(self.request.seed, self.segments),
            "stop_token_ids": [self.stop[-1]],
            "ignore_eos": True,  # only the marker ends a sample
            "logprobs": 0,  # that of the drawn token alone
        }

    @property
    def stopped(self) -> bool:
        return tuple(self.ids[-len(self.stop) :]) == self.stop

    @property
    def finished(self) -> bool:
        return self.stopped or len(self.ids) == self.max_tokens

    def extend(self, ids: Sequence[int], log_probs: Sequence[float]) -> None:
        """Take a segment as it was drawn.  EngineError unless it can be one: an ending is never made up."""
        room, last = self.max_tokens - len(self.ids), self.stop[-1]
        whole = 0 < len(ids) <= room and last not in ids[:-1] and (ids[-1] == last or len(ids) == room)
        if not whole:
            raise EngineError(
                f"An engine was to draw until token {last} or {room} tokens, and gave {len(ids)}: {list(ids)}. "
                "It was interrupted, or does not obey stop_token_ids and ignore_eos. Use vLLM, and draw again."
            )
        if len(log_probs) != len(ids) or not all(-9999.0 < value < 1e-3 for value in log_probs):
            raise EngineError(
                f"An engine gave {len(ids)} tokens with the log-probabilities {list(log_probs)}; each token needs one, "
                "finite and not above 0."
            )
        self.ids += ids
        self.log_probs += log_probs
        self.segments += 1

    def sample(self) -> Sample:
        return Sample(tuple(self.ids), tuple(self.log_probs), self.stopped)


def check_vllm_settings(temperature: float, max_tokens: int, stop: Ids) -> None:
    """ValueError for settings that no sampler takes, or that vLLM would change."""
    check_settings(temperature, max_tokens, stop)
    lowest, highest = TEMPERATURES
    if not lowest <= temperature <= highest:
        raise ValueError(f"vLLM draws at temperatures from {lowest} to {highest}, got {temperature}. Choose another.")


def saved_dtype(model: str | Path) -> str:
    """The dtype that a model folder was saved in, as vLLM names it; "auto" if it is not here or does not say.

    vLLM's own choice, "auto", turns float32 into bfloat16.
    """
    dtype = AutoConfig.from_pretrained(model).dtype if Path(model, "config.json").is_file() else None
    return str(dtype).removeprefix("torch.") if dtype else "auto"


def fold_seed(seed: int, segment: int) -> int:
    """The seed that vLLM gets for one segment of a request: 63 bits of a hash of (seed, segment).

    vLLM takes signed 64-bit seeds and reads -1 as none.  Its CPU sampler uses the low 32 bits (torch's CPU generator
    has no more), its GPU sampler all of them: the hash spreads any difference of the seeds over both, so two of a group
    of 64 share a stream with probability 5e-7 on a CPU.
    """
    return int(hashed(np.array([seed], dtype=np.uint64), segment)[0]) >> 1
