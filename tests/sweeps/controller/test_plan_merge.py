"""Seeds of the stored plan that a new plan of the sweep keeps."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.claims import process
from sweeps.cli.commands import gc
from sweeps.controller.plan_merge import merge_with_stored_plan
from sweeps.monitor.inventory import list_runs
from tests.helpers.other_user import open_to_other_users, run_as_other_user
from tests.helpers.trivial_sweep import planned
from uniclip.store import Look, Margin, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a plan of four seeds, of which seed 3 has an attempt."""
    store, stored = Store(tmp_path), planned(4, 0.0)
    store.get_sweep(stored.plan.sweep_id).write_plan(stored.plan)
    for run_id, spec in stored.specs.items():
        store.get_run(run_id).write_spec(spec)
    run = store.get_run(stored.plan.cells[3].run_id)
    assert run.claim_attempt(1, process.make_claim_record({})) is not None
    return store


def test_started_seeds_are_kept_and_others_dropped(store: Store) -> None:
    merged = merge_with_stored_plan(planned(2, 0.0), store)
    assert merged.plan.seeds == (0, 1, 3)
    assert [c.seed for c in merged.plan.cells] == [0, 1, 3]
    assert set(merged.specs) == {c.run_id for c in merged.plan.cells}


def test_a_plan_with_all_stored_seeds_is_not_changed(store: Store) -> None:
    requested = planned(5, 0.0)
    assert merge_with_stored_plan(requested, store) is requested


def test_rules_that_change_after_the_first_run_are_a_caveat(store: Store) -> None:
    requested = planned(4, 0.0)
    margin = Margin(dataset="d", metric="m", value=0.01, reason="r")
    rules = {"looks": (Look(num_seeds=3, level=0.05),), "margins": (margin,)}
    changed = replace(requested, plan=replace(requested.plan, **rules))  # type: ignore[arg-type]
    merged = merge_with_stored_plan(changed, store).plan
    assert merged.caveats == (
        "The looks were changed after 4 seeds had started: from 5 (level 0.02), 8 (0.015) and 12 "
        "(0.015) seeds to 3 (level 0.05) seeds.",
        "The margins were changed after 4 seeds had started: from none to 0.01 on m.",
    )
    store.get_sweep(merged.sweep_id).write_plan(merged)
    again = merge_with_stored_plan(changed, store).plan
    assert again.rule_changes == merged.rule_changes, "it is kept, and not said twice"
    assert len(merge_with_stored_plan(requested, store).plan.rule_changes) == 4, "and back"


def test_primary_scores_that_change_after_the_first_run_are_a_caveat(store: Store) -> None:
    requested = planned(4, 0.0)
    metric = requested.plan.primary_metric
    co_primary = replace(metric, metric="other")
    changed = replace(requested, plan=replace(requested.plan, co_primary_metric=co_primary))
    assert merge_with_stored_plan(changed, store).plan.rule_changes == (
        f"The primary scores were changed after 4 seeds had started: from {metric.metric} to "
        f"{metric.metric} and other.",
    )


def test_before_the_first_run_rules_may_change(tmp_path: Path) -> None:
    requested, store = planned(4, 0.0), Store(tmp_path)
    store.get_sweep(requested.plan.sweep_id).write_plan(requested.plan)
    looks = (Look(num_seeds=3, level=0.05),)
    changed = replace(requested, plan=replace(requested.plan, looks=looks))
    assert merge_with_stored_plan(changed, store).plan.caveats == ()


def test_a_new_sweep_has_the_requested_plan(tmp_path: Path) -> None:
    requested = planned(2, 0.0)
    assert merge_with_stored_plan(requested, Store(tmp_path)) is requested


def test_a_seed_that_another_user_keeps_to_himself_is_kept(store: Store) -> None:
    open_to_other_users(store.root)
    secret = store.get_run(planned(4, 0.0).plan.cells[2].run_id)
    secret.path.chmod(0o700)
    requested = planned(1, 0.0)

    def merge() -> None:
        merged = merge_with_stored_plan(requested, store)
        assert merged.plan.seeds == (0, 2, 3)
        assert secret.id not in merged.specs
        states = {e.id: e.state for e in list_runs(store, [merged.plan], only_planned=True)}
        assert states[secret.id] == "unreadable"
        assert gc.run(Namespace(overrides=[f"store={store.root}"], yes=False, json=False)) == 0

    run_as_other_user(merge)
