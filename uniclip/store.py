"""The store: every path in it. Plain files, no server, no lock.

How files are written is in `files.py`, what stands in them in `records.py`; both are offered here,
so that nobody above needs more than the store.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from uniclip.errors import UserError
from uniclip.files import append, as_json, lines, publish, publish_file, read, read_json, replace
from uniclip.records import (
    Arm,
    Audit,
    Cell,
    Component,
    Contrast,
    Ended,
    Expectation,
    Finding,
    Heartbeat,
    Intent,
    Outcome,
    Owner,
    Plan,
    Primary,
    Round,
    Score,
    Scores,
    Submission,
    Trial,
    TunedArm,
    Tuning,
)

__all__ = [
    "Arm",
    "AttemptFolder",
    "Audit",
    "Cell",
    "Component",
    "Contrast",
    "Ended",
    "Expectation",
    "Finding",
    "Heartbeat",
    "Intent",
    "Outcome",
    "Owner",
    "Plan",
    "Primary",
    "Round",
    "RunFolder",
    "Score",
    "Scores",
    "Store",
    "Submission",
    "StudyFolder",
    "SweepFolder",
    "Trial",
    "TunedArm",
    "Tuning",
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
        if self._ours():
            replace(self.path / "heartbeat", as_json(beat))

    def event(self, kind: str, **fields: Any) -> None:
        """One more line of what happened."""
        append(self.events, {"time": time.time(), "event": kind, **fields})

    def ended(self) -> Ended | None:
        """How it ended, by its own word; None if it never said."""
        ended: Ended | None = read(Ended, self.path / "ended.json")
        return ended

    def end(self, kind: str, error: str | None = None) -> None:
        """The attempt's last word (said once, and not by who holds it no more)."""
        if self._ours():
            word = {"kind": kind, "time": time.time(), "error": error}
            publish(self.path / "ended.json", as_json(word))

    def overtaken(self) -> bool:
        """Whether a newer one is claimed, or the run moved aside: then nothing is published."""
        return self.run.attempts()[-1:] != [self.number] or not self._ours()

    def _ours(self) -> bool:
        """Whether the claim is still the one that this object made (True if it made none)."""
        with suppress(FileNotFoundError):
            return self._claimed is None or self.claim.read_bytes() == self._claimed
        return False


class RunFolder:
    """`runs/<id>/`: a run. Files at this level are published once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @property
    def weights(self) -> Path:
        """The final weights."""
        return self.path / "weights.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the best validation."""
        return self.path / "best.safetensors"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer that they were trained with."""
        return self.path / "tokenizer.json"

    @property
    def cache(self) -> Path:
        """What can be made again, of the whole store."""
        return self.path.parent.parent / CACHE

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

    def __init__(self, path: Path, id: str) -> None:
        self.path, self.id = path, id
        self.probes = path / "probes.jsonl"
        self.audit = path / "audit.json"
        self.prices = path / "prices.jsonl"
        self.bill = path / "bill.csv"
        self.slots = path / "slots"
        self.submissions = path / "submissions"
        self._cancelled = path / "cancelled.jsonl"

    def plan(self) -> Plan | None:
        """The plan; None if the sweep was never run."""
        plan: Plan | None = read(Plan, self.path / "plan.json")
        return plan

    def write_plan(self, plan: Plan) -> None:
        """Put the plan in place."""
        replace(self.path / "plan.json", as_json(plan))

    def findings(self) -> tuple[Finding, ...]:
        """What the audit found; nothing before it was made."""
        audit: Audit | None = read(Audit, self.audit)
        return audit.findings if audit else ()

    def intend(self, intent: Intent) -> bool:
        """Write down what is about to be submitted; False if somebody is at the very same."""
        return publish(self.submissions / f"{intent.token}.intent.json", as_json(intent))

    def settle(self, submission: Submission) -> bool:
        """Write down what became of an intent; False if that has been settled already."""
        return publish(self.submissions / f"{submission.token}.json", as_json(submission))

    def intents(self) -> list[Intent]:
        """Every intent, oldest first."""
        found = [read(Intent, p) for p in self.submissions.glob("*.intent.json")]
        return sorted(found, key=lambda intent: (intent.submitter.time, intent.token))

    def intent(self, token: str) -> Intent | None:
        """One intent; None if there is none of that token."""
        intent: Intent | None = read(Intent, self.submissions / f"{token}.intent.json")
        return intent

    def submission(self, token: str) -> Submission | None:
        """What became of an intent; None while that is open."""
        submission: Submission | None = read(Submission, self.submissions / f"{token}.json")
        return submission

    def cancel(self, runs: Iterable[tuple[str, int]]) -> None:
        """Note (run, attempt) that nobody goes on with before a person says so."""
        for run, attempt in runs:
            append(self._cancelled, {"run": run, "attempt": attempt})

    def cancelled(self) -> set[tuple[str, int]]:
        """What was noted so since a person last started the sweep."""
        return {(record["run"], record["attempt"]) for record in lines(self._cancelled)}

    def forget_cancelled(self) -> None:
        """A person has started the sweep again."""
        self._cancelled.unlink(missing_ok=True)

    def mark_released(self, token: str) -> None:
        """Note that a submission's jobs were let go."""
        publish(self.submissions / f"{token}.released", b"")

    def released(self, token: str) -> bool:
        """Whether that was noted."""
        return (self.submissions / f"{token}.released").exists()


class StudyFolder:
    """`sweeps/<id>/tuning/<study>/`: what the trials of each round came to, published once.

    The runs of a round are a sweep of its own, whose id is the path from `sweeps/` on.
    """

    def __init__(self, sweep: SweepFolder, name: str) -> None:
        self.path = sweep.path / "tuning" / name
        self._id = f"{sweep.id}/tuning/{name}"

    def round(self, number: int) -> Round | None:
        """What round `number` came to; None while nobody has said."""
        found: Round | None = read(Round, self.path / f"{number}.json")
        return found

    def tell(self, round_: Round) -> Round:
        """Publish what a round came to (the first to say it wins); what stands there."""
        publish(self.path / f"{round_.number}.json", as_json(round_))
        told = self.round(round_.number)
        assert told is not None
        return told

    def sweep_id(self, round_: int, rung: int) -> str:
        """The sweep whose runs bring the trials of a round to a rung."""
        return f"{self._id}/{round_}-{rung}"


class Store:
    """A folder that holds runs, sweeps and reports."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.cache = self.root / CACHE

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
        return SweepFolder(self.root / "sweeps" / sweep_id, sweep_id)

    def sweeps(self) -> Iterator[SweepFolder]:
        """Every sweep, in the order of their ids."""
        folder = self.root / "sweeps"
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            yield SweepFolder(folder / name, name)

    def code(self, source: str) -> Path:
        """Where the snapshot of the code with that source hash stands."""
        return self.root / "code" / source

    def study(self, sweep_id: str, name: str) -> StudyFolder:
        """The folder of a study that tunes a sweep's arms."""
        return StudyFolder(self.sweep(sweep_id), name)

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

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A fresh folder in the store, taken away again; raises OSError where there can be none."""
        place = self.root / f".scratch-{uuid.uuid4().hex}"
        place.mkdir(parents=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

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
