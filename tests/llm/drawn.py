"""What samples are compared with: exact probabilities, and a statistic for frequencies.  Nothing of varcore."""

import torch


def chi_square(counts: list[int], probabilities: list[float]) -> float:
    total = sum(counts)
    return sum((c - total * p) ** 2 / (total * p) for c, p in zip(counts, probabilities, strict=True))


def next_probabilities(model, ids: tuple[int, ...], temperature: float) -> list[float]:
    with torch.no_grad():
        return (model(torch.tensor([ids])).logits[0, -1].double() / temperature).softmax(-1).tolist()
