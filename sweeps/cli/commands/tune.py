"""`sweep.py tune`: tune every arm alike, then compare default and tuned arms."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace

from ablations.plan.tuned_arms import build_tuned_plan
from sweeps.cli.commands.run import EXIT_CELLS_FAILED, run_and_report
from sweeps.config import stored_sweep
from sweeps.config.selection import SWEEP_HELP, expand_names, require_no_cells
from sweeps.controller.controller import Detached
from sweeps.controller.sweep_run import build_controller, run_cells
from sweeps.monitor.display import Display
from sweeps.monitor.status import FINAL_STATUSES
from sweeps.tuning.rung import TrialsIncomplete, reuse_audit
from sweeps.tuning.tuner import QuietDisplay, Tuner, build_tuner, describe_tuning
from uniclip.store import Tuning

EPILOG = """\
keys of the tuning, in addition to those of a sweep:
  n_trials=20                    trials of each arm
  space=optimizer                search space (see: python sweep.py list spaces)
  sampler=tpe|gp|cmaes|qmc|random
                                 Optuna's sampler; sampler_options={...} are its arguments
  pruner=none|median|hyperband|MedianPruner|...
                                 rule by which poor trials are stopped early; names of classes are
                                 Optuna's own pruners, with pruner_options={...}
  storage=                       storage of the Optuna studies, such as sqlite:///study.db; the
                                 default is a file in the store
  tuning_seeds=1                 number of seeds of each trial, or a list of them
  parallel_trials=1              trials of each arm that run at the same time
  sampler_seed=0                 seed of Optuna's sampler
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the keys of the tuning to the help."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.epilog = EPILOG


def run(arguments: Namespace) -> int:
    """Run the default arms, tune all arms, run the tuned arms, and build the report."""
    words, stored_plan, cell_names = expand_names("tune", arguments.names, arguments.overrides)
    require_no_cells("tune", cell_names)
    tuner, display = build_tuner(words, stored_plan), Display()
    try:
        tuning = _tune(tuner, display)
    except Detached as detached:
        print(detached)
        return 0
    if tuning is None:
        return EXIT_CELLS_FAILED
    for line in (*describe_tuning(tuning), f"trials: {tuner.describe_dashboard()}"):
        display.print_line(line)
    tuned_plan = build_tuned_plan(tuner.resolved_plan, tuning)
    recorded_overrides = stored_sweep.record_overrides(words)
    tuned_plan = replace(tuned_plan, plan=replace(tuned_plan.plan, overrides=recorded_overrides))
    reuse_audit(tuner.request.store, tuner.resolved_plan.plan, tuned_plan.plan)
    return run_and_report(build_controller(tuner.request, tuned_plan, QuietDisplay()))


def _tune(tuner: Tuner, display: Display) -> Tuning | None:
    """Run the default arms and the trials; return None if cells or trials are unfinished."""
    tuner.check_storage()
    display.print_line(f"tuning: {tuner.describe_cost()}")
    limit_checked = tuner.enforce_gpu_hours_limit()
    controller = build_controller(tuner.request, tuner.resolved_plan, display)
    rows = run_cells(replace(controller, shared_limit_check=tuner.enforce_gpu_hours_limit))
    num_unfinished = sum(row.state.status not in FINAL_STATUSES for row in rows)
    if num_unfinished:
        display.print_line(f"tuning waits for {num_unfinished} cells of the default arms")
        return None
    display.print_line(f"tuning: {tuner.describe_cost()}")
    if not limit_checked:
        tuner.enforce_gpu_hours_limit()
    try:
        return tuner.tune(QuietDisplay())
    except TrialsIncomplete as error:
        display.print_line(f"tuning: {error}")
        return None
