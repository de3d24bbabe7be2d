"""The store: every path, and the typed record of every file. Plain files, no server, no lock.

What is published once is complete, fsynced and linked into place, so a second publisher fails; what
one attempt rewrites goes through a temporary file and a rename; what grows is JSON lines whose torn
last line a reader passes over.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from uniclip.config import bind, plain
from uniclip.errors import UserError

# ---- the three ways to write ---------------------------------------------------------------------


def publish(path: Path, data: bytes) -> bool:
    """Put `data` at `path` once and whole; False if somebody has published there before.

    When `link` reports an error, the link count of the temporary file decides (NFS may lose the
    answer of a link that happened).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _written(path, data)
    try:
        try:
            os.link(temporary, path)
            won = True
        except OSError:
            won = os.stat(temporary).st_nlink == 2
            if not won and not path.exists():
                raise
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return won


def publish_file(path: Path, finished: Path) -> bool:
    """Link the complete file `finished` (same file system) to `path` once; False if it is taken."""
    with open(finished, "rb") as stream:
        os.fsync(stream.fileno())
    links = os.stat(finished).st_nlink
    try:
        os.link(finished, path)
        won = True
    except OSError:
        won = os.stat(finished).st_nlink == links + 1
        if not won and not path.exists():
            raise
    _sync_folder(path.parent)
    return won


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole or not at all, over whatever is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _written(path, data)
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def append(path: Path, record: Mapping[str, Any]) -> None:
    """One more JSON line at the end of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as stream:
        torn = stream.tell() and _last_byte(stream) != b"\n"  # whoever wrote it was killed
        stream.write(b"\n" * bool(torn) + json.dumps(record).encode() + b"\n")


def lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; a torn line is passed over, no file has none."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def as_json(value: Any) -> bytes:
    """`value` as readable JSON, keys in their own order, NaN refused."""
    return (json.dumps(plain(value), indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """The JSON of a whole file; `UserError` names a file that is not."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); move it away and run again") from None


def read(cls: type, path: Path) -> Any:
    """The record of class `cls` at `path`; None if there is no file; `UserError` if damaged."""
    try:
        values = read_json(path)
    except FileNotFoundError:
        return None
    try:
        return bind(cls, values)
    except UserError as error:
        raise UserError(f"{path} is damaged ({error}); move it away and run again") from None


def _last_byte(stream: BinaryIO) -> bytes:
    stream.seek(-1, os.SEEK_END)
    return stream.read(1)


def _written(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- records of a run ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who holds an attempt: enough to prove later that it is gone."""

    host: str
    boot: str
    pid: int
    started: int
    """Start time of the process, in clock ticks since boot."""
    source: str
    """Source hash of the code that runs."""
    training: str
    """Training hash of the code that runs."""
    numerics: dict[str, Any]
    """The class within which bits are promised (`uniclip.numerics`)."""
    time: float
    """Seconds since the epoch."""
    job: str | None = None
    """Slurm job id."""
    restart: int = 0
    """Slurm restart count."""
    forced: bool = False
    """Claimed without proof that the attempt before it had ended."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last sign of life of an attempt."""

    time: float
    step: int
    steps: int
    rate: float
    """Steps a second."""
    phase: str
    """What it was doing: training, evaluating, ..."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended, by its own word."""

    kind: Literal["trained", "diverged", "evaluated", "failed", "interrupted", "overtaken"]
    time: float
    error: str | None = None
    """The last line of the error."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The one outcome of a run."""

    kind: Literal["trained", "diverged"]
    step: int
    attempt: int
    training: str
    source: str
    numerics: dict[str, Any]
    weights: str | None
    """blake2b of the final weights' file, 32 hex digits; None for a diverged run."""
    best_step: int | None
    """The step of the best validation."""
    cost: dict[str, float]
    """Seconds of training, seconds a step, parameters, checkpoint bytes, peak memory."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of an evaluation, with what it takes to read it."""

    name: str
    """Such as retrieval.r1 or minimal.side."""
    value: float
    kind: Literal["accuracy", "recall", "map", "gap", "error"]
    """Means are taken within one kind only; gap and error are no scores to maximise."""
    chance: float | None
    samples: int
    """Test samples behind the number."""
    shown_only: bool = False
    """Too few samples to be a primary score."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What one data set says of one run under one protocol."""

    dataset: str
    evaluation: str
    """Hash of the protocol."""
    protocol: dict[str, Any]
    weights: str
    """Hash of the weights that were judged."""
    scores: tuple[Score, ...]


# ---- records of a sweep --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Component:
    """A part of a method that can be turned off: declared once."""

    name: str
    label: str
    reason: str
    off: dict[str, Any]
    """What turning it off changes: typed configuration deltas."""
    witness: dict[str, Any]
    """What must hold in two steps when it is off (interpreted by `ablations.audit`)."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration of a comparison."""

    name: str
    label: str
    role: Literal["crossed", "outside", "noise"]
    """Part of the crossed design, a baseline from outside it, or the A/A arm."""
    levels: dict[str, bool]
    """Which components are on; those that an arm says nothing of are not named."""
    delta: dict[str, Any]
    """How it differs from the base configuration."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A weighted sum of arms whose value is an effect."""

    name: str
    label: str
    kind: Literal["main", "interaction", "difference", "noise"]
    weights: dict[str, float]
    """Weight of each arm; they sum to 0."""
    primary: bool
    """Declared beforehand: in the family that Holm corrects for."""
    component: str | None = None


@dataclass(frozen=True, kw_only=True)
class Primary:
    """The one score on which contrasts are judged."""

    dataset: str
    score: str


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What must come out where the truth was planted."""

    kind: Literal["helps", "nothing_claimed", "exactly_zero", "at_chance"]
    about: str
    """In words, for the reader."""
    contrast: str | None = None
    """The contrast it speaks of (all but at_chance)."""
    arm: str | None = None
    """The arm it speaks of (at_chance)."""
    score: str | None = None
    """The score it is judged on; None = the primary one."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (arm, seed), and the run that it is."""

    arm: str
    seed: int
    run: str

    @property
    def name(self) -> str:
        """`<arm>/<seed>`."""
        return f"{self.arm}/{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a report or a worker needs to know of a sweep."""

    sweep: str
    ablation: str
    title: str
    budget: str
    data: str
    design: str
    arms: tuple[Arm, ...]
    reference: str
    components: tuple[Component, ...]
    contrasts: tuple[Contrast, ...]
    primary: Primary
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    evaluations: dict[str, dict[str, str]]
    """Arm -> data set of the benchmark that is present -> evaluation hash."""
    missing: dict[str, str]
    """Data sets that are not present, and how to get them."""
    base: dict[str, Any]
    """The plain base configuration, run-only fields included."""
    forwards: dict[str, dict[str, float]] = field(default_factory=dict)
    """Image and text forwards a sample, by arm: what a comparison costs."""
    expectations: tuple[Expectation, ...] = ()
    """Planted truths that `report` checks."""
    left_out: tuple[str, ...] = ()
    """Arms and expectations that this budget does not run, each with its reason."""

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(a for a in self.arms if a.name == name)

    def wanted(self) -> dict[str, dict[str, str]]:
        """Run id -> the evaluations that it must have, in the order of the cells."""
        return {c.run: self.evaluations[c.arm] for c in self.cells}


# ---- folders -------------------------------------------------------------------------------------


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
        self.tokenizer = path / "tokenizer.json"

    def publish_spec(self, spec: Mapping[str, Any]) -> None:
        """Write down what the run is (the first to say it wins; all say the same)."""
        publish(self.path / "spec.json", as_json(spec))

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
