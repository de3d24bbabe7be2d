"""What each verb of the command line does. Each returns an exit status."""

from __future__ import annotations

import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ablations.plan import plan as plans
from ablations.plan.plan import ResolvedPlan
from analysis.results import comparability
from sweeps.cli import listing
from sweeps.cli.data import data
from sweeps.config import request
from sweeps.config.request import SweepRequest
from sweeps.config.schema import SlurmLauncherConfig
from sweeps.controller import retry as retries
from sweeps.controller.controller import (
    SweepController,
    build_controller,
    merge_with_stored_plan,
    run_cells,
)
from sweeps.costs import estimate, limit
from sweeps.costs.audit_scope import compute_audit_key, has_valid_audit
from sweeps.launchers.submissions import Submissions
from sweeps.monitor import status as status_
from sweeps.monitor.display import Display, build_table
from sweeps.monitor.terminal import make_console, print_json, watch
from sweeps.slurm import Slurm
from uniclip.config.compose import flatten, parse_overrides
from uniclip.errors import UserError
from uniclip.store import Plan, RunFolder, Store, SweepFolder

EXIT_CELLS_FAILED, EXIT_PLANTED_EFFECT_MISSED = 1, 1


def run(options: Namespace) -> int:
    """Plan, run what is missing, report."""
    sweep_request = request.parse_request(options.overrides)
    return _run_and_report(
        build_controller(sweep_request, plans.build_plan(sweep_request.plan_request))
    )


def retry(options: Namespace) -> int:
    """Run failed cells again; with --force also those whose death cannot be proven."""
    sweep_request = request.parse_request(options.overrides)
    return _run_and_report(retries.build_retry(sweep_request, options.names, force=options.force))


def plan(options: Namespace) -> int:
    """Print what would run, why, and what it takes; runs and writes nothing (but --probe)."""
    sweep_request = request.parse_request(options.overrides)
    resolved_plan = merge_with_stored_plan(
        plans.build_plan(sweep_request.plan_request), sweep_request.store
    )
    sweep_plan = resolved_plan.plan
    console = make_console()
    if options.probe:
        _run_probe_if_needed(sweep_request, resolved_plan)
    rows = status_.build_rows(sweep_request.store, sweep_plan)
    cost_estimates = estimate.estimate_costs(sweep_request.store, sweep_plan)
    gpus_per_run = limit.count_gpus_per_run(
        sweep_request.settings.launcher, sweep_plan.base_config["runtime"]["device"]
    )
    if options.json:
        arm_by_cell = {c.name: c.arm for c in sweep_plan.cells}
        cost_records = (
            estimate.to_cost_record(cost_estimates.get(arm_by_cell[r.cell]), gpus_per_run)
            for r in rows
        )
        print_json([{**r, **p} for r, p in zip(status_.to_records(rows), cost_records)])
        return 0
    plan_table = Table(box=None, pad_edge=False)
    for name in ("cell", "run", "would it run", "why", *estimate.COST_HEADINGS):
        plan_table.add_column(name, no_wrap=True)
    for row in rows:
        arm = row.cell.rsplit("/", 1)[0]
        will_run = "yes" if sweep_request.settings.should_run(row.state) else "no"
        reason = row.reason or row.status
        cost_columns = estimate.format_cost_columns(cost_estimates.get(arm), gpus_per_run)
        plan_table.add_row(*map(Text, (row.cell, row.run[:8], will_run, reason, *cost_columns)))
    console.print(f"{sweep_plan.title}\n{sweep_plan.sweep_id}", markup=False)
    console.print(plan_table)
    for line in (
        *_describe_recipes(sweep_plan),
        *_describe_comparability(sweep_request.store, sweep_plan),
        *sweep_plan.skipped,
    ):
        console.print(line, markup=False)
    for name, hint in sweep_plan.missing_datasets.items():
        console.print(f"n/a: {name}: {hint}", markup=False)
    for name, hint in sweep_plan.missing_probe_data.items():
        console.print(f"n/a: linear probe on {name}: {hint}", markup=False)
    runs_to_execute = {r.run for r in rows if sweep_request.settings.should_run(r.state)}
    max_parallel_runs = sweep_request.settings.max_parallel_runs(
        sweep_plan.base_config["train"]["num_threads"]
    )
    console.print(
        f"estimate: {estimate.describe_total_cost(sweep_plan, runs_to_execute, cost_estimates, max_parallel_runs, gpus_per_run)}"
    )
    if isinstance(sweep_request.settings.launcher, SlurmLauncherConfig):
        from sweeps.doctor.doctor import build_sbatch_options
        from sweeps.doctor.slurm_cluster import query_expected_start

        sbatch_args = build_sbatch_options(
            sweep_request.settings.launcher, sweep_plan.base_config["train"]["num_threads"]
        )
        console.print(f"expected start: {query_expected_start(sbatch_args)}", markup=False)
    return 0


