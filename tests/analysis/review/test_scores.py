"""Findings on scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.reviewed_sweeps import REFERENCE, assert_only_finding


@pytest.mark.parametrize(
    ("name", "runs", "num_evaluations"),
    [
        ("floor", {REFERENCE: 4.0}, 0),
        ("ceiling", {}, 10),
        ("leakage", {}, 0),
        ("validation_split", {}, 10),
    ],
)
def test_a_flaw_is_found_with_the_cells_that_answer_it(
    name: str, runs: dict[str, float], num_evaluations: int, tmp_path: Path
) -> None:
    remedy = assert_only_finding(tmp_path, name).remedy
    assert remedy.runs == runs
    assert remedy.num_evaluations == num_evaluations
