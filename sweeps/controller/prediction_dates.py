"""The date of a plan's predictions, and a caveat if runs had started before they were declared."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from uniclip.store import Plan, Store


def date_predictions(plan: Plan, stored_plan: Plan | None, store: Store) -> Plan:
    """Return the plan with the day (UTC) on which its predictions were first planned.

    Predictions that are new, though runs of the plan have started, are a caveat of every table. The
    date of unchanged predictions is that of the stored plan.
    """
    if not plan.predictions:
        return plan
    if stored_plan is not None and stored_plan.predictions_digest == plan.predictions_digest:
        return replace(plan, predictions_date=stored_plan.predictions_date)
    plan = replace(plan, predictions_date=datetime.now(UTC).date().isoformat())
    if stored_plan is not None and stored_plan.predictions:
        return plan  # `plan_merge` says that they were changed
    num_started = count_started_runs(plan, store)
    if not num_started:
        return plan
    caveat = (
        f"The predictions were declared after {num_started} of {count_runs(plan)} runs had started."
    )
    return replace(plan, rule_changes=(*plan.rule_changes, caveat))


def count_runs(plan: Plan) -> int:
    """Return the number of runs; arms that coincide share one."""
    return len({cell.run_id for cell in plan.cells})


def count_started_runs(plan: Plan, store: Store) -> int:
    """Return how many runs of the plan have been started; one that is private counts."""
    runs = [store.get_run(run_id) for run_id in {cell.run_id for cell in plan.cells}]
    return sum(not run.is_readable() or bool(run.list_attempts()) for run in runs)
