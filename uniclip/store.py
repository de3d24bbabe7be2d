"""The store: every path in it. Plain files, no server, no lock.

How files are written is in `files.py`, what stands in them in `records.py`; both are offered here,
so that nobody above needs more than the store.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from uniclip.errors import UserError
from uniclip.files import append, as_json, lines, publish, publish_file, read, read_json, replace
from uniclip.records import (
    Arm,
    Cell,
    Component,
    Contrast,
    Ended,
    Expectation,
    Heartbeat,
    Outcome,
    Owner,
    Plan,
    Primary,
    Score,
    Scores,
)

__all__ = [
    "Arm",
    "AttemptFolder",
    "Cell",
    "Component",
    "Contrast",
    "Ended",
    "Expectation",
    "Heartbeat",
    "Outcome",
    "Owner",
    "Plan",
    "Primary",
    "RunFolder",
    "Score",
    "Scores",
    "Store",
    "SweepFolder",
    "append",
    "as_json",
    "lines",
    "publish",
    "publish_file",
    "read",
    "read_json",
    "replace",
]


CACHE = "cache"
"""The store's folder of what can be made again."""


class AttemptFolder:
    """`runs/<id>/attempts/<n>/`: what changes while a run is executed; one process writes it."""

    def __init__(self, run: RunFolder, number: int) -> None:
        self.run, self.number = run, number
        self._claimed: bytes | None = None
        self.path = run.path / "attempts" / str(number)
        self.claim = run.path / "attempts" / f"{number}.claim"
        self.metrics = self.path / "metrics.jsonl"
        self.events = self.path / "events.jsonl"
        self.log = self.path / "log"
        self.checkpoints = self.path / "checkpoint"

    def owner(self) -> Owner | None:
        """The owner record; None if nobody claimed this attempt."""
        owner: Owner | None = read(Owner, self.claim)
        return owner

    def heartbeat(self) -> Heartbeat | None:
        """The last sign of life; None before the first, or if it is damaged."""
        try:
            beat: Heartbeat | None = read(Heartbeat, self.path / "heartbeat")
        except UserError:
            return None
        return beat

    def beat(self, *, step: int, steps: int, rate: float, phase: str) -> None:
        """A sign of life."""
        beat = Heartbeat(time=time.time(), step=step, steps=steps, rate=rate, phase=phase)
        replace(self.path / "heartbeat", as_json(beat))

    def event(self, kind: str, **fields: Any) -> None:
        """One more line of what happened."""
        append(self.events, {"time": time.time(), "event": kind, **fields})

    def ended(self) -> Ended | None:
        """How it ended, by its own word; None if it never said."""
        ended: Ended | None = read(Ended, self.path / "ended.json")
        return ended

    def end(self, kind: str, error: str | None = None) -> None:
        """The attempt's last word (said once)."""
        publish(
            self.path / "ended.json", as_json({"kind": kind, "time": time.time(), "error": error})
        )

    def overtaken(self) -> bool:
        """Whether a newer attempt has been claimed: then this one must publish nothing.

        So it is when the run was moved aside, and an attempt of the same number begun afresh.
        """
        if self.run.attempts()[-1:] != [self.number]:
            return True
        return self._claimed is not None and self.claim.read_bytes() != self._claimed


