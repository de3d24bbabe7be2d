"""`sweep.py plan`: show what would run, why, and its estimated cost."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence

from rich.console import Console

from ablations.plan.plan import ResolvedPlan
from analysis.results import comparability
from sweeps.config.request import SweepRequest
from sweeps.config.schema import SlurmLauncherConfig, SweepConfig
from sweeps.config.selection import (
    SWEEP_HELP,
    describe_same_words,
    print_notes,
    require_no_cells,
    select_request,
)
from sweeps.controller.controller import SweepController
from sweeps.controller.plan_merge import merge_with_stored_plan
from sweeps.costs import estimate, limit
from sweeps.costs.audit_scope import compute_audit_key, has_valid_audit
from sweeps.monitor.display import Display
from sweeps.monitor.status import CellRow, build_rows, to_records
from sweeps.monitor.terminal import make_console, print_json, print_table
from uniclip.store import Plan, Store

CostEstimates = dict[str, estimate.CostEstimate]
"""Arm -> estimated cost of one of its cells; arms that were not measured are left out."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags --json and --probe."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON record per cell")
    parser.add_argument(
        "--probe",
        action="store_true",
        help="first measure the cost of a cell of each arm in a few steps; runs no cell",
    )


def run(arguments: Namespace) -> int:
    """Print the plan; nothing is run and nothing is written, except by --probe."""
    request, cell_names = select_request("plan", arguments.names, arguments.overrides)
    require_no_cells("plan", cell_names)
    resolved_plan = merge_with_stored_plan(request.build_plan(), request.store)
    print_notes(describe_same_words(request.store, resolved_plan.plan))
    if arguments.probe:
        _run_probe_if_needed(request, resolved_plan)
    plan, settings = resolved_plan.plan, request.settings
    rows = build_rows(request.store, plan)
    cost_estimates = estimate.estimate_costs(request.store, plan)
    gpus_per_run = limit.count_gpus_per_run(settings.launcher, plan.device)
    if arguments.json:
        print_json(_to_plan_records(plan, rows, cost_estimates, gpus_per_run))
        return 0
    console = make_console()
    console.print(f"{plan.title}\n{plan.sweep_id}", markup=False)
    print_table(
        console,
        ("cell", "run id", "will run", "reason", *estimate.COST_HEADINGS),
        _build_plan_rows(rows, settings, cost_estimates, gpus_per_run),
    )
    for line in _describe_plan(request.store, plan):
        console.print(line, markup=False)
    runs = {row.run for row in rows if settings.should_run(row.state)}
    max_parallel_runs = settings.max_parallel_runs(plan.num_threads)
    total_cost = estimate.describe_total_cost(
        plan.cells, runs, cost_estimates, max_parallel_runs, gpus_per_run
    )
    hint = "" if cost_estimates else " (plan --probe measures them)"
    console.print(f"estimate: {total_cost}{hint if runs else ''}")
    if isinstance(settings.launcher, SlurmLauncherConfig):
        _print_expected_start(console, settings.launcher, plan.num_threads)
    return 0


def _run_probe_if_needed(request: SweepRequest, resolved_plan: ResolvedPlan) -> None:
    """Audit and measure the arms, unless that was done; on a cluster a job does it."""
    plan = resolved_plan.plan
    if has_valid_audit(request.store.get_sweep(plan.sweep_id), compute_audit_key(plan)):
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


def _build_plan_rows(
    rows: Sequence[CellRow],
    settings: SweepConfig,
    cost_estimates: CostEstimates,
    gpus_per_run: int,
) -> Iterator[tuple[str, ...]]:
    """Yield the columns of each cell's line."""
    for row in rows:
        arm = row.cell.rsplit("/", 1)[0]
        will_run = "yes" if settings.should_run(row.state) else "no"
        cost_columns = estimate.format_cost_columns(cost_estimates.get(arm), gpus_per_run)
        yield (row.cell, row.run[:8], will_run, row.reason or row.status, *cost_columns)


def _describe_plan(store: Store, plan: Plan) -> Iterator[str]:
    """Yield recipes, comparability of each contrast, skipped arms, and missing data sets."""
    yield from _describe_recipes(plan)
    yield from _describe_comparability(store, plan)
    yield from plan.skipped
    for name, hint in plan.missing_datasets.items():
        yield f"n/a: {name}: {hint}"
    for name, hint in plan.missing_probe_data.items():
        yield f"n/a: linear probe on {name}: {hint}"


def _describe_recipes(plan: Plan) -> list[str]:
    """Return optimizer and schedule of each arm, if `recipe=` changes them."""
    if not plan.recipe_descriptions:
        return []
    scope = "steps and batch size are the budget's; warm-up is a share of the steps, rounded"
    width = max(map(len, plan.recipe_descriptions))
    arm_lines = (f"  {arm:<{width}}  {text}" for arm, text in plan.recipe_descriptions.items())
    return [*plan.caveats, f"recipe={plan.recipe}: {scope}", *arm_lines]


def _describe_comparability(store: Store, plan: Plan) -> list[str]:
    """Return what both sides of each contrast have equal, time and memory included."""
    if not plan.contrasts:
        return []
    arm_probes = estimate.read_probes(store.get_sweep(plan.sweep_id), plan.device).values()
    counted_facts = comparability.combine_comparison_facts(
        plan.comparison_facts, plan.base_config, plan.arms, arm_probes
    )
    measured_facts = comparability.collect_measured_facts(plan.base_config, plan.arms, arm_probes)
    facts_by_arm = {
        arm.name: {**measured_facts[arm.name], **counted_facts.get(arm.name, {})}
        for arm in plan.arms
    }
    tolerances = comparability.SIZE_TOLERANCES | comparability.MEASURED_TOLERANCES
    return [
        "what is equal (matched) on the two sides of each contrast:",
        *(
            f"  {c.label}: {comparability.compare_conditions(facts_by_arm, c, tolerances)}"
            for c in plan.contrasts
        ),
    ]


def _print_expected_start(
    console: Console, launcher: SlurmLauncherConfig, num_threads: int
) -> None:
    """Print when Slurm expects to start a job that is submitted now."""
    from sweeps.doctor.slurm_cluster import query_expected_start  # only plans for a cluster need it
    from sweeps.launchers.sbatch import build_sbatch_options

    sbatch_options = build_sbatch_options(launcher, num_threads)
    console.print(f"expected start: {query_expected_start(sbatch_options)}", markup=False)
