"""The comparison of reports finds a changed number and a mixed-up run, and accepts new words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compare_reports import Comparison

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
