"""The folder of a run, and of each attempt at it: every path in them."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from uniclip.errors import UserError
from uniclip.io.atomic import append_jsonl, atomic_write, read_jsonl, write_once
from uniclip.store.json_io import read_json, read_record, to_json_bytes
from uniclip.store.records import (
    AttemptEnd,
    ClaimRecord,
    DatasetScores,
    ExitKind,
    Heartbeat,
    Outcome,
)
from uniclip.store.run_status import EndReason

CACHE_FOLDER = "cache"
"""The store's folder of what can be made again."""


class AttemptFolder:
    """`runs/<id>/attempts/<n>/`: what changes while a run is executed; one process writes it."""

    def __init__(self, run: RunFolder, number: int) -> None:
        self.run, self.number = run, number
        self._claim_bytes: bytes | None = None
        self._claim_record: ClaimRecord | None = None
        self.path = run.path / "attempts" / str(number)
        self.claim_path = run.path / "attempts" / f"{number}.claim"
        self.metrics_path = self.path / "metrics.jsonl"
        self.events_path = self.path / "events.jsonl"
        self.log_path = self.path / "log"
        self.checkpoints_path = self.path / "checkpoint"
        self._heartbeat_path = self.path / "heartbeat"

    def read_claim(self) -> ClaimRecord | None:
        """The owner record; None if nobody claimed this attempt."""
        claim: ClaimRecord | None = read_record(ClaimRecord, self.claim_path)
        return claim

    def read_heartbeat(self) -> Heartbeat | None:
        """The last sign of life; None before the first, or if it is damaged."""
        try:
            heartbeat: Heartbeat | None = read_record(Heartbeat, self._heartbeat_path)
        except UserError:
            return None
        return heartbeat

    def write_heartbeat(
        self, *, step: int, total_steps: int, steps_per_second: float, phase: str
    ) -> None:
        """A sign of life."""
        if self._holds_claim():
            heartbeat = Heartbeat(
                time=time.time(),
                step=step,
                total_steps=total_steps,
                steps_per_second=steps_per_second,
                phase=phase,
                claim=self._claim_record,
            )
            atomic_write(self._heartbeat_path, to_json_bytes(heartbeat))

    def log_event(self, kind: str, **fields: Any) -> None:
        """One more line of what happened."""
        append_jsonl(self.events_path, {"time": time.time(), "event": kind, **fields})

    def read_end(self) -> AttemptEnd | None:
        """How it ended, by its own word; None if it never said."""
        attempt_end: AttemptEnd | None = read_record(AttemptEnd, self.path / "ended.json")
        return attempt_end

    def write_end(
        self, kind: ExitKind, error: str | None = None, *, reason: EndReason | None = None
    ) -> None:
        """Write the exit record, unless there is one or the claim is no longer this object's.

        Args:
            kind: how the attempt ended.
            error: the last line of the error of a failed attempt.
            reason: why an interrupted attempt was interrupted, if known.
        """
        if self._holds_claim():
            attempt_end = AttemptEnd(kind=kind, time=time.time(), error=error, reason=reason)
            if write_once(self.path / "ended.json", to_json_bytes(attempt_end)):
                self._copy_end_to_heartbeat(attempt_end)

    def _copy_end_to_heartbeat(self, attempt_end: AttemptEnd) -> None:
        """The last sign of life says too that it was the last; whoever doubts reads the claim."""
        heartbeat = self.read_heartbeat()
        if heartbeat is not None:
            with suppress(OSError):
                atomic_write(
                    self._heartbeat_path,
                    to_json_bytes(dataclasses.replace(heartbeat, end=attempt_end)),
                )

    def is_overtaken(self) -> bool:
        """Whether a newer one is claimed, or the run moved aside: then nothing is published."""
        return self.run.list_attempts()[-1:] != [self.number] or not self._holds_claim()

    def _holds_claim(self) -> bool:
        """Whether the claim is still the one that this object made (True if it made none)."""
        with suppress(FileNotFoundError):
            return self._claim_bytes is None or self.claim_path.read_bytes() == self._claim_bytes
        return False


