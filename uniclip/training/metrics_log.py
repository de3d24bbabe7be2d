"""The records that training writes while it runs: metrics, heartbeats, events and checkpoints.

If the disk is full, training continues: records wait in memory, and the next checkpoint for which
there is space replaces those that could not be written. Only the checkpoint of an attempt that must
end needs the space at once.

Metrics are JSON lines; the field `phase` names the kind of record:
    train       step, loss, loss_terms, grad_norm (before clipping), clipped_fraction (share of the
                steps so far), lr, samples_seen, images_seen (samples times views), seconds (of
                training behind the weights), attempt_seconds (of this attempt, lost steps
                included), waited_seconds (those of them in which training waited for batches, on
                rank 0), unreadable_images (training images that were replaced since they cannot be
                read, if any), skipped_samples (those that are left out since they cannot be used,
                if any), and the learned scalars of the method
    validation  step, score, best (whether it is the best so far), seconds
    knockout    step, knockout_effect (loss without a component minus loss), relative_change
    cost        step, seconds_per_step, attempt_seconds, waited_seconds, parameters,
                checkpoint_bytes, peak_memory_bytes (of this attempt's training)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from uniclip import numerics
from uniclip.checkpoints import warm_start
from uniclip.checkpoints.tensor_file import OPTIMIZER_PREFIX
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.io.atomic import append_jsonl, is_disk_full
from uniclip.store import AttemptFolder
from uniclip.training.checkpoint_writer import CheckpointWriter
from uniclip.training.resource_usage import ResourceSampler
from uniclip.training.state import StepMetrics, TrainState

HEARTBEAT_INTERVAL_S = 1.0
"""Shortest time between two heartbeats."""
MAX_CHECKPOINT_SECONDS = 600.0
"""Longest time between two checkpoints: a write that takes longer is waited for."""
COUNTS = ("unreadable_images", "skipped_samples")
"""Fields of training records that are there only if they are not 0."""
RESERVED_NAMES = ("step", "phase", "arm", "seed", "run", *COUNTS)
"""Names in the history of a sweep that are not fields of every training record."""


def rename_taken_names(scalars: Mapping[str, float], fields: Mapping[str, Any]) -> dict[str, float]:
    """Return a method's scalars; one with the name of a field of ours is called learned.<name>."""
    return {
        f"learned.{name}" if name in fields or name in RESERVED_NAMES else name: value
        for name, value in scalars.items()
    }


@dataclass(frozen=True)
class _LastHeartbeat:
    """What the last heartbeat said, and when (seconds of the monotonic clock)."""

    time: float = 0.0
    step: int = 0
    phase: str = ""
    steps_per_second: float = 0.0
    data_wait: float | None = None


