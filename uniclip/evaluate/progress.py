"""How far a long evaluation is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EvaluationProgress:
    """The progress of an evaluation that trains a model."""

    done: float
    """Part of the work that is done, 0 to 1."""
    seconds_left: float
    """Estimated wall seconds until the end."""
    is_saved: bool
    """Whether an interrupted evaluation resumes from here."""

    def describe(self) -> str:
        """Return the progress in a few words."""
        return f"{100 * self.done:.0f} % done, about {_format_duration(self.seconds_left)} left"


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


ReportProgress = Callable[[EvaluationProgress], None]


def ignore_progress(progress: EvaluationProgress) -> None:
    """Do nothing with the progress of an evaluation."""
