"""The entry point of an ordinary cell: from the spec in a run's folder to its weights and scores.

A plan names its entry point (`Plan.entry`): a module with `numerics` and `execute`, and with the
rest if several processes may share a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from uniclip import distributed
from uniclip.identity import config_from_spec
from uniclip.numerics import get_numerics_class
from uniclip.run import execute_run as run_
from uniclip.run import run_nonzero_rank as assist_
from uniclip.store import AttemptFolder, ExitKind, RunFolder


def resolve_numerics_class(run: RunFolder, run_only: Mapping[str, Any]) -> dict[str, Any]:
    """The numerics class in which this process would execute `run`."""
    return get_numerics_class(config_from_spec(run.read_spec(), run_only))


def execute(
    run: RunFolder,
    run_only: Mapping[str, Any],
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> ExitKind:
    """Do what the run still lacks; how the attempt ended (`uniclip.run.run`)."""
    config = config_from_spec(run.read_spec(), run_only)
    return run_(run, config, attempt, evaluations=evaluations, stop=stop)


def init_process_group(run_only: Mapping[str, Any]) -> int:
    """Meet the processes that share this job's cells; the rank of this one."""
    return distributed.init_process_group(run_only["runtime"]["device"]).rank


def broadcast_object(value: Any = None) -> Any:
    """What rank 0 says, on every process."""
    return distributed.get_process_group().broadcast_object(value)


def run_nonzero_rank(run: RunFolder, run_only: Mapping[str, Any], stop: Callable[[], bool]) -> None:
    """What every process but rank 0 does while that one is in `execute`."""
    assist_(config_from_spec(run.read_spec(), run_only), stop=stop)


def destroy_process_group() -> None:
    """Part from the other processes."""
    distributed.destroy_process_group()
