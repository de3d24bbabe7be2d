"""The heartbeat of an attempt while it evaluates a data set, with the progress of fine-tuning."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from uniclip.evaluate.progress import EvaluationProgress
from uniclip.store import AttemptFolder
from uniclip.training.metrics_log import HEARTBEAT_INTERVAL_S, tolerate_full_disk


@dataclass
class EvaluationHeartbeat:
    """Calls `stop`, and at most once per `HEARTBEAT_INTERVAL_S` writes a heartbeat."""

    attempt: AttemptFolder
    dataset: str
    """The data set that is evaluated."""
    num_steps: int
    """Steps of the training that has ended."""
    total_steps: int
    stop: Callable[[], bool]
    _phase: str = field(init=False)
    _last_time: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        self._phase = f"evaluating {self.dataset}"

    def should_stop(self) -> bool:
        """Write a heartbeat if one is due, and return what `stop` does."""
        if time.monotonic() - self._last_time >= HEARTBEAT_INTERVAL_S:
            with tolerate_full_disk():
                self._write()
        return self.stop()

    def report_progress(self, progress: EvaluationProgress) -> None:
        """Write a heartbeat that says how far the evaluation is.

        If the progress is stored, the attempt is not one of those without any.
        """
        self._phase = f"evaluating {self.dataset}: {progress.describe()}"
        with tolerate_full_disk():
            self._write()
            if progress.is_saved:
                self.attempt.progress_path.touch()

    def _write(self) -> None:
        self._last_time = time.monotonic()
        self.attempt.write_heartbeat(
            step=self.num_steps,
            total_steps=self.total_steps,
            steps_per_second=0.0,
            phase=self._phase,
        )
