"""The numbers that tutorial 5 draws tokens with: those of varcore's own sampler."""

import numpy as np
import torch

from varcore.llm import sampling


def uniforms(seeds, step):
    """A number in [0, 1) for each seed at this step, [len(seeds)], float64: always the same for the same two."""
    return torch.from_numpy(sampling.uniform_numbers(np.array(seeds, dtype=np.uint64), step))
