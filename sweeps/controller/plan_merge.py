"""Merging a new plan of a sweep with the one in the store."""

from __future__ import annotations

from dataclasses import replace

from ablations.plan.plan import ResolvedPlan
from sweeps.controller.prediction_dates import date_predictions
from uniclip.store import Plan, Store


def merge_with_stored_plan(resolved_plan: ResolvedPlan, store: Store) -> ResolvedPlan:
    """Return the plan with the seeds added that its sweep has started already.

    A sweep is extended by seeds and never loses a started one. A stored seed of which no cell was
    submitted or claimed is dropped: its submission was rejected, or it was only probed, and a
    command that now asks for fewer seeds means it. Runs that another user keeps to himself count
    as started.
    """
    sweep_folder = store.get_sweep(resolved_plan.plan.sweep_id)
    stored_plan = sweep_folder.read_plan()
    if resolved_plan.plan.predictions:
        plan = date_predictions(resolved_plan.plan, stored_plan, store)
        resolved_plan = replace(resolved_plan, plan=plan)
    if stored_plan is None:
        return resolved_plan
    plan = resolved_plan.plan
    if rule_changes := _describe_rule_changes(plan, stored_plan, store):
        plan = replace(plan, rule_changes=(*rule_changes, *plan.rule_changes))
        resolved_plan = replace(resolved_plan, plan=plan)
    planned_cells = {(c.arm, c.seed) for c in plan.cells}
    arm_order = {arm.name: i for i, arm in enumerate(plan.arms)}
    stored_cells = [
        c
        for c in stored_plan.cells
        if (c.arm, c.seed) not in planned_cells
        and c.arm in arm_order
        and (store.get_run(c.run_id).has_spec() or not store.get_run(c.run_id).is_readable())
    ]
    if not stored_cells:
        return resolved_plan
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
    if _has_same_rule(plan, stored_plan):  # another controller is a round ahead
        started_seeds = {c.seed for c in stored_cells}
    started_cells = [c for c in stored_cells if c.seed in started_seeds]
    cells = sorted([*plan.cells, *started_cells], key=lambda c: (c.seed, arm_order[c.arm]))
    started_runs = [store.get_run(c.run_id) for c in started_cells]
    started_specs = {run.id: run.read_spec() for run in started_runs if run.is_readable()}
    return replace(
        resolved_plan,
        plan=replace(plan, seeds=tuple(sorted({*plan.seeds, *started_seeds})), cells=tuple(cells)),
        specs={**resolved_plan.specs, **started_specs},
    )


def _has_same_rule(plan: Plan, stored_plan: Plan) -> bool:
    """Return whether one rule buys the cells of both plans."""
    rules = plan.adaptive, stored_plan.adaptive
    return all(rules) and len({rule.digest for rule in rules if rule is not None}) == 1


def _describe_rule_changes(plan: Plan, stored_plan: Plan, store: Store) -> tuple[str, ...]:
    """Return what the stored plan says of changed rules of verdicts, and what changes now.

    A verdict is a function of a schedule that was fixed before the data; the report says where that
    does not hold. Before the first attempt anything may be changed.
    """
    changes = stored_plan.rule_changes
    old_rules, new_rules = (_describe_rules(p) for p in (stored_plan, plan))
    changed_names = [name for name in old_rules if old_rules[name] != new_rules[name]]
    if not changed_names or not any(
        (run := store.get_run(cell.run_id)).is_readable() and run.list_attempts()
        for cell in stored_plan.cells
    ):
        return changes
    seeds_text = f"{len(stored_plan.seeds)} seed{'s' * (len(stored_plan.seeds) > 1)}"
    return (
        *changes,
        *(
            f"The {name} were changed after {seeds_text} had started: from {old_rules[name]} to "
            f"{new_rules[name]}."
            for name in changed_names
        ),
    )


def _describe_rules(plan: Plan) -> dict[str, str]:
    margins = ", ".join(f"{m.value:g} on {m.metric}" for m in plan.margins)
    return {
        "looks": plan.looks_text,
        "margins": margins or "none",
        "primary scores": " and ".join(m.metric for m in plan.primary_metrics),
        "primary contrasts": ", ".join(c.name for c in plan.contrasts if c.primary) or "none",
        "predictions": "; ".join(p.description for p in plan.predictions) or "none",
        "limits of adaptive seeds": _describe_limits(plan),
    }


def _describe_limits(plan: Plan) -> str:
    rule = plan.adaptive
    if rule is None:
        return "none (fixed seeds)"
    hours = "" if rule.max_gpu_hours is None else f" and {rule.max_gpu_hours:g} GPU-hours"
    return f"{rule.max_seeds} seeds{hours}"
