"""`sweep.py plan`: show what would run, why, and its estimated cost."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from ablations.plan.plan import ResolvedPlan
from analysis.results import seed_planning
from analysis.results.pilot import describe_power
from sweeps.config.request import SweepRequest
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig
from sweeps.config.selection import (
    SWEEP_HELP,
    describe_same_words,
    print_notes,
    read_plans,
    require_no_cells,
    select_request,
)
from sweeps.controller.controller import SweepController
from sweeps.controller.plan_merge import merge_with_stored_plan
from sweeps.costs import estimate, limit
from sweeps.costs.audit_scope import compute_audit_key, has_valid_audit
from sweeps.costs.fine_tuning import describe_fine_tuning
from sweeps.monitor.design_lines import describe_design
from sweeps.monitor.display import Display
from sweeps.monitor.plan_lines import build_plan_lines, build_planned_cells, collect_facts
from sweeps.monitor.status import CellRow, build_rows, to_records
from sweeps.monitor.terminal import make_console, print_json, print_lines
from uniclip.config import keys
from uniclip.config.binding import bind, config_field
from uniclip.config.overrides import parse_overrides
from uniclip.errors import UserError
from uniclip.store import Plan

if TYPE_CHECKING:
    from rich.console import Console

MAX_EVIDENCE_SEEDS = 100
"""Seeds of other sweeps whose runs are looked for."""
EPILOG = """\
keys of plan alone:
  pilot=3        also state what so many pilot seeds cost
  mde=0.01       also state how many seeds detect such an effect with 80 % power, and their cost
"""
PIPE_HEIGHT = 23
"""Lines of a plan that is written to a pipe or a file; a terminal has as many as its screen."""
CostEstimates = dict[str, estimate.CostEstimate]
"""Arm -> estimated cost of one of its cells; arms that were not measured are left out."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags --json, --probe and --full."""
    parser.epilog = EPILOG
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON record per cell")
    parser.add_argument(
        "--probe",
        action="store_true",
        help="first measure the cost of a cell of each arm in a few steps; runs no cell",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="list every cell, difference and note, also where they do not fit on one screen",
    )


@dataclass(frozen=True, kw_only=True)
class PlanningConfig:
    """What a plan is asked for, in addition to the keys of its sweep."""

    pilot: int | None = config_field(None, low=2)
    """Pilot seeds whose cost is stated."""
    mde: float | None = config_field(None, above=0)
    """Effect for which the seeds that detect it are stated, with their cost."""


def run(arguments: Namespace) -> int:
    """Print the plan; nothing is run and nothing is written, except by --probe."""
    planning, words = _split_planning_words(arguments.overrides)
    if arguments.json and planning != PlanningConfig():
        raise UserError("pilot= and mde= add sentences: leave out --json")
    request, cell_names = select_request("plan", arguments.names, words)
    require_no_cells("plan", cell_names)
    resolved_plan = merge_with_stored_plan(request.build_plan(), request.store)
    print_notes(describe_same_words(request.store, resolved_plan.plan))
    if arguments.probe:
        _run_probe_if_needed(request, resolved_plan)
    plan, settings = resolved_plan.plan, request.settings
    rows = build_rows(request.store, plan)
    world_size = settings.launcher.world_size
    cost_estimates = estimate.estimate_costs(request.store, plan, world_size=world_size)
    gpus_per_run = limit.count_gpus_per_run(settings.launcher, plan.device)
    if arguments.json:
        print_json(_to_plan_records(plan, rows, cost_estimates, gpus_per_run))
        return 0
    console = make_console()
    runs = {row.run for row in rows if settings.should_run(row.state)}
    lines = build_plan_lines(
        plan,
        build_planned_cells(plan, rows, runs, cost_estimates, gpus_per_run),
        collect_facts(
            plan,
            estimate.read_probes(
                request.store.get_sweep(plan.sweep_id), plan.device, world_size
            ).values(),
        ),
        [
            *_describe_planning(
                request, plan, planning, cost_estimates, gpus_per_run, whole=arguments.full
            ),
            _describe_estimate(request, plan, runs, cost_estimates),
            *describe_fine_tuning(request.store, plan, runs),
            *_describe_expected_start(settings.launcher, plan.num_cores),
        ],
        width=console.width,
        height=None if arguments.full else _get_height(console),
        design_texts={
            whole: describe_design(plan, cost_estimates, gpus_per_run, whole=whole)
            for whole in (True, False)
        },
    )
    print_lines(console, lines)
    return 0


