"""The cases of the tasks that take log weights: tables of log ρ, from the plainest to the oddest."""

from __future__ import annotations

import torch

from varcore.exercises.drawing import normal, without
from varcore.exercises.task import Case


def questions(generator: torch.Generator, slopes: tuple[int, ...] = ()) -> list[Case]:
    """Log weights [..., K]; gradients, where asked for, on the first case alone: with -inf they are not specified."""

    def draw(*shape, **settings):
        return normal(generator, *shape, **settings)

    return [
        Case("three questions of four traces", (draw(3, 4),), slopes),
        Case("one question of five traces", (draw(5),)),
        Case("a tensor of shape (2, 3, 4)", (draw(2, 3, 4),)),
        Case("a single trace (K = 1)", (draw(3, 1),)),
        Case("log weights near -2000", (draw(3, 4) - 2000,)),
        Case("log weights near +2000", (draw(3, 4) + 2000,)),
        Case("a trace of weight zero", (without(draw(3, 4), (1, 2)),)),
        Case("a question whose traces all have weight zero", (without(draw(3, 4), (1,)),)),
        Case("float32 values", (draw(3, 4, dtype=torch.float32),)),
        Case("one question of four traces in float32", (draw(4, dtype=torch.float32),)),
    ]
