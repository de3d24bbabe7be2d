"""The checks that a sweep makes before its first worker starts or its first job is submitted.

They are those checks of the doctor that take little time, and what they find is reported in the
doctor's lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ablations.plan.plan import ResolvedPlan
from sweeps.config.schema import SweepConfig
from sweeps.doctor import checks
from sweeps.doctor.checks import Check
from sweeps.doctor.context import DoctorContext, find_config
from sweeps.doctor.diagnostic import format_diagnostic
from sweeps.doctor.doctor import run_checks
from sweeps.doctor.images import check_user_images
from sweeps.doctor.program import check_program
from sweeps.doctor.slurm_cluster import CONTROLLER_CHECK
from sweeps.doctor.training_data import check_training_data
from sweeps.slurm import in_follow_up
from uniclip.commands.definition import EXECUTOR
from uniclip.errors import RetryLater, UserError
from uniclip.store import Store

PREFLIGHT_CHECKS: tuple[Check, ...] = (
    checks.check_requirements,
    checks.check_store_access,
    checks.check_disk_space,
    checks.check_slurm,
    check_training_data,
    check_user_images,
    checks.check_gpu,
)
"""Cheap checks first; the last one imports torch in a process of its own, for GPUs only."""

COMMAND_CHECKS: tuple[Check, ...] = (
    checks.check_requirements,
    checks.check_store_access,
    checks.check_disk_space,
    checks.check_slurm,
    check_program,
    check_user_images,
)
"""The same before a sweep of commands, which read training data and use devices by themselves."""

_printed_warnings: set[str] = set()
"""Warnings that this process has printed: a command may run several sweeps."""


def check_sweep(
    settings: SweepConfig,
    store: Store,
    resolved_plan: ResolvedPlan,
    open_runs: tuple[str, ...],
    print_line: Callable[[str], object],
) -> None:
    """Check the environment of runs that are about to be executed; see `run_preflight`.

    Args:
        settings: where the runs are executed.
        store: where their results are written.
        resolved_plan: the plan of the runs.
        open_runs: ids of the runs.
        print_line: prints a line for the user.

    Raises:
        UserError: a check found a problem.
    """
    config = find_config(resolved_plan)
    if config is None:  # the cells of another executor, of whose configuration nothing is known
        store.require_writable()
        return
    is_command = resolved_plan.plan.executor == EXECUTOR
    run_preflight(
        DoctorContext(
            settings=settings,
            config=config,
            store=store,
            resolved_plan=resolved_plan,
            open_runs=open_runs,
            print_line=print_line,
        ),
        COMMAND_CHECKS if is_command else PREFLIGHT_CHECKS,
    )


def run_preflight(context: DoctorContext, preflight_checks: Iterable[Check] | None = None) -> None:
    """Print the warnings of the checks.

    Args:
        context: what is checked.
        preflight_checks: the checks; None for `PREFLIGHT_CHECKS`.

    Raises:
        UserError: a check found a problem; one line for each.
        RetryLater: this process is a follow-up job, and Slurm does not answer.
    """
    problem_lines = []
    error_class: type[UserError] = UserError
    for diagnostic in run_checks(context, preflight_checks or PREFLIGHT_CHECKS):
        line = format_diagnostic(diagnostic)
        if diagnostic.level == "problem":
            problem_lines.append(line)
            if diagnostic.check == CONTROLLER_CHECK and in_follow_up():
                error_class = RetryLater
        elif diagnostic.level == "warning" and line not in _printed_warnings:
            _printed_warnings.add(line)
            context.print_line(f"warning: {line}")
    if problem_lines:
        raise error_class("\n".join(problem_lines))
