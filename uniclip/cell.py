"""The entry point of an ordinary cell: from the spec in a run's folder to its weights and scores.

A plan names its entry point (`Plan.entry`): a module with these two functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from uniclip.identity import config_of
from uniclip.numerics import numerics_class
from uniclip.run import run as run_
from uniclip.store import AttemptFolder, RunFolder


def numerics(run: RunFolder, run_only: Mapping[str, Any]) -> dict[str, Any]:
    """The numerics class in which this process would execute `run`."""
    return numerics_class(config_of(run.spec(), run_only))


def execute(
    run: RunFolder,
    run_only: Mapping[str, Any],
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> str:
    """Do what the run still lacks; how the attempt ended (`uniclip.run.run`)."""
    config = config_of(run.spec(), run_only)
    return run_(run, config, attempt, evaluations=evaluations, stop=stop)