def _describe_recipes(plan: Plan) -> list[str]:
    """What recipe= makes of each arm's training."""
    if not plan.recipe_descriptions:
        return []
    scope_note = "steps and batch size are the budget's, a warm-up is a share of the steps, rounded"
    width = max(map(len, plan.recipe_descriptions))
    arm_lines = (
        f"  {name:<{width}}  {description}"
        for name, description in plan.recipe_descriptions.items()
    )
    return [*plan.caveats, f"recipe={plan.recipe}: {scope_note}", *arm_lines]


def _describe_comparability(store: Store, plan: Plan) -> list[str]:
    """What the sides of each comparison have in common, and what not, time and memory included."""
    arm_probes = estimate.read_probes(store, plan).values()
    counted_facts, measured_costs = (
        comparability.collect_comparison_facts(plan, arm_probes),
        comparability.collect_measured_facts(plan, arm_probes),
    )
    facts_by_arm = {
        a.name: {**measured_costs[a.name], **counted_facts.get(a.name, {})} for a in plan.arms
    }
    tolerance_keys = comparability.SIZE_TOLERANCES | comparability.MEASURED_TOLERANCES
    return [
        f"{c.label}: {comparability.compare_conditions(facts_by_arm, c, tolerance_keys)}"
        for c in plan.contrasts
    ]


def _run_probe_if_needed(sweep_request: SweepRequest, resolved_plan: ResolvedPlan) -> None:
    """Measure the arms, unless that was done: on a cluster by a job that is not waited for."""
    if has_valid_audit(
        sweep_request.store.get_sweep(resolved_plan.plan.sweep_id),
        compute_audit_key(resolved_plan.plan),
    ):
        return
    store, display = sweep_request.store, Display(make_console(stderr=True))
    SweepController(
        store=store, resolved_plan=resolved_plan, settings=sweep_request.settings, display=display
    ).run_audit()


def status(options: Namespace) -> int:
    """Print the state of every cell."""
    if options.json and options.watch:
        raise UserError("--watch draws on a terminal, --json prints once: choose one")
    sweep_request = request.parse_request(options.overrides)
    plan = _load_or_build_plan(sweep_request)
    if options.json:
        print_json(status_.to_records(status_.build_rows(sweep_request.store, plan)))
    elif options.watch:
        watch(lambda: build_table(status_.build_rows(sweep_request.store, plan)))
    else:
        rows = status_.build_rows(sweep_request.store, plan)
        make_console().print(build_table(rows))
        for kind in dict.fromkeys(r.status for r in rows):
            if kind not in ("complete", "running"):
                make_console().print(f"{kind}: {status_.ADVICE[kind]}", markup=False)
        for line in status_.describe_tunings(sweep_request.store, plan.sweep_id):
            make_console().print(line, markup=False)
    return 0


def report(options: Namespace) -> int:
    """Build the report from what exists."""
    sweep_request = request.parse_request(options.overrides)
    plan = _load_or_build_plan(sweep_request)
    if sweep_request.store.get_sweep(plan.sweep_id).read_plan() is None:
        raise UserError(
            f"sweep {plan.sweep_id} has not been run in store={sweep_request.store.root}"
        )
    return _build_report(sweep_request.store, plan, force=options.force)


def list_(options: Namespace) -> int:
    """Print what there is to choose from."""
    return listing.print_choices(options.names, options.overrides)


def logs(options: Namespace) -> int:
    """Print the newest attempt's log of a cell, and its path."""
    sweep_request = request.parse_request(options.overrides)
    plan = _load_or_build_plan(sweep_request)
    if len(options.names) != 1:
        raise UserError("logs takes one cell: <arm>/<seed>, or the start of a run id")
    run_folder = sweep_request.store.get_run(plans.find_cell(plan, options.names[0]).run_id)
    attempt_numbers = run_folder.list_attempts()
    if not attempt_numbers:
        worker_logs = sweep_request.store.get_sweep(plan.sweep_id).slots_path
        hint = f"; what workers said is in {worker_logs}" if worker_logs.exists() else ""
        raise UserError(f"{options.names[0]} has not been run: there is no log yet{hint}")
    log = run_folder.get_attempt(attempt_numbers[-1]).log_path
    print(log.read_text(errors="replace") if log.exists() else "", end="")
    print(f"({log}, attempt {attempt_numbers[-1]} of {len(attempt_numbers)})")
    return 0


