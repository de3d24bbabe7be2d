"""Findings on seeds and cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.reviewed_sweeps import OTHER, REFERENCE, assert_only_finding


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("unfinished_cells", {OTHER: 1}),
        ("too_few_seeds", {REFERENCE: 3, OTHER: 3}),
        ("best_of_seeds", {REFERENCE: 3, OTHER: 3}),
        ("unequal_divergence", {REFERENCE: 2, OTHER: 2}),
        ("changed_rules", {REFERENCE: 5, OTHER: 5}),
        ("mixed_versions", {REFERENCE: 1}),
        ("unverified_provenance", {}),
    ],
)
def test_a_flaw_is_found_with_the_cells_that_answer_it(
    name: str, runs: dict[str, float], tmp_path: Path
) -> None:
    assert assert_only_finding(tmp_path, name).remedy.runs == runs
