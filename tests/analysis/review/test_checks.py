"""A review has no finding on clean sweeps; it looks into the other sweeps of the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.review.checks import CHECKS, review_sweep
from tests.helpers.reviewed_sweeps import COMPONENTS, CROSSED, FLAWS, Story, write_sweep
from uniclip.errors import UserError

OF_TUNINGS = {"optimum_at_boundary", "reused_tuning_seeds"}
"""Checks whose flaws are planted in `test_tuning`."""


@pytest.mark.parametrize("story", [Story(), Story(words=(*COMPONENTS, CROSSED))])
def test_a_clean_sweep_and_its_tuned_arms_have_no_finding(story: Story, tmp_path: Path) -> None:
    store, plan = write_sweep(tmp_path, story)
    plans = [folder.read_plan() for folder in store.iter_sweeps()]
    (tuned_plan,) = [p for p in plans if p is not None and p.tuning is not None]
    assert review_sweep(store, plan) == []
    assert review_sweep(store, tuned_plan) == []


def test_every_check_has_a_planted_flaw() -> None:
    assert set(FLAWS) | OF_TUNINGS == set(CHECKS)


def test_finished_seeds_that_no_table_has_are_found(tmp_path: Path) -> None:
    """A smaller sweep ran more seeds of an arm."""
    store, plan = write_sweep(tmp_path, Story(seeds="seeds=7"))
    reported = replace(plan, seeds=plan.seeds[:5], cells=tuple(c for c in plan.cells if c.seed < 5))
    (finding,) = review_sweep(store, reported)
    assert finding.check == "best_of_seeds"
    assert finding.evidence[1].startswith("uniclip has finished with seeds 5, 6 too")
    assert not finding.remedy.runs, "they are there: nothing is trained"


def test_a_sweep_that_never_ran_is_refused(tmp_path: Path) -> None:
    store, plan = write_sweep(tmp_path, Story(is_tuned=False, has_other_scale=False))
    pending = replace(plan, cells=tuple(replace(c, run_id="0" * 16) for c in plan.cells))
    with pytest.raises(UserError, match="has no scores yet"):
        review_sweep(store, pending)