def diff(options: Namespace) -> int:
    """Print the leaves of the configuration in which two cells differ."""
    sweep_request = request.parse_request(options.overrides)
    resolved_plan = merge_with_stored_plan(
        plans.build_plan(sweep_request.plan_request), sweep_request.store
    )
    if not 1 <= len(options.names) <= 2:
        raise UserError("why takes one cell or two: <arm>/<seed>")
    cells = [plans.find_cell(resolved_plan.plan, n) for n in options.names]
    if len(cells) == 1:
        cells.insert(
            0,
            plans.find_cell(resolved_plan.plan, f"{resolved_plan.plan.reference}/{cells[0].seed}"),
        )
    first_spec, second_spec = (flatten(resolved_plan.specs[c.run_id]) for c in cells)
    differing_keys = [
        k
        for k in {**first_spec, **second_spec}
        if first_spec.get(k, "-") != second_spec.get(k, "-")
    ]
    diff_table = Table(box=None, pad_edge=False)
    for name in ("key", *(c.name for c in cells)):
        diff_table.add_column(name)
    for key in differing_keys:
        columns = (key.removeprefix("config."), first_spec.get(key, "-"), second_spec.get(key, "-"))
        diff_table.add_row(*(Text(str(value)) for value in columns))
    summary = (
        "the same run"
        if cells[0].run_id == cells[1].run_id
        else f"{len(differing_keys)} keys differ"
    )
    make_console().print(
        f"{cells[0].name} is {cells[0].run_id}, {cells[1].name} is {cells[1].run_id}: {summary}"
    )
    if differing_keys:
        make_console().print(diff_table)
    return 0


def cancel(options: Namespace) -> int:
    """Take cells out of the queue, and stop those that run there; what they saved stays."""
    sweep_request = request.parse_request(options.overrides)
    plan = _load_or_build_plan(sweep_request)
    run_ids = {plans.find_cell(plan, n).run_id for n in options.names}
    folder = sweep_request.store.get_sweep(plan.sweep_id)
    tuning_folders = (
        []
        if run_ids
        else [*folder.list_rounds(), *sweep_request.store.iter_tuned_sweeps(folder.id)]
    )
    folders = [f for f in (folder, *tuning_folders) if f.submissions_path.exists()]
    if not folders:
        raise UserError(f"nothing of {folder.id} was submitted to Slurm; stop a sweep with Ctrl-C")
    slurm = Slurm()
    _ = slurm.config  # one line if nobody answers
    job_ids = [job for f in folders for job in _cancel_jobs(sweep_request.store, f, slurm, run_ids)]
    print(f"cancelled {len(job_ids)} jobs; the cells go on from their checkpoints when run again")
    return 0


def _cancel_jobs(store: Store, folder: SweepFolder, slurm: Slurm, run_ids: set[str]) -> list[str]:
    """Cancel the jobs of these runs (none: of all), and note that nobody goes on with them."""
    job_ids = []
    for intent, job, runs in Submissions(folder, slurm).list_active_jobs():
        cell_runs = runs if intent.kind == "run" else ()
        if not run_ids or (cell_runs and run_ids.issuperset(cell_runs)):
            job_ids.append(job.id)
        elif run_ids.intersection(cell_runs):
            raise UserError(
                f"job {job.id} holds other cells too ({', '.join(runs)}): name them all"
            )
    plan = folder.read_plan()
    cancelled_runs = run_ids or (plan.required_evaluations() if plan else ())
    folder.record_cancelled(
        (r, max(store.get_run(r).list_attempts(), default=0)) for r in cancelled_runs
    )
    if job_ids:  # else the look at the queue is good for the next sweep too
        slurm.cancel(job_ids)
    return job_ids


def gc(options: Namespace) -> int:
    """Say what can be deleted (old generations, caches, spent checkpoints); --yes does it."""
    values = parse_overrides(options.overrides)
    unknown_keys = set(values) - {"store"}
    if unknown_keys:
        raise UserError(f"gc looks at a whole store: leave out {sorted(unknown_keys)[0]}=")
    store = Store(str(values.get("store", "store")))
    if not any((store.root / name).is_dir() for name in ("runs", "sweeps")):
        raise UserError(f"store={store.root} is not a store: it holds neither runs nor sweeps")
    folders = [p for p in (store.root / "superseded", store.cache_path) if p.is_dir()]
    folders += [
        p
        for r in store.iter_runs()
        if r.read_outcome() is not None
        for p in _list_checkpoint_folders(r)
    ]
    total_bytes = 0
    for folder in folders:
        folder_bytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        total_bytes += folder_bytes
        print(f"{'deleted' if options.yes else 'could go'}: {folder} ({folder_bytes / 1e6:.1f} MB)")
        if options.yes:
            shutil.rmtree(folder)
    hint = "" if options.yes or not folders else "; gc --yes deletes it"
    print(f"{total_bytes / 1e6:.1f} MB in {len(folders)} folders{hint}")
    return 0


