"""The folder of an attempt at a run: every path in it."""

from __future__ import annotations

import dataclasses
import threading
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError
from uniclip.io.atomic import append_jsonl, atomic_write, read_jsonl, write_once
from uniclip.store.json_io import to_json_bytes
from uniclip.store.run_records import (
    AttemptEnd,
    ClaimRecord,
    ExitKind,
    Heartbeat,
)
from uniclip.store.run_status import EndReason

if TYPE_CHECKING:
    from uniclip.store.run_folder import RunFolder


class AttemptFolder:
    """`runs/<id>/attempts/<n>/`: what changes while a run is executed; one process writes it."""

    def __init__(self, run: RunFolder, number: int) -> None:
        self.run, self.number = run, number
        self._claim_bytes: bytes | None = None
        self._claim_record: ClaimRecord | None = None
        self._heartbeat: Heartbeat | None = None
        """The last one that this object wrote."""
        self._heartbeat_lock = threading.Lock()

    @cached_property
    def path(self) -> Path:
        """The folder of the attempt."""
        return self.run.path / "attempts" / str(self.number)

    @property
    def claim_path(self) -> Path:
        """The claim record, by which the attempt exists."""
        return self.run.path / "attempts" / f"{self.number}.claim"

    @property
    def metrics_path(self) -> Path:
        """The metrics, as JSON lines (`uniclip.training.metrics_log`)."""
        return self.path / "metrics.jsonl"

    @property
    def events_path(self) -> Path:
        """What happened beside the training steps, as JSON lines."""
        return self.path / "events.jsonl"

    @property
    def usage_path(self) -> Path:
        """Use of CPU, GPU and memory, as JSON lines (`uniclip.training.resource_usage`)."""
        return self.path / "usage.jsonl"

    @property
    def log_path(self) -> Path:
        """Output of the process that executes the attempt."""
        return self.path / "log"

    @property
    def checkpoints_path(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoint"

    @property
    def progress_path(self) -> Path:
        """Exists once a program went beyond the last step of earlier attempts."""
        return self.path / "progress"

    @property
    def heartbeat_path(self) -> Path:
        """The newest heartbeat, with the exit record at the end."""
        return self.path / "heartbeat"

    @property
    def end_path(self) -> Path:
        """The exit record."""
        return self.path / "end.json"

    def read_claim(self) -> ClaimRecord | None:
        """Return the claim record, or None if this attempt was never claimed.

        Raises:
            UserError: the file is damaged.
        """
        return self.run.files.read_record(ClaimRecord, f"attempts/{self.number}.claim")

    def read_heartbeat(self) -> Heartbeat | None:
        """Return the last heartbeat; None before the first, or if it is damaged."""
        try:
            return self.run.files.read_record(Heartbeat, f"attempts/{self.number}/heartbeat")
        except UserError:
            return None

    def write_heartbeat(
        self,
        *,
        step: int,
        total_steps: int,
        steps_per_second: float,
        phase: str,
        unreadable_images: int = 0,
        skipped_samples: int = 0,
        data_wait: float | None = None,
    ) -> None:
        """Write a heartbeat, unless another process holds the claim.

        It is not fsynced: after a crash of the machine it proves nothing anyway.
        """
        with self._heartbeat_lock:
            self._heartbeat = Heartbeat(
                time=time.time(),
                step=step,
                total_steps=total_steps,
                steps_per_second=steps_per_second,
                phase=phase,
                claim=self._claim_record,
                unreadable_images=unreadable_images,
                skipped_samples=skipped_samples,
                data_wait=data_wait,
            )
            self._write_heartbeat(self._heartbeat)

    def repeat_heartbeat(self, min_age_s: float) -> None:
        """Write the last heartbeat again with the current time, if it is at least so old."""
        with self._heartbeat_lock:
            now = time.time()
            if self._heartbeat is not None and now - self._heartbeat.time >= min_age_s:
                self._heartbeat = dataclasses.replace(self._heartbeat, time=now)
                self._write_heartbeat(self._heartbeat)

    def _write_heartbeat(self, heartbeat: Heartbeat) -> None:
        if self.holds_claim():
            atomic_write(self.heartbeat_path, to_json_bytes(heartbeat), is_durable=False)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the metrics that this attempt logged."""
        return read_jsonl(self.metrics_path)

    def read_training_seconds(self) -> float:
        """Return the seconds of training that this attempt logged, those of lost steps included."""

        def compute() -> float:
            seconds = (r.get("attempt_seconds", 0.0) for r in self.read_metrics())
            return float(max(seconds, default=0.0))

        name = f"attempts/{self.number}/metrics.jsonl"
        return self.run.files.derive(f"training_seconds/{self.number}", [name], float, compute)

    def log_event(self, kind: str, **fields: Any) -> None:
        """Append an event with its time to `events_path`."""
        append_jsonl(self.events_path, {"time": time.time(), "event": kind, **fields})

    def read_end(self) -> AttemptEnd | None:
        """Return the exit record, or None if the attempt has not written one.

        Raises:
            UserError: the file is damaged.
        """
        return self.run.files.read_record(AttemptEnd, f"attempts/{self.number}/end.json")

    def write_end(
        self, kind: ExitKind, error: str | None = None, *, reason: EndReason | None = None
    ) -> None:
        """Write the exit record, once, and unless another process holds the claim.

        Args:
            kind: How the attempt ended.
            error: The last line of the error, if `kind` is "failed".
            reason: Why the attempt was interrupted, as far as that is known.
        """
        if self.holds_claim():
            attempt_end = AttemptEnd(kind=kind, time=time.time(), error=error, reason=reason)
            if write_once(self.end_path, to_json_bytes(attempt_end)):
                self._copy_end_to_heartbeat(attempt_end)

    def _copy_end_to_heartbeat(self, attempt_end: AttemptEnd) -> None:
        """Repeat the exit record in the heartbeat: showing a run then reads one file, not three."""
        heartbeat = self.read_heartbeat()
        if heartbeat is not None:
            with suppress(OSError):
                atomic_write(
                    self.heartbeat_path,
                    to_json_bytes(dataclasses.replace(heartbeat, end=attempt_end)),
                )

    def is_superseded(self) -> bool:
        """Return whether a newer attempt is claimed or the run was moved away.

        A superseded attempt must publish nothing.
        """
        return self.run.list_attempts()[-1:] != [self.number] or not self.holds_claim()

    def holds_claim(self) -> bool:
        """Whether the claim file is still the one that this object wrote, if it wrote one."""
        with suppress(FileNotFoundError):
            return self._claim_bytes is None or self.claim_path.read_bytes() == self._claim_bytes
        return False