class MetricsLogger:
    """Writes the records of one attempt; without an attempt, keeps them in memory only.

    Attributes:
        history: The metrics of this attempt, in order.
        num_unreadable: Number of training images that could not be read so far.
        num_skipped: Number of samples that are left out since they cannot be used.
    """

    def __init__(self, config: RunConfig, attempt: AttemptFolder | None) -> None:
        self.config, self.attempt = config, attempt
        self.history: list[dict[str, Any]] = []
        self.num_unreadable = self.num_skipped = 0
        self._pending_records: list[dict[str, Any]] = []
        self._last_heartbeat = _LastHeartbeat()
        self._seconds = self._last_seconds = 0.0, 0.0
        """Seconds of training in this attempt, and those spent waiting for batches: now, and at the
        last heartbeat."""
        self._writer = None if attempt is None else CheckpointWriter(attempt)
        self._last_checkpoint_time = time.monotonic()
        self._resource_sampler = ResourceSampler(
            attempt, str(numerics.get_device(config.runtime.device))
        )

    # -- records --

    def log_initialization(self, state: TrainState) -> None:
        """Before the first step, log which parts were loaded from `pretrained`."""
        if self.attempt is None or not state.loaded_parts or state.counters.step > 0:
            return
        message = warm_start.describe_loaded_parts(self.config, state.loaded_parts)
        with tolerate_full_disk():
            self.attempt.log_event("initialized", message=message)
            print(message, flush=True)

    def log_unreadable(self, descriptions: Iterable[str], num_unreadable: int) -> None:
        """Name training images that another one replaces since they cannot be read.

        descriptions: One line for each that was not named before. num_unreadable: All so far.
        """
        self.num_unreadable = num_unreadable
        for description in descriptions:
            with tolerate_full_disk():
                print(f"{description}: another training image takes its place", flush=True)
                if self.attempt is not None:
                    self.attempt.log_event("unreadable_image", message=description)

    def log_step(self, state: TrainState, step_metrics: StepMetrics) -> None:
        """Record a step, every runtime.log_every steps and for the first and the last."""
        step, counters = state.counters.step, state.counters
        self._seconds = state.attempt_seconds, state.attempt_waited_seconds
        if step % self.config.runtime.log_every and step not in (1, self.config.train.steps):
            return
        samples = step * self.config.train.batch_size
        fields = {
            **asdict(step_metrics),
            "clipped_fraction": counters.clipped_steps / step,
            "samples_seen": samples,
            "images_seen": samples * (self.config.views.num_weak + self.config.views.num_strong),
            "seconds": counters.seconds,
            "attempt_seconds": state.attempt_seconds,
            "waited_seconds": state.attempt_waited_seconds,
            **{name: n for name, n in self._count_lost().items() if n},
        }
        fields |= rename_taken_names(state.method.get_learned_scalars(), fields)
        self._record("train", step, **fields)

    def log_validation(self, state: TrainState, score: float, is_best: bool) -> None:
        """Record a validation."""
        counters = state.counters
        self._record(
            "validation", counters.step, score=score, best=is_best, seconds=counters.seconds
        )

    def log_completion(self, state: TrainState) -> None:
        """Record the knock-out effects and the cost of completed training."""
        step = state.counters.step
        self._record(
            "knockout",
            step,
            knockout_effect=state.measure_knockout_effects(),
            relative_change=state.measure_relative_change(),
        )
        self._log_cost(state)
        self._flush()

    def _log_cost(self, state: TrainState) -> None:
        step = state.counters.step
        self._record(
            "cost",
            step,
            seconds_per_step=state.counters.seconds / max(step, 1),
            attempt_seconds=state.attempt_seconds,
            waited_seconds=state.attempt_waited_seconds,
            parameters=state.count_parameters(),
            checkpoint_bytes=state.count_bytes(),
            peak_memory_bytes=numerics.get_peak_memory_bytes(state.device),
        )

    def log_divergence(self, state: TrainState, step_metrics: StepMetrics) -> None:
        """Log the step that diverged (numbers as text, because JSON has no NaN), and the cost."""
        if self.attempt is not None:
            fields = {name: repr(value) for name, value in asdict(step_metrics).items()}
            self.attempt.log_event("diverged", step=state.counters.step + 1, **fields)
        self._log_cost(state)
        self._flush()

    def write_heartbeat(self, step: int, phase: str) -> None:
        """Write a heartbeat, at most one a second in the same phase."""
        now = time.monotonic()
        last = self._last_heartbeat
        is_recent = phase == last.phase and now - last.time < HEARTBEAT_INTERVAL_S
        if self.attempt is None or is_recent:
            return
        steps_per_second, data_wait = last.steps_per_second, last.data_wait
        if step > last.step and last.phase != "opening":  # a resumed attempt opens at step 0
            steps_per_second = (step - last.step) / (now - last.time)
            data_wait = self._compute_data_wait()
        with tolerate_full_disk():
            self.attempt.write_heartbeat(
                step=step,
                total_steps=self.config.train.steps,
                steps_per_second=steps_per_second,
                phase=phase,
                data_wait=data_wait,
                **self._count_lost(),
            )
        self._last_heartbeat = _LastHeartbeat(now, step, phase, steps_per_second, data_wait)
        self._last_seconds = self._seconds
        self._resource_sampler.sample()

    def _count_lost(self) -> dict[str, int]:
        """Return the fields of a record of what cannot be used (`COUNTS`)."""
        return dict(zip(COUNTS, (self.num_unreadable, self.num_skipped)))

    def _compute_data_wait(self) -> float | None:
        """Return the share of training since the last heartbeat spent waiting for batches."""
        seconds, waited_seconds = (
            now - before for now, before in zip(self._seconds, self._last_seconds)
        )
        return waited_seconds / seconds if seconds > 0 else None

    def _record(self, phase: str, step: int, **fields: object) -> None:
        record = {"step": step, "phase": phase, **fields}
        self.history.append(record)
        if self.attempt is not None:
            self._pending_records.append(record)
            with tolerate_full_disk():
                self._flush()

    def _flush(self) -> None:
        """Append the pending records to metrics.jsonl."""
        while self.attempt is not None and self._pending_records:
            append_jsonl(self.attempt.metrics_path, self._pending_records[0])
            del self._pending_records[0]

    # -- checkpoints --

    def maybe_checkpoint(
        self, state: TrainState, stop_requested: bool
    ) -> Literal["stopped", "superseded"] | None:
        """Let a checkpoint be written if one is due; if a stop is requested, write it here.

        Returns:
            Why training must end at this step, or None.

        Raises:
            UserError: A checkpoint could not be written; the disk is full only if a stop is
                requested.
        """
        if self._writer is not None and self.attempt is not None:
            with tolerate_full_disk():
                self._writer.raise_error()
            if stop_requested or self._is_checkpoint_due(self._writer):
                if self.attempt.is_superseded():
                    return "superseded"
                with nullcontext() if stop_requested else tolerate_full_disk():
                    self._flush()
                    self._write_checkpoint(self._writer, state, stop_requested)
                self._last_checkpoint_time = time.monotonic()
        return "stopped" if stop_requested else None

    def _is_checkpoint_due(self, writer: CheckpointWriter) -> bool:
        """Return whether a checkpoint is due; while one is written only after the longest time."""
        seconds = time.monotonic() - self._last_checkpoint_time
        limit = MAX_CHECKPOINT_SECONDS if writer.is_writing else 0.0
        return seconds >= max(limit, self.config.runtime.checkpoint_seconds)

    def _write_checkpoint(
        self, writer: CheckpointWriter, state: TrainState, stop_requested: bool
    ) -> None:
        """Start to write a checkpoint, and wait if training must not continue without it."""
        with tolerate_full_disk():
            writer.wait()  # the checkpoint before this one, which may no longer be needed
        step, metadata = state.counters.step, state.collect_metadata()
        tensors = state.collect_tensors()
        deferred = {name for name in tensors if name.startswith(OPTIMIZER_PREFIX)}
        state.before_update = writer.preserve
        writer.start(step, tensors, metadata, state.list_constant_names(), deferred)
        if stop_requested or self.config.runtime.checkpoint_seconds == 0:
            writer.wait()

    def close(self) -> None:
        """Wait for the checkpoint that is being written; raise unless the disk is full."""
        if self._writer is not None:
            with tolerate_full_disk():
                self._writer.close()

    def checkpoint_and_exit(self, state: TrainState) -> Literal["paused", "superseded"]:
        """Write the checkpoint from which training can continue; return how this attempt ends."""
        end_kind = self.maybe_checkpoint(state, True)
        return "superseded" if end_kind == "superseded" else "paused"


@contextmanager
def tolerate_full_disk() -> Iterator[None]:
    """Print an error caused by a full disk instead of raising it; other errors are raised."""
    try:
        yield
    except (OSError, UserError) as error:
        if not is_disk_full(error):
            raise
        with suppress(OSError):
            print(f"the disk is full, training continues: {error}", file=sys.stderr, flush=True)