def _list_checkpoint_folders(run_folder: RunFolder) -> list[Path]:
    folders = [run_folder.get_attempt(n).checkpoints_path for n in run_folder.list_attempts()]
    return [f for f in folders if f.is_dir() and any(f.iterdir())]


def _load_or_build_plan(sweep_request: SweepRequest) -> Plan:
    """The sweep's own plan where it was run (it may hold more seeds), else the plan asked for."""
    plan = plans.build_plan(sweep_request.plan_request).plan
    return sweep_request.store.get_sweep(plan.sweep_id).read_plan() or plan


def tune(options: Namespace) -> int:
    """Tune every arm alike, then run the tuned arms beside the default ones and report."""
    from ablations.plan import tuned_arms
    from sweeps.tuning import tuner as tuning  # here: other verbs start without numpy

    tuner = tuning.build_tuner(options.overrides)
    sweep_request, display = tuner.sweep_request, Display()
    display.print_line(f"tuning: {tuner.describe_cost()}")
    limit_checked = tuner.enforce_gpu_hours_limit()
    default_rows = run_cells(
        replace(
            build_controller(sweep_request, tuner.resolved_plan, display),
            shared_limit_check=tuner.enforce_gpu_hours_limit,
        )
    )
    unfinished_rows = [r for r in default_rows if r.state.status not in status_.FINAL_STATUSES]
    if unfinished_rows:
        display.print_line(f"tuning waits for {len(unfinished_rows)} cells of the default arms")
        return EXIT_CELLS_FAILED
    display.print_line(f"tuning: {tuner.describe_cost()}")
    if not limit_checked:
        tuner.enforce_gpu_hours_limit()
    try:
        tuning_result = tuner.tune(tuning.QuietDisplay())
    except tuning.TrialsIncomplete as error:
        display.print_line(f"tuning: {error}")
        return EXIT_CELLS_FAILED
    for line in tuning.describe_tuning(tuning_result):
        display.print_line(line)
    tuned_plan = tuned_arms.build_tuned_plan(tuner.resolved_plan, tuning_result)
    tuner.reuse_audit(tuned_plan.plan)
    return _run_and_report(build_controller(sweep_request, tuned_plan, tuning.QuietDisplay()))


def doctor(options: Namespace) -> int:
    """Print what would go wrong, before anything is spent."""
    from sweeps.doctor.doctor import (
        print_diagnostics as examine,
    )  # here: other verbs need none of its checks

    return examine(options)


def _run_and_report(controller: SweepController) -> int:
    """Run what is missing and report; of a part of a plan, how that part came out."""
    rows = run_cells(controller)
    report_status = _build_report(controller.store, controller.plan)
    has_failures = any(r.state.status in ("failed", "lost") for r in rows)
    return EXIT_CELLS_FAILED if has_failures else 0 if controller.is_partial else report_status


def _build_report(store: Store, plan: Plan, force: bool = False) -> int:
    from analysis.report import build as report_
    from analysis.results import planted_effects

    build_result = report_.build_report(store, plan.sweep_id, force=force)
    for line in build_result.summary:
        print(line)
    print(
        f"report: {build_result.folder / 'report.html'}{'' if build_result.rebuilt else ' (unchanged)'}"
    )
    if not plan.planted_effects:
        return 0
    effect_checks = planted_effects.check_planted_effects(store, plan.sweep_id)
    for effect_check in effect_checks:
        print(
            f"truth: {'holds' if effect_check.holds else 'MISSED'}: {effect_check.description} ({effect_check.detail})"
        )
    return 0 if all(f.holds for f in effect_checks) else EXIT_PLANTED_EFFECT_MISSED


COMMAND_HANDLERS = {
    "run": run,
    "plan": plan,
    "status": status,
    "report": report,
    "list": list_,
    "logs": logs,
    "why": diff,
    "retry": retry,
    "cancel": cancel,
    "tune": tune,
    "data": data,
    "doctor": doctor,
    "gc": gc,
}