def _split_planning_words(overrides: Sequence[str]) -> tuple[PlanningConfig, list[str]]:
    """Return the keys that only `plan` has, and the other words."""
    names = [field.name for field in fields(PlanningConfig)]
    planning_words = [word for word in overrides if word.partition("=")[0] in names]
    forms = keys.collect_value_forms([(PlanningConfig, "")])
    planning: PlanningConfig = bind(PlanningConfig, parse_overrides(planning_words, forms))
    return planning, [word for word in overrides if word not in planning_words]


def _describe_planning(
    request: SweepRequest,
    plan: Plan,
    planning: PlanningConfig,
    cost_estimates: CostEstimates,
    gpus_per_run: int,
    *,
    whole: bool,
) -> list[str]:
    """Return when verdicts are made, what they will detect, and what was asked for."""
    evidence_plan = _build_evidence_plan(request, plan)
    lines = describe_power(request.store, plan, evidence_plan, whole=whole)
    seconds = {arm: cost.seconds for arm, cost in cost_estimates.items()}
    if planning.pilot is not None:
        lines.append(seed_planning.describe_pilot(plan, planning.pilot, seconds, gpus_per_run))
    if planning.mde is not None:
        lines += seed_planning.describe_seeds_for_mde(
            request.store, plan, evidence_plan, planning.mde, seconds, gpus_per_run
        )
    return lines


def _build_evidence_plan(request: SweepRequest, plan: Plan) -> Plan:
    """Return the plan with the cells of every seed that a sweep of the store has: runs of other
    sweeps with the configuration of an arm are runs of this arm."""
    stored_seeds = {seed for stored in read_plans(request.store) for seed in stored.seeds}
    seeds = sorted(stored_seeds - set(plan.seeds))[:MAX_EVIDENCE_SEEDS]
    if not seeds:
        return plan
    all_seeds = tuple(sorted({*plan.seeds, *seeds}))
    settings = replace(request.settings, seeds=all_seeds, max_seeds=None)
    evidence_plan = replace(request, settings=settings).build_plan(seeds=all_seeds).plan
    return replace(evidence_plan, looks=plan.looks)


def _get_height(console: Console) -> int:
    """Return the lines of a screen below the command; for a pipe or file, of a usual screen."""
    if console.is_terminal or os.environ.get("LINES", "").isdecimal():
        return max(console.height - 1, 10)
    return PIPE_HEIGHT


def _describe_estimate(
    request: SweepRequest, plan: Plan, runs: Collection[str], cost_estimates: CostEstimates
) -> str:
    """Return the estimated cost of the runs, in one line; of an adaptive sweep, of this round."""
    settings = request.settings
    total_cost = estimate.describe_total_cost(
        plan.cells,
        runs,
        cost_estimates,
        settings.max_parallel_runs(plan.num_threads),
        limit.count_gpus_per_run(settings.launcher, plan.device),
    )
    hint = " (plan --probe measures them)" if runs and not cost_estimates else ""
    label = "estimate" if plan.adaptive is None else "estimate of this round"
    return f"{label}: {total_cost}{hint}"


def _run_probe_if_needed(request: SweepRequest, resolved_plan: ResolvedPlan) -> None:
    """Audit and measure the arms, unless that was done; on a cluster a job does it."""
    plan = resolved_plan.plan
    audit_key = compute_audit_key(plan, request.settings.launcher.world_size)
    if has_valid_audit(request.store.get_sweep(plan.sweep_id), audit_key):
        return
    SweepController(
        store=request.store,
        resolved_plan=resolved_plan,
        settings=request.settings,
        display=Display(make_console(stderr=True)),
    ).run_audit()


def _to_plan_records(
    plan: Plan, rows: Sequence[CellRow], cost_estimates: CostEstimates, gpus_per_run: int
) -> list[dict[str, object]]:
    """Return one record per cell: its status and its estimated cost."""
    arms = {cell.name: cell.arm for cell in plan.cells}
    return [
        {
            **record,
            **estimate.to_cost_record(cost_estimates.get(arms[row.cell]), gpus_per_run),
        }
        for row, record in zip(rows, to_records(rows))
    ]


def _describe_expected_start(
    launcher: SlurmLauncherConfig | LocalLauncherConfig, num_cores: int
) -> list[str]:
    """Return when Slurm expects to start a job that is submitted now; nothing without Slurm."""
    if not isinstance(launcher, SlurmLauncherConfig):
        return []
    from sweeps.doctor.slurm_cluster import query_expected_start  # only plans for a cluster need it
    from sweeps.launchers.sbatch import build_sbatch_options, find_sbatch_variables

    sbatch_options = build_sbatch_options(launcher, num_cores)
    variables = find_sbatch_variables(launcher).applied
    return [f"expected start: {query_expected_start(sbatch_options, variables)}"]
