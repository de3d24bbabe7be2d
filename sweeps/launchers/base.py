"""What a controller needs of a launcher: hands for open runs, and whether they are at work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sweeps.claims.claim import RunState


class Launcher(Protocol):
    """Workers of one sweep. It decides nothing: workers claim, the store says what is done."""

    blocking: bool
    """Whether the controller waits until all is done; else others go on without it."""
    poll_seconds: float

    def submit(self, runnable_runs: list[str], states: Mapping[str, RunState]) -> None:
        """Have somebody take up the runs that are open."""

    def is_active(self) -> bool:
        """Whether somebody of the crew waits for a turn or works."""

    def stop(self) -> None:
        """Ask those that the controller started to stop at their next step, if it stays."""
