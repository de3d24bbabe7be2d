"""The split of a sample is a hash of its name."""

from __future__ import annotations

from collections import Counter

import pytest

from uniclip.data.split import SPLIT_NAMES, SourceShare, allot_rows, assign_split
from uniclip.errors import UserError

NAMES = [f"sample/{i}" for i in range(4000)]


def assign(validation_fraction=0.1, test_fraction=0.3):
    return [
        assign_split(name, validation_fraction=validation_fraction, test_fraction=test_fraction)
        for name in NAMES
    ]


def test_fractions_are_kept():
    counts = Counter(assign())
    fractions = [counts[split_name] / len(NAMES) for split_name in SPLIT_NAMES]
    assert fractions == pytest.approx([0.6, 0.1, 0.3], abs=0.03)


def test_a_larger_test_split_keeps_its_samples():
    smaller, larger = assign(), assign(test_fraction=0.5)
    assert all(b == "test" for a, b in zip(smaller, larger) if a == "test")


def test_assignment_is_stable():
    assert assign()[:6] == assign()[:6]
    assert set(assign(validation_fraction=0, test_fraction=0)) == {"train"}


def test_every_source_has_a_row_of_a_batch_and_enough_samples():
    shares = [SourceShare(0, 9, 0.9, "source 1 (a)"), SourceShare(9, 40, 0.1, "source 2 (b)")]
    assert allot_rows(shares, 10, "webdataset") == [9, 1]
    with pytest.raises(
        UserError,
        match=r"=4 leaves no sample to source 2 \(b\) of data=webdataset: its share of 0.1 rounds",
    ):
        allot_rows(shares, 4, "webdataset")
    with pytest.raises(
        UserError,
        match=r"=20 takes 18 of the 9 training samples of source 1 \(a\) of data=webdataset at "
        r"once, its share of 0.9; choose another batch size, another share or more",
    ):
        allot_rows(shares, 20, "webdataset")
    with pytest.raises(
        UserError, match=r"takes 396 of the 9 .*source 1 .*; .* takes 44 of the 31 "
    ):
        allot_rows(shares, 440, "webdataset")
    with pytest.raises(UserError, match="takes 41 of the 40 training samples of data=csv at once;"):
        allot_rows([SourceShare(0, 40, 1.0)], 41, "csv")
