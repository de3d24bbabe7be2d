"""The rounds of an adaptive sweep: each is planned when all cells of the last one have ended."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from analysis.results.purchases import describe_end
from sweeps.config.request import SweepRequest
from sweeps.config.schema import DebugLauncherConfig
from sweeps.controller.controller import SweepController
from sweeps.costs import estimate, limit
from sweeps.monitor.display import Display
from uniclip.errors import UserError
from uniclip.store import AuditCheck, CellPrices, Plan, Store

PRICE_DIGITS = 2
"""Significant digits of a price: what differs less is not preferred."""


class LaterRoundDisplay(Display):
    """A display of cells whose audit has been printed with earlier ones."""

    def print_audit(self, checks: Collection[AuditCheck]) -> None:
        """Print nothing."""


def plan_next_round(request: SweepRequest, controller: SweepController) -> SweepController | None:
    """Return the controller of the next round, or None if the sweep has come to its end; then a
    line says why.

    It is called when nothing is left to run of the controller's plan. Nothing is bought while a
    cell has failed.

    Raises:
        UserError: cells have no price, and there is a limit of GPU-hours; or the words of the
            command now make another sweep.
    """
    plan = controller.plan
    if plan.adaptive is None or controller.is_partial:
        return None
    fix_cell_prices(controller.store, plan, controller)
    resolved_plan = request.build_plan()
    if resolved_plan.plan.sweep_id != plan.sweep_id:
        raise UserError(
            f"no further round of {plan.sweep_id}: data or files of the configuration have changed "
            f"since it was planned, and these words now make {resolved_plan.plan.sweep_id}"
        )
    new_cells = set(resolved_plan.plan.cells) - set(plan.cells)
    if not new_cells:
        controller.display.print_line(describe_end(controller.store, resolved_plan.plan))
        return None
    is_debug = isinstance(controller.settings.launcher, DebugLauncherConfig)
    num_arms = len({cell.arm for cell in new_cells})
    controller.display.print_line(f"next round: {len(new_cells)} cells of {num_arms} arms")
    return replace(
        controller,
        resolved_plan=resolved_plan,
        display=LaterRoundDisplay(controller.display.console, redraws=not is_debug),
        shared_limit_check=lambda: True,  # purchases keep the limit
    )


def fix_cell_prices(store: Store, plan: Plan, controller: SweepController) -> None:
    """Write what a cell of each arm costs, once, if there is a limit of GPU-hours.

    The first controller whose first round has ended writes it; all use what is written.

    Raises:
        UserError: an arm could not be measured.
    """
    folder = store.get_sweep(plan.sweep_id)
    assert plan.adaptive is not None
    if plan.adaptive.max_gpu_hours is None or folder.read_cell_prices() is not None:
        return
    launcher = controller.settings.launcher
    cost_estimates = estimate.estimate_costs(store, plan, world_size=launcher.world_size)
    gpus_per_run = limit.count_gpus_per_run(launcher, plan.device) or 1
    missing = [arm.name for arm in plan.arms if arm.name not in cost_estimates]
    if missing:
        raise UserError(
            f"max_gpu_hours={plan.adaptive.max_gpu_hours:g}: the cost of {', '.join(missing)} is "
            "not known (no run of it ended well); fix these runs, or leave the limit out"
        )
    gpu_hours = {
        arm.name: _round(cost_estimates[arm.name].seconds * gpus_per_run / 3600)
        for arm in plan.arms
    }
    sources = dict.fromkeys(cost_estimates[arm.name].source for arm in plan.arms)
    folder.fix_cell_prices(CellPrices(gpu_hours=gpu_hours, source=" and ".join(sources)))


def _round(value: float) -> float:
    return float(f"{value:.{PRICE_DIGITS}g}")
