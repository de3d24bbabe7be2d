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
from uniclip.io.atomic import append_jsonl, atomic_write, read_jsonl, write_once
from uniclip.store.json_io import read_record, to_json_bytes
from uniclip.store.records import (
    AuditCheck,
    AuditRecord,
    Plan,
    Submission,
    SubmissionIntent,
    TuningRound,
)
from uniclip.store.run_folder import CACHE_FOLDER, RunFolder


class SweepFolder:
    """`sweeps/<id>/`: a plan and what is known of it."""

    def __init__(self, path: Path, sweep_id: str) -> None:
        self.path, self.id = path, sweep_id
        self.probes_path = path / "probes.jsonl"
        self.audit_path = path / "audit.json"
        self.cost_estimates_path = path / "prices.jsonl"
        self.cost_report_path = path / "bill.csv"
        self.worker_logs_path = path / "worker_logs"
        self.submissions_path = path / "submissions"
        self._cancelled_path = path / "cancelled.jsonl"

    def read_plan(self) -> Plan | None:
        """The plan; None if the sweep was never run."""
        plan: Plan | None = read_record(Plan, self.path / "plan.json")
        return plan

    def get_plan_version(self) -> tuple[int, ...]:
        """Which file the plan is (another for each time that it was written); () without one."""
        try:
            stat = os.stat(self.path / "plan.json")
        except FileNotFoundError:
            return ()
        return stat.st_ino, stat.st_mtime_ns

    def write_plan(self, plan: Plan) -> None:
        """Put the plan in place."""
        atomic_write(self.path / "plan.json", to_json_bytes(plan))

    def read_audit_checks(self) -> tuple[AuditCheck, ...]:
        """What the audit found; nothing before it was made."""
        audit: AuditRecord | None = read_record(AuditRecord, self.audit_path)
        return audit.checks if audit else ()

    def record_intent(self, intent: SubmissionIntent) -> bool:
        """Write down what is about to be submitted; False if somebody is at the very same."""
        return write_once(
            self.submissions_path / f"{intent.token}.intent.json", to_json_bytes(intent)
        )

    def record_result(self, submission: Submission) -> bool:
        """Write down what became of an intent; False if that has been settled already."""
        return write_once(
            self.submissions_path / f"{submission.token}.json", to_json_bytes(submission)
        )

    def read_intents(self) -> list[SubmissionIntent]:
        """Every intent, oldest first."""
        intents = [
            read_record(SubmissionIntent, p) for p in self.submissions_path.glob("*.intent.json")
        ]
        return sorted(intents, key=lambda intent: (intent.submitter.time, intent.token))

    def read_intent(self, token: str) -> SubmissionIntent | None:
        """One intent; None if there is none of that token."""
        intent: SubmissionIntent | None = read_record(
            SubmissionIntent, self.submissions_path / f"{token}.intent.json"
        )
        return intent

    def read_submission(self, token: str) -> Submission | None:
        """What became of an intent; None while that is open."""
        submission: Submission | None = read_record(
            Submission, self.submissions_path / f"{token}.json"
        )
        return submission

    def record_cancelled(self, runs: Iterable[tuple[str, int]]) -> None:
        """Note (run, attempt) that nobody goes on with before a person says so."""
        for run, attempt in runs:
            append_jsonl(self._cancelled_path, {"run": run, "attempt": attempt})

    def read_cancelled(self) -> set[tuple[str, int]]:
        """What was noted so since a person last started the sweep."""
        return {(record["run"], record["attempt"]) for record in read_jsonl(self._cancelled_path)}

    def clear_cancelled(self) -> None:
        """A person has started the sweep again."""
        self._cancelled_path.unlink(missing_ok=True)

    def list_rounds(self) -> list[SweepFolder]:
        """The sweeps of the trials with which its arms are tuned, oldest first in each study."""
        round_paths = {p.parent for p in self.path.glob("tuning/*/*/plan.json")}

        def sort_key(path: Path) -> tuple[str, list[int]]:
            return path.parent.name, [int(n) for n in path.name.split("-")]

        return [SweepFolder(p, _parse_sweep_id(p)) for p in sorted(round_paths, key=sort_key)]

    def mark_released(self, token: str) -> None:
        """Note that a submission's jobs were let go."""
        write_once(self.submissions_path / f"{token}.released", b"")

    def is_released(self, token: str) -> bool:
        """Whether that was noted."""
        return (self.submissions_path / f"{token}.released").exists()


