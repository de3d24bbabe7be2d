"""The store: every path in it. Plain files, no server, no lock.

The folders of runs are in `folders.py`, how files are written in `files.py`, what stands in them
in `records.py`; all are offered here, so that nobody above needs more than the store.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from uniclip.errors import UserError
from uniclip.io.atomic import (
    append,
    as_json,
    lines,
    publish,
    read,
    replace,
)
from uniclip.store.records import (
    Audit,
    Finding,
    Intent,
    Plan,
    Round,
    Submission,
)
from uniclip.store.run_folder import CACHE, RunFolder


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

    def plan_written(self) -> tuple[int, ...]:
        """Which file the plan is (another for each time that it was written); () without one."""
        try:
            found = os.stat(self.path / "plan.json")
        except FileNotFoundError:
            return ()
        return found.st_ino, found.st_mtime_ns

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

    def rounds(self) -> list[SweepFolder]:
        """The sweeps of the trials with which its arms are tuned, oldest first in each study."""
        places = {p.parent for p in self.path.glob("tuning/*/*/plan.json")}

        def order(place: Path) -> tuple[str, list[int]]:
            return place.parent.name, [int(n) for n in place.name.split("-")]

        return [SweepFolder(p, _id_of(p)) for p in sorted(places, key=order)]

    def mark_released(self, token: str) -> None:
        """Note that a submission's jobs were let go."""
        publish(self.submissions / f"{token}.released", b"")

    def released(self, token: str) -> bool:
        """Whether that was noted."""
        return (self.submissions / f"{token}.released").exists()


def _id_of(place: Path) -> str:
    """The sweep whose trials stand in `sweeps/<id>/tuning/<study>/<round>-<rung>/`."""
    return "/".join(place.parts[-4:])


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

    def tuned(self, sweep_id: str) -> Iterator[SweepFolder]:
        """The sweeps of the same arms under the values that tunings of them found."""
        for folder in self.sweeps():
            plan = folder.plan() if "-tuned-" in folder.id else None
            if plan is not None and plan.tuning is not None and plan.tuning.default == sweep_id:
                yield folder

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
        """A fresh folder in the store, taken away again, and so is a store that was not there and
        is empty still; raises OSError where there can be none."""
        place = self.root / f".scratch-{uuid.uuid4().hex}"
        made = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        try:
            place.mkdir(parents=True)
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
            with suppress(OSError):  # others have put something there, or it was never made
                for folder in made:
                    folder.rmdir()

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
