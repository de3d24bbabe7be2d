"""Diagnosis of a sweep before it is started: a list of checks, each with a suggested fix.

The store keeps nothing but the plan and the audit of a named ablation, which the sweep would write
as well.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

from ablations.plan.plan import resolve_base_config
from sweeps.config import request
from sweeps.config.selection import has_ablation
from sweeps.doctor import checks
from sweeps.doctor.checks import SEE_MESSAGE, Check
from sweeps.doctor.context import DoctorContext, find_config
from sweeps.doctor.data_loading import check_data_loading
from sweeps.doctor.diagnostic import Diagnostic, ok, problem
from sweeps.doctor.images import check_user_images
from sweeps.doctor.program import check_program
from sweeps.doctor.training_data import check_training_data
from uniclip.config import build_run_config
from uniclip.errors import UserError
from uniclip.store import Plan, Store

CHECKS: tuple[Check, ...] = (
    checks.check_libraries,
    checks.check_devices,
    checks.check_evaluation_datasets,
    check_training_data,
    check_user_images,
    checks.check_store_folder,
    check_program,
    checks.check_slurm,
    checks.check_audit,
    check_data_loading,
    checks.check_disk_space,
)
"""Data loading and disk space come last: the audit measures them."""
DEPENDENT_CHECKS: tuple[Check, ...] = (checks.check_audit,)
"""Checks that need everything before them to be in order: they execute training steps."""


def collect_diagnostics(
    overrides: list[str], *, submit_test_job: bool = False, stored_plan: Plan | None = None
) -> Iterator[Diagnostic]:
    """Yield every diagnostic as soon as it is known.

    Args:
        overrides: the `key=value` words of the command line.
        submit_test_job: whether a small job may be submitted to the cluster.
        stored_plan: the plan of the sweep that was named by its id, if one was.

    Raises:
        UserError: a test job is requested without a cluster, or the overrides are not valid.
    """
    context = yield from _build_context(overrides, submit_test_job, stored_plan)
    if context is None:
        return
    if context.submit_test_job and context.slurm_launcher is None:
        raise UserError("doctor --submit sends a test job to a cluster: add launcher=slurm")
    yield from run_checks(context, CHECKS)


def run_checks(context: DoctorContext, checks_to_run: Iterable[Check]) -> Iterator[Diagnostic]:
    """Yield the diagnostics of checks; an error in a check is a diagnostic of its own.

    A check of `DEPENDENT_CHECKS` is left out after a problem: it would report it once more.
    """
    has_problem = False
    for check in checks_to_run:
        if has_problem and check in DEPENDENT_CHECKS:
            continue
        for diagnostic in _run_check(check, context):
            has_problem = has_problem or diagnostic.level == "problem"
            yield diagnostic


def _run_check(check: Check, context: DoctorContext) -> Iterator[Diagnostic]:
    try:
        yield from check(context)
    except (UserError, OSError) as error:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        yield problem(name, str(error), SEE_MESSAGE)


def _build_context(
    overrides: list[str], submit_test_job: bool, stored_plan: Plan | None
) -> Generator[Diagnostic, None, DoctorContext | None]:
    """Yield the diagnostic of the plan, and return the context; None if there is no valid run."""
    if not has_ablation(overrides):
        sweep_config, config = request.parse_configs(overrides)
        return DoctorContext(
            settings=sweep_config,
            config=config,
            store=Store(sweep_config.store),
            resolved_plan=None,
            submit_test_job=submit_test_job,
        )
    sweep_request, resolved_plan = request.parse_request(overrides, (), stored_plan), None
    check = "plan and training data"
    try:
        resolved_plan = sweep_request.build_plan()
    except UserError as error:
        yield problem(check, str(error), SEE_MESSAGE)
        try:
            config = resolve_base_config(sweep_request.plan_request)
        except UserError:  # the diagnostic above says so
            return None
    else:
        config = find_config(resolved_plan) or build_run_config(
            sweep_request.plan_request.compose({})
        )
        yield ok(check, f"{resolved_plan.plan.sweep_id}, {len(resolved_plan.specs)} runs")
    return DoctorContext(
        settings=sweep_request.settings,
        config=config,
        store=sweep_request.store,
        resolved_plan=resolved_plan,
        submit_test_job=submit_test_job,
    )
