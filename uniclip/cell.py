"""The executor of a cell: from the spec in a run's folder to weights and scores.

A plan names its executor (`Plan.executor`): a module with the functions `resolve_numerics_class`
and `execute`, and with the others if several processes may share a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from uniclip import distributed, numerics, run
from uniclip.identity import config_from_spec
from uniclip.store import AttemptFolder, ExitKind, RunFolder


def resolve_numerics_class(folder: RunFolder, run_only: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numerics class in which this process would execute a run."""
    return numerics.get_numerics_class(config_from_spec(folder.read_spec(), run_only))


def execute(
    folder: RunFolder,
    run_only: Mapping[str, Any],
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> ExitKind:
    """Train and evaluate a run as far as that is open (`uniclip.run.execute_run`)."""
    config = config_from_spec(folder.read_spec(), run_only)
    return run.execute_run(folder, config, attempt, evaluations=evaluations, stop=stop)


def init_process_group(run_only: Mapping[str, Any]) -> int:
    """Initialize the process group of this job, and return the rank of this process."""
    return distributed.init_process_group(run_only["runtime"]["device"]).rank


def broadcast_object(value: Any = None) -> Any:
    """Return the `value` of rank 0, a JSON value, on every process."""
    return distributed.get_process_group().broadcast_object(value)


def run_nonzero_rank(
    folder: RunFolder, run_only: Mapping[str, Any], stop: Callable[[], bool]
) -> None:
    """Execute a run on every process but rank 0, which calls `execute`."""
    spec = folder.read_spec()
    config = config_from_spec(spec, run_only)
    with run.require_planned_data(config, spec):
        run.run_nonzero_rank(config, stop=stop)


def destroy_process_group() -> None:
    """Destroy the process group."""
    distributed.destroy_process_group()