def _parse_sweep_id(path: Path) -> str:
    """The sweep whose trials stand in `sweeps/<id>/tuning/<study>/<round>-<rung>/`."""
    return "/".join(path.parts[-4:])


class StudyFolder:
    """`sweeps/<id>/tuning/<study>/`: what the trials of each round came to, published once.

    The runs of a round are a sweep of its own, whose id is the path from `sweeps/` on.
    """

    def __init__(self, sweep: SweepFolder, name: str) -> None:
        self.path = sweep.path / "tuning" / name
        self._sweep_prefix = f"{sweep.id}/tuning/{name}"

    def read_round(self, number: int) -> TuningRound | None:
        """What round `number` came to; None while nobody has said."""
        round_: TuningRound | None = read_record(TuningRound, self.path / f"{number}.json")
        return round_

    def save_round(self, round_: TuningRound) -> TuningRound:
        """Publish what a round came to (the first to say it wins); what stands there."""
        write_once(self.path / f"{round_.number}.json", to_json_bytes(round_))
        saved_round = self.read_round(round_.number)
        assert saved_round is not None
        return saved_round

    def get_sweep_id(self, round_: int, rung: int) -> str:
        """The sweep whose runs bring the trials of a round to a rung."""
        return f"{self._sweep_prefix}/{round_}-{rung}"


class Store:
    """A folder that holds runs, sweeps and reports."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.cache_path = self.root / CACHE_FOLDER

    def get_run(self, run_id: str) -> RunFolder:
        """The folder of a run."""
        return RunFolder(self.root / "runs" / run_id)

    def iter_runs(self) -> Iterator[RunFolder]:
        """Every run, in the order of their ids."""
        folder = self.root / "runs"
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            yield RunFolder(folder / name)

    def get_sweep(self, sweep_id: str) -> SweepFolder:
        """The folder of a sweep."""
        return SweepFolder(self.root / "sweeps" / sweep_id, sweep_id)

    def iter_sweeps(self) -> Iterator[SweepFolder]:
        """Every sweep, in the order of their ids."""
        folder = self.root / "sweeps"
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            yield SweepFolder(folder / name, name)

    def iter_tuned_sweeps(self, sweep_id: str) -> Iterator[SweepFolder]:
        """The sweeps of the same arms under the values that tunings of them found."""
        for folder in self.iter_sweeps():
            plan = folder.read_plan() if "-tuned-" in folder.id else None
            if (
                plan is not None
                and plan.tuning is not None
                and plan.tuning.default_sweep == sweep_id
            ):
                yield folder

    def snapshot_path(self, source_hash: str) -> Path:
        """Where the snapshot of the code with that source hash stands."""
        return self.root / "code" / source_hash

    def get_study(self, sweep_id: str, name: str) -> StudyFolder:
        """The folder of a study that tunes a sweep's arms."""
        return StudyFolder(self.get_sweep(sweep_id), name)

    def report_path(self, sweep_id: str) -> Path:
        """The folder of a sweep's report."""
        return self.root / "reports" / sweep_id

    def supersede(self, run: RunFolder) -> Path:
        """Move a run out of the way, so that it can start afresh; its new place."""
        for generation in range(1, 1_000_000):
            target = self.root / "superseded" / f"{run.id}.{generation}"
            if not target.exists():
                break
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(run.path, target)
        return target

    @contextmanager
    def create_scratch_folder(self) -> Iterator[Path]:
        """A fresh folder in the store, taken away again, and so is a store that was not there and
        is empty still; raises OSError where there can be none."""
        path = self.root / f".scratch-{uuid.uuid4().hex}"
        missing_folders = [
            folder for folder in (self.root, *self.root.parents) if not folder.exists()
        ]
        try:
            path.mkdir(parents=True)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):  # others have put something there, or it was never made
                for folder in missing_folders:
                    folder.rmdir()

    def require_writable(self) -> None:
        """Raise `UserError` unless files can be made and linked here."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            test_file = self.root / f".trial-{uuid.uuid4().hex}"
            try:
                write_once(test_file, b"")
            finally:
                test_file.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"store={self.root} cannot be written ({error.strerror}); choose another folder"
            ) from None
