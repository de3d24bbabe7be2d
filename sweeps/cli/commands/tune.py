"""`sweep.py tune`: tune every arm alike, then compare default and tuned arms."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace

from ablations.plan.tuned_arms import build_tuned_plan
from sweeps.cli.commands.run import EXIT_CELLS_FAILED, JSON_HELP, SweepResult, run_notified
from sweeps.config import stored_sweep
from sweeps.config.selection import SWEEP_HELP, expand_names, require_no_cells
from sweeps.controller.controller import Detached, SweepController
from sweeps.controller.sweep_notifier import build_notifier
from sweeps.controller.sweep_run import build_controller, run_cells
from sweeps.monitor.display import Display
from sweeps.monitor.notifier import Notifier
from sweeps.monitor.status import FINAL_STATUSES, build_rows
from sweeps.monitor.terminal import divert_text
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


class TuningUnfinished(Exception):
    """Cells of the default arms or trials are not finished; the text says which."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, the flag --json, and the keys of the tuning to the help."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    parser.epilog = EPILOG


def run(arguments: Namespace) -> int:
    """Run the default arms, tune all arms, run the tuned arms, and build the report."""
    words, stored_plan, cell_names = expand_names("tune", arguments.names, arguments.overrides)
    require_no_cells("tune", cell_names)
    with divert_text(is_diverted=arguments.json):
        result = tune_and_report(build_tuner(words, stored_plan), Display(), words)
    return result.finish(as_json=arguments.json)


def tune_and_report(tuner: Tuner, display: Display, words: list[str]) -> SweepResult:
    """Tune, run default and tuned arms, build the report, and notify the user of all of it."""
    request, plan = tuner.request, tuner.resolved_plan.plan
    with build_notifier(request.settings, request.store, plan, display) as notifier:
        return _tune_and_run(tuner, display, words, notifier)


def _tune_and_run(
    tuner: Tuner, display: Display, words: list[str], notifier: Notifier
) -> SweepResult:
    """Tune, run default and tuned arms, and build the report; return how it has ended."""
    try:
        tuning = _tune(tuner, display, notifier)
    except (Detached, TuningUnfinished) as reason:
        display.print_line(str(reason))
        return SweepResult(
            sweep_id=tuner.resolved_plan.plan.sweep_id,
            rows=build_rows(tuner.request.store, tuner.resolved_plan.plan),
            exit_status=0 if isinstance(reason, Detached) else EXIT_CELLS_FAILED,
            message=str(reason),
        )
    for line in (*describe_tuning(tuning), f"trials: {tuner.describe_dashboard()}"):
        display.print_line(line)
    return run_notified(_build_tuned_controller(tuner, tuning, words), notifier)


def _build_tuned_controller(tuner: Tuner, tuning: Tuning, words: list[str]) -> SweepController:
    """Return the controller of the default and the tuned arms."""
    tuned_plan = build_tuned_plan(tuner.resolved_plan, tuning)
    recorded_overrides = stored_sweep.record_overrides(words)
    tuned_plan = replace(tuned_plan, plan=replace(tuned_plan.plan, overrides=recorded_overrides))
    reuse_audit(tuner.request.store, tuner.resolved_plan.plan, tuned_plan.plan)
    return build_controller(tuner.request, tuned_plan, QuietDisplay())


def _tune(tuner: Tuner, display: Display, notifier: Notifier) -> Tuning:
    """Run the default arms and the trials.

    Raises:
        Detached: jobs are submitted, and nothing waits for them.
        TuningUnfinished: cells of the default arms or trials are unfinished.
    """
    tuner.check_storage()
    display.print_line(f"tuning: {tuner.describe_cost()}")
    limit_checked = tuner.enforce_gpu_hours_limit()
    controller = build_controller(tuner.request, tuner.resolved_plan, display)
    rows = run_cells(replace(controller, shared_limit_check=tuner.enforce_gpu_hours_limit))
    num_unfinished = sum(row.state.status not in FINAL_STATUSES for row in rows)
    if num_unfinished:
        raise TuningUnfinished(f"tuning waits for {num_unfinished} cells of the default arms")
    display.print_line(f"tuning: {tuner.describe_cost()}")
    if not limit_checked:
        tuner.enforce_gpu_hours_limit()
    try:
        return tuner.tune(QuietDisplay(), notifier.watch)
    except TrialsIncomplete as error:
        raise TuningUnfinished(f"tuning: {error}") from None