class RunFolder:
    """`runs/<id>/`: a run. Files at this level are published once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.weights = path / "weights.safetensors"
        self.best = path / "best.safetensors"
        self.cache = path.parent.parent / CACHE
        self.tokenizer = path / "tokenizer.json"

    def publish_spec(self, spec: Mapping[str, Any]) -> None:
        """Write down what the run is (the first to say it wins; all say the same)."""
        publish(self.path / "spec.json", as_json(spec))

    def has_spec(self) -> bool:
        """Whether the run was ever written down."""
        return (self.path / "spec.json").exists()

    def spec(self) -> dict[str, Any]:
        """What was hashed."""
        spec: dict[str, Any] = read_json(self.path / "spec.json")
        return spec

    def outcome(self) -> Outcome | None:
        """The outcome; None while there is none."""
        outcome: Outcome | None = read(Outcome, self.path / "outcome.json")
        return outcome

    def publish_outcome(self, outcome: Outcome) -> bool:
        """Publish the outcome; False if there is one already."""
        return publish(self.path / "outcome.json", as_json(outcome))

    def attempts(self) -> list[int]:
        """Numbers of the claimed attempts, ascending."""
        try:
            names = os.listdir(self.path / "attempts")
        except FileNotFoundError:
            return []
        numbers = [n.removesuffix(".claim") for n in names if n.endswith(".claim")]
        return sorted(int(n) for n in numbers if n.isdecimal())

    def attempt(self, number: int) -> AttemptFolder:
        """The folder of one attempt."""
        return AttemptFolder(self, number)

    def claim(self, number: int, owner: Owner) -> AttemptFolder | None:
        """Claim attempt `number`; None if somebody else has it."""
        attempt = AttemptFolder(self, number)
        record = as_json(owner)
        if not publish(attempt.claim, record):
            return None
        attempt._claimed = record
        attempt.path.mkdir(exist_ok=True)
        return attempt

    def scores_path(self, dataset: str, evaluation: str) -> Path:
        """Where the scores of a data set under an evaluation hash stand."""
        return self.path / "scores" / f"{dataset}@{evaluation}.json"

    def predictions_path(self, dataset: str, evaluation: str) -> Path:
        """Where the per-sample outcomes behind those scores stand."""
        return self.path / "predictions" / f"{dataset}@{evaluation}.npz"

    def scores(self, dataset: str, evaluation: str) -> Scores | None:
        """The scores of a data set under an evaluation hash; None if there are none."""
        scores: Scores | None = read(Scores, self.scores_path(dataset, evaluation))
        return scores

    def history(self) -> list[dict[str, Any]]:
        """Metric records by step: where attempts overlap, the newer one's."""
        by_step: dict[tuple[int, str], dict[str, Any]] = {}
        for number in self.attempts():
            for record in lines(self.attempt(number).metrics):
                by_step[record.get("step", 0), record.get("phase", "train")] = record
        return [by_step[k] for k in sorted(by_step)]


class SweepFolder:
    """`sweeps/<id>/`: a plan and what is known of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.probes = path / "probes.jsonl"
        self.audit = path / "audit.json"
        self.bill = path / "bill.csv"
        self.slots = path / "slots"

    def plan(self) -> Plan | None:
        """The plan; None if the sweep was never run."""
        plan: Plan | None = read(Plan, self.path / "plan.json")
        return plan

    def write_plan(self, plan: Plan) -> None:
        """Put the plan in place."""
        replace(self.path / "plan.json", as_json(plan))


class Store:
    """A folder that holds runs, sweeps and reports."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    def run(self, run_id: str) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.root / "runs" / run_id)

    def runs(self) -> Iterator[RunFolder]:
        """Every run, in the order of their ids."""
        folder = self.root / "runs"
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            yield RunFolder(folder / name)

    def sweep(self, sweep_id: str) -> SweepFolder:
        """The folder of a sweep."""
        return SweepFolder(self.root / "sweeps" / sweep_id)

    def sweeps(self) -> Iterator[SweepFolder]:
        """Every sweep, in the order of their ids."""
        folder = self.root / "sweeps"
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            yield SweepFolder(folder / name)

    def report(self, sweep_id: str) -> Path:
        """The folder of a sweep's report."""
        return self.root / "reports" / sweep_id

    def supersede(self, run: RunFolder) -> Path:
        """Move a run out of the way, so that it can start afresh; its new place."""
        for generation in range(1, 1_000_000):
            place = self.root / "superseded" / f"{run.id}.{generation}"
            if not place.exists():
                break
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(run.path, place)
        return place

    def require_writable(self) -> None:
        """Raise `UserError` unless files can be made and linked here."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            trial = self.root / f".trial-{uuid.uuid4().hex}"
            try:
                publish(trial, b"")
            finally:
                trial.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"store={self.root} cannot be written ({error.strerror}); choose another folder"
            ) from None
