"""The comparison of reports finds a changed number and a mixed-up run, and accepts new words."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.compare_reports import Comparison
from tests.helpers.small_runs import tiny
from uniclip.training.trainer import train_model

OLD = "arm,score,run\nfull,0.25,0123456789abcdef\nclip,1e-05,fedcba9876543210\n"


def compare(tmp_path: Path, new_text: str) -> Comparison:
    """Compare OLD with another table."""
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text(OLD)
    new.write_text(new_text)
    comparison = Comparison()
    comparison.compare_tables("scores", old, new)
    return comparison


def test_other_words_and_other_run_ids_are_no_difference(tmp_path: Path) -> None:
    new = OLD.replace("score", "metric").replace("0123456789abcdef", "aaaaaaaaaaaaaaaa")
    comparison = compare(tmp_path, new)
    assert comparison.errors == []
    assert comparison.numbers == 2
    assert comparison.words == {("score", "metric"): 1}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.25", "0.2500001"),
        ("1e-05", ""),
        ("fedcba9876543210", "0123456789abcdef"),
        ("full,0.25,0123456789abcdef\n", ""),
    ],
)
def test_a_difference_is_found(tmp_path: Path, old: str, new: str) -> None:
    assert len(compare(tmp_path, OLD.replace(old, new)).errors) == 1


def test_measured_times_and_memory_may_differ(tmp_path: Path) -> None:
    """The table has the columns of `history.csv`, as a training logs them."""
    history = train_model(tiny()).history
    names = sorted({name for record in history for name in record})
    paths = []
    for times in (1.0, 2.0):
        changed = [
            {n: v * times if "seconds" in n or "memory" in n else v for n, v in record.items()}
            for record in history
        ]
        lines = [names, *([str(record.get(n, "")) for n in names] for record in changed)]
        paths.append(tmp_path / f"{times}.csv")
        with open(paths[-1], "w", newline="") as stream:
            csv.writer(stream).writerows(lines)
    comparison = Comparison()
    comparison.compare_tables("history", *paths)
    assert comparison.errors == []
    assert comparison.numbers > len(history)
