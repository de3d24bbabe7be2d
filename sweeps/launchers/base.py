"""The interface between a controller and the launcher that starts its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sweeps.claims.status import RunState


class Launcher(Protocol):
    """Starts workers for the open runs of one sweep.

    A launcher decides nothing about runs: workers claim them, and the store shows what is finished.
    """

    blocking: bool
    """Whether the controller stays until everything has ended; otherwise it submits jobs and
    returns."""
    poll_seconds: float
    """Time between two calls of `submit`."""

    def submit(self, runnable_runs: Sequence[str], states: Mapping[str, RunState]) -> None:
        """Start workers for runs that are open and that no worker is going to take.

        Args:
            runnable_runs: ids of the open runs, in the order of the plan.
            states: run id -> state, of every run of the plan.

        Raises:
            UserError: workers cannot be started, or they end before they claim a run.
            RetryLater: workers cannot be started now.
        """

    def is_active(self) -> bool:
        """Return whether a worker of this sweep is running or queued."""

    def stop(self) -> None:
        """Ask the workers that end with the controller to stop at their next step."""
