"""Running a sweep from a command: a controller for a request, and what is printed at the end."""

from __future__ import annotations

from ablations.plan.plan import ResolvedPlan
from sweeps.config.request import SweepRequest
from sweeps.config.schema import DebugLauncherConfig
from sweeps.controller import adaptive_rounds
from sweeps.controller.controller import Detached, SweepController
from sweeps.monitor.display import Display
from sweeps.monitor.status import CellRow, build_rows, describe_counts
from uniclip.store import RunStatus

UNFINISHED_WITH_REASON = (RunStatus.FAILED, RunStatus.STALLED, RunStatus.UNREADABLE)
"""Statuses of cells that need the user."""


def build_controller(
    sweep_request: SweepRequest, resolved_plan: ResolvedPlan, display: Display | None = None
) -> SweepController:
    """Return the controller of a whole plan, with the settings of a request."""
    is_debug = isinstance(sweep_request.settings.launcher, DebugLauncherConfig)
    return SweepController(
        store=sweep_request.store,
        resolved_plan=resolved_plan,
        settings=sweep_request.settings,
        display=display or Display(redraws=not is_debug),
        follow_up_argv=sweep_request.follow_up_argv,
    )


def run_cells(
    controller: SweepController, sweep_request: SweepRequest | None = None
) -> list[CellRow]:
    """Run what is not finished, print what failed, and return the status of every cell.

    The plan that was run, which may hold more seeds than the requested one, is `controller.plan`.

    Args:
        controller: The controller of the cells.
        sweep_request: The request, with which an adaptive sweep goes on to its later rounds.

    Raises:
        Detached: jobs are submitted, and nothing waits for them.
    """
    is_complete, display = controller.run(), controller.display
    current = controller
    while is_complete and sweep_request is not None:
        next_controller = adaptive_rounds.plan_next_round(sweep_request, current)
        if next_controller is None:
            break
        current = next_controller
        is_complete = current.run()
    controller.resolved_plan = current.resolved_plan
    rows = build_rows(controller.store, controller.plan)
    display.print_line(describe_counts(rows))
    if not is_complete:
        raise Detached
    for row in rows:
        if row.state.status in UNFINISHED_WITH_REASON:
            display.print_line(
                f"{row.cell} {row.state.status}: {row.state.reason} (fix: {row.advice})"
            )
    for line in controller.plan.skipped:
        display.print_line(line)
    return rows
