"""A retry: which cells of the plan that stands are taken up again, and by whom.

Named cells are conducted alone: the plan stays as it is, and so does how they are run and judged.
Without names, all that failed or is open is conducted, over the seeds that the sweep has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ablations.plan import plan as plans
from ablations.plan import tuned_arms
from ablations.plan.plan import ResolvedPlan
from sweeps.claims.claim import inspect_run
from sweeps.config.request import SweepRequest
from sweeps.controller.controller import SweepController
from sweeps.monitor.display import Display
from sweeps.slurm import Slurm, in_follow_up
from uniclip.errors import UserError
from uniclip.store import Store

RunAttempts = tuple[tuple[str, int], ...]
"""(run, attempt) of each."""


def build_retry(
    sweep_request: SweepRequest, cell_names: Sequence[str], *, force: bool
) -> SweepController:
    """Who conducts the retry of these cells, or without names of all that failed.

    force: also those that are lost, and named ones that seem alive. In a follow-up nothing is
    asked for anew: what failed again has failed.

    Raises:
        UserError: no such cell, or nothing to retry.
    """
    requested_plan, display = plans.build_plan(sweep_request.plan_request), Display()
    stored_plan = sweep_request.store.get_sweep(requested_plan.plan.sweep_id).read_plan()
    selected_runs = {
        plans.find_cell(stored_plan or requested_plan.plan, name).run_id for name in cell_names
    }
    if stored_plan is None:
        raise UserError(
            f"nothing to retry: {requested_plan.plan.sweep_id} was not run in {sweep_request.store.root}"
        )
    if cell_names:
        resolved_plan = _select_runs(
            sweep_request.store, replace(requested_plan, plan=stored_plan), selected_runs
        )
        if any(
            stored_plan.base_config.get(key) != requested_plan.plan.base_config[key]
            for key in ("runtime", "benchmark")
        ):
            display.print_line("note: named cells are run and judged by the plan of their sweep")
    else:
        resolved_plan = plans.build_plan(
            replace(sweep_request.plan_request, seeds=stored_plan.seeds)
        )
    retry_attempts, force_attempts = (
        ((), ())
        if in_follow_up()
        else _select_attempts(sweep_request.store, resolved_plan, cell_names, force)
    )
    return SweepController(
        store=sweep_request.store,
        resolved_plan=resolved_plan,
        settings=sweep_request.settings,
        display=display,
        follow_up_argv=replace(
            sweep_request, argv=("retry", *cell_names, *sweep_request.argv[1:])
        ).follow_up_argv,
        retry_attempts=retry_attempts,
        force_attempts=force_attempts,
        is_partial=bool(cell_names),
    )


def _select_runs(store: Store, resolved_plan: ResolvedPlan, runs: Collection[str]) -> ResolvedPlan:
    """Some runs of a plan that stands, as the store has them."""
    return tuned_arms.select_runs(
        replace(resolved_plan, specs={r: store.get_run(r).read_spec() for r in runs}), runs
    )


def _select_attempts(
    store: Store, resolved_plan: ResolvedPlan, cell_names: Sequence[str], force: bool
) -> tuple[RunAttempts, RunAttempts]:
    """What is to go on though it failed, and what is declared dead; `UserError` if nothing is."""
    job_end_lookup = Slurm().find_end_reason
    states = {
        r: inspect_run(store.get_run(r), e, job_end_lookup)
        for r, e in resolved_plan.plan.required_evaluations().items()
    }
    retry_attempts = tuple((r, s.attempt) for r, s in states.items() if s.status == "failed")
    forceable_statuses = ("lost", *(["running"] if cell_names else [])) if force else ()
    force_attempts = tuple(
        (r, s.attempt) for r, s in states.items() if s.status in forceable_statuses
    )
    if not retry_attempts and not force_attempts:
        status_list = ", ".join(sorted({s.status for s in states.values()}))
        hint = "" if force else "; --force takes those that are lost or hang"
        raise UserError(f"nothing to retry: the cells are {status_list}{hint}")
    return retry_attempts, force_attempts
