"""What the mathematics costs: each loss over the bare torch expression, the import over torch's, curves of W(p).

    python benchmarks/maths.py [--rounds 200]

Both sides of a loss run forward and backward on the same [64, 64] float32 tensors, in turns, in one process on one
thread; the ratio is of medians.  A bare expression has no checks, no shapes, no care for zero weights: it is what one
would type.  Imports are timed in fresh processes, in turns.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

import varcore

B, K, IMPORTS = 64, 64, 10


def bare_iwae_reasoner(log_probs: Tensor, log_weights: Tensor) -> Tensor:
    return -(log_weights.softmax(-1).detach() * log_probs).sum(-1)


def bare_iwae_posterior(log_probs: Tensor, log_weights: Tensor) -> Tensor:
    bound = log_weights.logsumexp(-1, keepdim=True) - math.log(K)
    return -((bound - log_weights.softmax(-1)).detach() * log_probs).sum(-1)


def bare_vimco(log_probs: Tensor, log_weights: Tensor) -> Tensor:
    own = torch.eye(K, dtype=torch.bool)
    others = (log_weights.sum(-1, keepdim=True) - log_weights) / (K - 1)
    replaced = torch.where(own, others[..., None], log_weights[..., None, :])
    signal = log_weights.logsumexp(-1, keepdim=True) - replaced.logsumexp(-1)
    return -((signal - log_weights.softmax(-1)).detach() * log_probs).sum(-1)


def bare_forward_kl(log_probs: Tensor, correctness: Tensor) -> Tensor:
    return -((correctness / correctness.sum(-1, keepdim=True)).detach() * log_probs).sum(-1)


def bare_reverse_kl(log_probs: Tensor, log_weights: Tensor) -> Tensor:
    others = (log_weights.sum(-1, keepdim=True) - log_weights) / (K - 1)
    return -((log_weights - others).detach() * log_probs).mean(-1)


def bare_policy_gradient(log_probs: Tensor, advantages: Tensor) -> Tensor:
    return -(advantages.detach() * log_probs).mean(-1)


def bare_grpo(log_probs: Tensor, rewards: Tensor) -> Tensor:
    advantages = (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + 1e-4)
    return -(advantages.detach() * log_probs).mean(-1)


def grpo(log_probs: Tensor, rewards: Tensor) -> Tensor:
    return varcore.policy_gradient_loss(log_probs, varcore.grpo_advantages(rewards))


LOSSES: list[tuple[str, Callable[..., Tensor], Callable[..., Tensor]]] = [
    ("iwae_reasoner_loss", varcore.iwae_reasoner_loss, bare_iwae_reasoner),
    ("iwae_posterior_loss", varcore.iwae_posterior_loss, bare_iwae_posterior),
    ("vimco_posterior_loss", varcore.vimco_posterior_loss, bare_vimco),
    ("forward_kl_loss", varcore.forward_kl_loss, bare_forward_kl),
    ("reverse_kl_loss", varcore.reverse_kl_loss, bare_reverse_kl),
    ("policy_gradient_loss", varcore.policy_gradient_loss, bare_policy_gradient),
    ("grpo_advantages + loss", grpo, bare_grpo),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"forward and backward, B = {B}, K = {K}, float32, one thread, medians of {rounds}")
    for name, ours, bare in LOSSES:
        compare_loss(name, ours, bare, rounds)
    compare_imports()
    print("W(p) of GRPO at 200 accuracies")
    p = torch.linspace(0.0, 1.0, 200, dtype=torch.float64)
    for size in (8, 64, 256, 1024):
        taken = statistics.median(timed(lambda size=size: varcore.grpo_question_weight(p, size)) for _ in range(9))
        print(f"  G = {size:<6}{1e3 * taken:>8.2f} ms")


def compare_loss(name: str, ours: Callable[..., Tensor], bare: Callable[..., Tensor], rounds: int) -> None:
    log_probs = torch.randn(B, K, requires_grad=True)
    numbers = torch.rand(B, K)

    def step(loss: Callable[..., Tensor]) -> Tensor:
        return torch.autograd.grad(loss(log_probs, numbers).mean(), log_probs)[0]

    torch.testing.assert_close(step(ours), step(bare), rtol=1e-4, atol=1e-6)  # the same work, or no comparison
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(rounds):
        times["ours"].append(timed(lambda: step(ours)))
        times["bare"].append(timed(lambda: step(bare)))
    fast, slow = statistics.median(times["ours"]), statistics.median(times["bare"])
    print(f"  {name:24}{1e6 * fast:>8.0f} us   bare{1e6 * slow:>8.0f} us   ratio {fast / slow:.2f}")


def compare_imports() -> None:
    times: dict[str, list[float]] = {"torch": [], "varcore": []}
    for _ in range(IMPORTS):
        for name in times:
            times[name].append(
                timed(lambda name=name: subprocess.run([sys.executable, "-c", f"import {name}"], check=True))
            )
    fast, slow = statistics.median(times["varcore"]), statistics.median(times["torch"])
    print(f"import varcore {fast:.2f} s, import torch {slow:.2f} s: ratio {fast / slow:.2f} (medians of {IMPORTS})")


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
