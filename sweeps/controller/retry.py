"""Retrying cells of a stored plan: the named ones, or all that failed or are open.

Named cells are run alone. The stored plan stays as it is but for where its data lie, and the cells
are executed and evaluated as it states. Without names the whole plan is run, with the seeds that
the sweep has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.plan import tuned_arms
from ablations.plan.plan import ResolvedPlan, find_cell
from sweeps.claims.status import RunState, inspect_runs
from sweeps.config.request import SweepRequest
from sweeps.config.selection import suggest_other_sweeps
from sweeps.controller.controller import SweepController
from sweeps.monitor.display import Display
from sweeps.slurm import Slurm, in_follow_up
from uniclip.errors import UserError
from uniclip.store import Plan, RetryPolicy, RunStatus, Store


def build_retry(
    sweep_request: SweepRequest, cell_names: Sequence[str], *, force: bool
) -> SweepController:
    """Return the controller that retries cells.

    In a follow-up job no attempt is retried beyond those of the original command: a cell that has
    failed again has failed.

    Args:
        sweep_request: the ablation, the settings and the store.
        cell_names: names of cells such as "clip/0"; empty for all that failed.
        force: also declare stalled attempts dead and, of named cells, running ones.

    Raises:
        UserError: a cell is unknown, or there is nothing to retry.
    """
    store = sweep_request.store
    requested_plan, display = sweep_request.build_plan(), Display()
    sweep_id = requested_plan.plan.sweep_id
    stored_plan = store.get_sweep(sweep_id).read_plan()
    only_runs = tuple(
        dict.fromkeys(
            find_cell(stored_plan or requested_plan.plan, name).run_id for name in cell_names
        )
    )
    if stored_plan is None:
        hint = suggest_other_sweeps(store, requested_plan.plan, "retry")
        raise UserError(
            f"nothing to retry: {sweep_id} was not run in {store.root}{'; ' * bool(hint)}{hint}"
        )
    if cell_names:
        moved_plan = _move_data(stored_plan, requested_plan.plan)
        resolved_plan = _select_runs(store, replace(requested_plan, plan=moved_plan), only_runs)
        if _changes_execution(stored_plan, requested_plan.plan):
            display.print_line("note: named cells are run and evaluated as their sweep's plan says")
    else:
        resolved_plan = sweep_request.build_plan(seeds=stored_plan.seeds)
    policy = RetryPolicy(only_runs=only_runs)
    if not in_follow_up():
        policy = select_attempts(
            inspect_runs(store, resolved_plan.plan.required_evaluations(), Slurm().find_end_reason),
            only_runs=only_runs,
            force=force,
        )
    if cell_names and moved_plan is not stored_plan:
        store.get_sweep(sweep_id).write_plan(moved_plan)  # which workers read
    return SweepController(
        store=store,
        resolved_plan=resolved_plan,
        settings=sweep_request.settings,
        display=display,
        follow_up_argv=replace(
            sweep_request, argv=("retry", *cell_names, *sweep_request.argv[1:])
        ).follow_up_argv,
        policy=policy,
    )


def select_attempts(
    states: Mapping[str, RunState], *, only_runs: tuple[str, ...] = (), force: bool = False
) -> RetryPolicy:
    """Return the policy that retries what failed and, with `force`, replaces what is stalled.

    Attempts that are running are declared dead only if their runs are named (`only_runs`).

    Raises:
        UserError: there is nothing to retry.
    """
    forceable_statuses: tuple[RunStatus, ...] = ()
    if force:
        forceable_statuses = (
            (RunStatus.STALLED, RunStatus.RUNNING) if only_runs else (RunStatus.STALLED,)
        )
    retry_attempts = tuple(
        (run, s.attempt) for run, s in states.items() if s.status == RunStatus.FAILED
    )
    force_attempts = tuple(
        (run, s.attempt) for run, s in states.items() if s.status in forceable_statuses
    )
    if not retry_attempts and not force_attempts:
        status_list = ", ".join(sorted({s.status for s in states.values()}))
        hint = "" if force else "; --force retries stalled cells, and named cells that hang"
        raise UserError(f"nothing to retry: the cells are {status_list}{hint}")
    return RetryPolicy(
        retry_attempts=retry_attempts, force_attempts=force_attempts, only_runs=only_runs
    )


def _changes_execution(stored_plan: Plan, requested_plan: Plan) -> bool:
    """Return whether the request executes or evaluates runs differently from the stored plan."""
    return any(
        stored_plan.base_config.get(key) != requested_plan.base_config[key]
        for key in ("runtime", "benchmark")
    )


def _locate_data(plan: Plan) -> dict[str, Any]:
    """Return arm -> where its data lie and how they are opened."""
    return {arm.name: plan.run_only_values(arm.name).get("data") for arm in plan.arms}


def _move_data(stored_plan: Plan, requested_plan: Plan) -> Plan:
    """Return the stored plan with the places where the request says that its data lie.

    The data are the same, since both plans are of one sweep.
    """
    if _locate_data(stored_plan) == _locate_data(requested_plan):
        return stored_plan
    return replace(
        stored_plan,
        base_config={**stored_plan.base_config, "data": requested_plan.base_config["data"]},
        arms=requested_plan.arms,
        overrides=requested_plan.overrides,
    )


def _select_runs(store: Store, resolved_plan: ResolvedPlan, runs: Collection[str]) -> ResolvedPlan:
    """Return the part of a stored plan that consists of these runs."""
    return tuned_arms.select_runs(
        replace(resolved_plan, specs={r: store.get_run(r).read_spec() for r in runs}), runs
    )
