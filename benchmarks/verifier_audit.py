"""How often the verifiers are right: a confusion table over pairs that we judged by hand.

    python benchmarks/verifier_audit.py

Reads tests/data/verifier_audit.jsonl, one pair a line: kind, verifier, gold, answer, expected, why; a question where
its wording matters.  A long answer is a list of [text, times].  `expected` is what is right, whatever a library says;
"not right" leaves open which of the other three.  A pair that the verifier is known to miss carries the verdict that it
gets as `known_miss`, and is counted like the others.

The peer is Math-Verify itself, called as its README shows, on the same pairs of mathematics; the hostile ones are left
out, for some of them it would not end.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from varcore.tasks import Countdown, Question, Verdict
from varcore.tasks.answers import judge_choice, judge_exact
from varcore.tasks.math_pool import MathPool
from varcore.tasks.math_text import asks_percentage
from varcore.tasks.mathematics import judge_mathematics

PAIRS = Path(__file__).resolve().parents[1] / "tests" / "data" / "verifier_audit.jsonl"
VERDICTS = [str(verdict) for verdict in Verdict]
Pair = dict[str, Any]


def main() -> None:
    pool = MathPool(seconds=2.0)
    judged = judge_all(read_pairs(), pool)
    pool.close()
    print(report(judged))
    peers = [entry for entry in judged if entry[0]["verifier"] == "mathematics" and entry[0]["kind"] != "hostile"]
    compare_with_peer("Mathematics, without the hostile pairs", peers)
    compare_with_peer("Of these, those written last", [e for e in peers if e[0]["kind"] == "written last"])


def compare_with_peer(title: str, judged: list[tuple[Pair, Verdict]]) -> None:
    theirs = [(pair, ask_peer(pair)) for pair, _ in judged]
    for name, entries in (("varcore", judged), ("Math-Verify alone", theirs)):
        table = report(entries).partition("\n  '")[0]
        print(f"\n{title}: {name}\n{table}")


def read_pairs() -> list[Pair]:
    pairs = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines()]
    for pair in pairs:
        if isinstance(pair["answer"], list):
            pair["answer"] = "".join(text * times for text, times in pair["answer"])
    return pairs


def judge_all(pairs: list[Pair], pool: MathPool) -> list[tuple[Pair, Verdict]]:
    """Each pair with the verdict it gets, in order."""
    with ThreadPoolExecutor(pool.size) as threads:
        return list(zip(pairs, threads.map(lambda pair: judge(pair, pool), pairs), strict=True))


def judge(pair: Pair, pool: MathPool) -> Verdict:
    gold, answer = pair["gold"], pair["answer"]
    if pair["verifier"] == "mathematics":
        asked = asks_percentage(pair.get("question", ""))
        return judge_mathematics(pool, gold, answer, asks_percentage=asked)
    if pair["verifier"] == "countdown":
        return Countdown().verify(Question("", gold, 1, ""), answer)
    return {"choice": judge_choice, "exact": judge_exact}[pair["verifier"]](gold, answer)


def ask_peer(pair: Pair) -> Verdict:
    """Math-Verify reads the text around an answer where there is some, and a box around it where there is none."""
    from math_verify import parse, verify

    text = pair["answer"] if pair["kind"] in ("form", "empty") else rf"\boxed{{{pair['answer']}}}"
    gold, answer = parse(f"${pair['gold']}$"), parse(text)
    if not answer:
        return Verdict.UNPARSED
    return Verdict.RIGHT if verify(gold, answer) else Verdict.WRONG


def is_met(pair: Pair, verdict: Verdict) -> bool:
    return (verdict is not Verdict.RIGHT) if pair["expected"] == "not right" else verdict == pair["expected"]


def report(judged: list[tuple[Pair, Verdict]]) -> str:
    """The table, then every pair that did not get the verdict it should have, the dangerous direction first."""
    counts = Counter((pair["expected"], str(verdict)) for pair, verdict in judged)
    lines = [f"{'expected':>10} | " + "".join(f"{verdict:>10}" for verdict in VERDICTS)]
    for expected in [*VERDICTS, "not right"]:
        row = [counts[expected, verdict] for verdict in VERDICTS]
        lines.append(f"{expected:>10} | " + "".join(f"{count:>10}" for count in row))
    missed = [(pair, verdict) for pair, verdict in judged if not is_met(pair, verdict)]
    false_right = [entry for entry in missed if entry[1] is Verdict.RIGHT]
    lines.append(f"{len(judged)} pairs: {len(false_right)} false right, {len(missed) - len(false_right)} other misses.")
    for pair, verdict in [*false_right, *(entry for entry in missed if entry not in false_right)]:
        gold, answer = pair["gold"], pair["answer"][:60]
        lines.append(f"  {gold!r}, answer {answer!r}: {verdict}, should be {pair['expected']} ({pair['why']})")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
