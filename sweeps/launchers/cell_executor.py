"""The interface of the module that executes cells (`Plan.executor`, by default `uniclip.cell`)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from uniclip.errors import UserError
from uniclip.store import AttemptFolder, ExitKind, RunFolder


class CellExecutor(Protocol):
    """A module that executes a run in one process.

    `run_only` holds the sections of the configuration that state how a run is executed and
    evaluated (`uniclip.config.RUN_ONLY`); what the run is stands in its spec.
    """

    def resolve_numerics_class(
        self, run: RunFolder, run_only: Mapping[str, Any], /
    ) -> dict[str, Any]:
        """Return the numerics class in which this process would execute the run."""

    def execute(
        self,
        run: RunFolder,
        run_only: Mapping[str, Any],
        attempt: AttemptFolder,
        evaluations: Mapping[str, str],
        stop: Callable[[], bool],
        /,
    ) -> ExitKind:
        """Train and evaluate what the run lacks; return how the attempt ended.

        `evaluations` maps each data set to the evaluation hash of its scores. `stop` returns True
        once the attempt should end at the next step.
        """


class DistributedCellExecutor(CellExecutor, Protocol):
    """A module that also executes a run in several processes together."""

    def init_process_group(self, run_only: Mapping[str, Any], /) -> int:
        """Join the processes of this job and return the rank of this one."""

    def broadcast_object(self, value: str | None = None, /) -> str | None:
        """Return the value that rank 0 passed, in every process."""

    def run_nonzero_rank(
        self, run: RunFolder, run_only: Mapping[str, Any], stop: Callable[[], bool], /
    ) -> None:
        """Do the part of a rank other than 0 while rank 0 is in `execute`."""

    def destroy_process_group(self) -> None:
        """Leave the processes of this job."""


if TYPE_CHECKING:
    import uniclip.cell

    _DEFAULT_EXECUTOR: DistributedCellExecutor = uniclip.cell  # checked by mypy


def load_executor(module_name: str) -> CellExecutor:
    """Import the module that executes cells; this may take seconds.

    Raises:
        UserError: the module lacks a function of `CellExecutor`.
    """
    return cast(CellExecutor, _import_with(module_name, CellExecutor))


def load_distributed_executor(module_name: str) -> DistributedCellExecutor:
    """Import the module that executes cells in several processes.

    Raises:
        UserError: the module lacks a function of `DistributedCellExecutor`.
    """
    return cast(DistributedCellExecutor, _import_with(module_name, DistributedCellExecutor))


def list_functions(protocol: type) -> list[str]:
    """Return the names of the functions that a protocol demands, sorted."""
    return sorted(
        name
        for cls in protocol.__mro__
        if cls.__module__ == __name__
        for name in vars(cls)
        if not name.startswith("_")
    )


def _import_with(module_name: str, protocol: type) -> object:
    module = importlib.import_module(module_name)
    missing = [name for name in list_functions(protocol) if not hasattr(module, name)]
    if missing:
        raise UserError(f"{module_name} cannot execute cells: it lacks {', '.join(missing)}")
    return module
