"""The splits' hash."""

from __future__ import annotations

import hashlib
from collections import Counter

from varcore.tasks.splits import SPLITS, split_of


def test_the_splits_share_every_percent_out_once():
    assert sorted(percent for percents in SPLITS.values() for percent in percents) == list(range(100))


def test_a_name_belongs_to_the_split_of_its_hash():
    """The first 64 bits of SHA-256, written out: a change here would move training questions into the test split."""
    for name in ("1-2-4-8=31", "17 + 5 * 3", ""):
        percent = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) % 100
        assert split_of(name) == ("train" if percent < 70 else "validation" if percent < 80 else "test")


def test_the_splits_have_their_sizes():
    """3,000 fixed names, so nothing here is random; 3 points are 3.6 standard deviations of a fair hash."""
    shares = Counter(split_of(f"question {number}") for number in range(3000))
    assert abs(shares["train"] / 3000 - 0.7) < 0.03
    assert abs(shares["validation"] / 3000 - 0.1) < 0.03
