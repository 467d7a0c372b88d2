"""The README's picture: how often each method is right, from the long log or from one run.

    python benchmarks/readme_figure.py                     benchmarks/results/tiny_methods.json -> docs/method_bars.svg
    python benchmarks/readme_figure.py --from RUN          RUN/results.json instead

Needs a Chromium for kaleido (``apt-get install -y chromium``).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from varcore.llm import storage
from varcore.viz.figures import method_bars

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / "benchmarks" / "results" / "tiny_methods.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, default=LOG, help="the log, or a run directory")
    parser.add_argument("--regime", default="tiny", help="of the log")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "method_bars.svg")
    arguments = parser.parse_args()
    results, interval = load(arguments.source, arguments.regime)
    figure = method_bars(results, interval=interval)
    with storage.replacing(arguments.out) as temporary:
        figure.write_image(temporary, format=arguments.out.suffix[1:], width=900, height=figure.layout.height)
    print(f"{arguments.out}: {figure.layout.meta['alt']}")


def load(source: Path, regime: str) -> tuple[dict[str, Any], str]:
    """What method_bars takes, and over what its intervals are."""
    found = json.loads((source / "results.json" if source.is_dir() else source).read_text(encoding="utf-8"))
    if "regimes" not in found:
        return found, "over questions (one run)"
    return from_log(found["regimes"][regime])


def from_log(found: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A regime of tiny_methods.json: means over seeds in the place of one run's scores."""
    methods = {role: {"k": found["k"], **scores} for role, scores in found["methods"].items()}
    count = len(found["seeds"])
    over = f"over {count} seeds (Student's t)" if count > 1 else "over one training seed, so none is drawn"
    return {"methods": methods, "levels": found["per_seed"][0]["levels"]}, over


if __name__ == "__main__":
    main()
