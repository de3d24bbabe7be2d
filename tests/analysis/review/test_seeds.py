"""Findings on seeds and cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.review.checks import review_sweep
from tests.helpers.reviewed_sweeps import (
    FLAWS,
    OTHER,
    REFERENCE,
    assert_commands_are_valid,
    assert_only_finding,
    write_sweep,
)


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


def test_seeds_for_a_new_rule_were_seen_by_nobody(tmp_path: Path) -> None:
    """Seed 5 is in the store already."""
    story, _ = FLAWS["changed_rules"]
    store, plan = write_sweep(tmp_path, replace(story, seeds="seeds=6"))
    reported = replace(plan, seeds=plan.seeds[:5], cells=tuple(c for c in plan.cells if c.seed < 5))
    (finding,) = [f for f in review_sweep(store, reported) if f.check == "changed_rules"]
    assert finding.remedy.commands[0].changes == ("seeds=[6,7,8,9,10]",)
    assert "first_seed: 6 in the ablation's YAML" in finding.remedy.description


@pytest.mark.parametrize("max_seeds", [8, 4])
def test_adaptive_seeds_stay_adaptive(max_seeds: int, tmp_path: Path) -> None:
    """A number of seeds would replace the looks after they were taken."""
    story, _ = FLAWS["too_few_seeds"]
    store, plan = write_sweep(tmp_path, replace(story, seeds="seeds=adaptive"))
    assert plan.adaptive is not None
    limited = replace(
        plan,
        adaptive=replace(plan.adaptive, max_seeds=max_seeds),
        looks=plan.looks[: max_seeds - 3],
    )
    (finding,) = [f for f in review_sweep(store, limited) if f.check == "too_few_seeds"]
    (command,) = finding.remedy.commands
    if max_seeds == 4:  # all of them were run
        assert command.changes[0] == "seeds=adaptive"
        assert int(command.changes[1].partition("=")[2]) > max_seeds
    else:
        assert command.changes == ()
        assert finding.remedy.runs == {REFERENCE: 1, OTHER: 1}
        assert_commands_are_valid(store, plan, [finding])