class RunFolder:
    """`runs/<id>/`: a run. Files at this level are published once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @property
    def weights_path(self) -> Path:
        """The final weights."""
        return self.path / "weights.safetensors"

    @property
    def best_weights_path(self) -> Path:
        """The weights of the best validation."""
        return self.path / "best.safetensors"

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer that they were trained with."""
        return self.path / "tokenizer.json"

    @property
    def cache_path(self) -> Path:
        """What can be made again, of the whole store."""
        return self.path.parent.parent / CACHE_FOLDER

    def write_spec(self, spec: Mapping[str, Any]) -> None:
        """Write down what the run is (the first to say it wins; all say the same)."""
        write_once(self.path / "spec.json", to_json_bytes(spec))

    def has_spec(self) -> bool:
        """Whether the run was ever written down."""
        return (self.path / "spec.json").exists()

    def read_spec(self) -> dict[str, Any]:
        """What was hashed."""
        spec: dict[str, Any] = read_json(self.path / "spec.json")
        return spec

    def read_outcome(self) -> Outcome | None:
        """The outcome; None while there is none."""
        outcome: Outcome | None = read_record(Outcome, self.path / "outcome.json")
        return outcome

    def write_outcome(self, outcome: Outcome) -> bool:
        """Publish the outcome; False if there is one already."""
        return write_once(self.path / "outcome.json", to_json_bytes(outcome))

    def list_attempts(self) -> list[int]:
        """Numbers of the claimed attempts, ascending."""
        try:
            names = os.listdir(self.path / "attempts")
        except FileNotFoundError:
            return []
        numbers = [n.removesuffix(".claim") for n in names if n.endswith(".claim")]
        return sorted(int(n) for n in numbers if n.isdecimal())

    def get_attempt(self, number: int) -> AttemptFolder:
        """The folder of one attempt."""
        return AttemptFolder(self, number)

    def claim_attempt(self, number: int, claim_record: ClaimRecord) -> AttemptFolder | None:
        """Claim attempt `number`; None if somebody else has it."""
        attempt = AttemptFolder(self, number)
        claim_bytes = to_json_bytes(claim_record)
        if not write_once(attempt.claim_path, claim_bytes):
            return None
        attempt._claim_bytes, attempt._claim_record = claim_bytes, claim_record
        attempt.path.mkdir(exist_ok=True)
        return attempt

    def scores_path(self, dataset: str, evaluation_hash: str) -> Path:
        """Where the scores of a data set under an evaluation hash stand."""
        return self.path / "scores" / f"{dataset}@{evaluation_hash}.json"

    def list_score_paths(self) -> set[Path]:
        """Every file of scores that is there, by one look at their folder."""
        folder = self.path / "scores"
        try:
            return {folder / name for name in os.listdir(folder)}
        except FileNotFoundError:
            return set()

    def predictions_path(self, dataset: str, evaluation_hash: str) -> Path:
        """Where the per-sample outcomes behind those scores stand."""
        return self.path / "predictions" / f"{dataset}@{evaluation_hash}.npz"

    def read_scores(self, dataset: str, evaluation_hash: str) -> DatasetScores | None:
        """The scores of a data set under an evaluation hash; None if there are none."""
        scores: DatasetScores | None = read_record(
            DatasetScores, self.scores_path(dataset, evaluation_hash)
        )
        return scores

    def read_history(self) -> list[dict[str, Any]]:
        """Metric records by step: where attempts overlap, the newer one's."""
        by_step: dict[tuple[int, str], dict[str, Any]] = {}
        for number in self.list_attempts():
            for record in read_jsonl(self.get_attempt(number).metrics_path):
                by_step[record.get("step", 0), record.get("phase", "train")] = record
        return [by_step[k] for k in sorted(by_step)]
