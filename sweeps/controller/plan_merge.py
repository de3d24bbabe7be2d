"""Merging a new plan of a sweep with the one in the store."""

from __future__ import annotations

from dataclasses import replace

from ablations.plan.plan import ResolvedPlan
from uniclip.store import Store


def merge_with_stored_plan(resolved_plan: ResolvedPlan, store: Store) -> ResolvedPlan:
    """Return the plan with the seeds added that its sweep has started already.

    A sweep is extended by seeds and never loses a started one. A stored seed of which no cell was
    submitted or claimed is dropped: its submission was rejected, or it was only probed, and a
    command that now asks for fewer seeds means it. Runs that another user keeps to himself count
    as started.
    """
    plan = resolved_plan.plan
    sweep_folder = store.get_sweep(plan.sweep_id)
    stored_plan = sweep_folder.read_plan()
    if stored_plan is None or not set(stored_plan.seeds) - set(plan.seeds):
        return resolved_plan
    planned_cells = {(c.arm, c.seed) for c in plan.cells}
    arm_order = {arm.name: i for i, arm in enumerate(plan.arms)}
    stored_cells = [
        c
        for c in stored_plan.cells
        if (c.arm, c.seed) not in planned_cells
        and c.arm in arm_order
        and (store.get_run(c.run_id).has_spec() or not store.get_run(c.run_id).is_readable())
    ]
    submitted_runs = {
        run
        for intent in sweep_folder.read_intents()
        if intent.kind == "run"
        for runs in intent.array_tasks
        for run in runs
    }
    started_seeds = {
        c.seed
        for c in stored_cells
        if c.run_id in submitted_runs
        or not (run := store.get_run(c.run_id)).is_readable()
        or run.list_attempts()
    }
    started_cells = [c for c in stored_cells if c.seed in started_seeds]
    cells = sorted([*plan.cells, *started_cells], key=lambda c: (c.seed, arm_order[c.arm]))
    started_runs = [store.get_run(c.run_id) for c in started_cells]
    started_specs = {run.id: run.read_spec() for run in started_runs if run.is_readable()}
    return replace(
        resolved_plan,
        plan=replace(plan, seeds=tuple(sorted({*plan.seeds, *started_seeds})), cells=tuple(cells)),
        specs={**resolved_plan.specs, **started_specs},
    )
