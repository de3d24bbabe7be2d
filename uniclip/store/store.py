"""The store of runs, sweeps and reports: every path in it. Plain files, no server, no locks.

Run folders are in `run_folder.py`, the records of the files in `run_records.py` and
`sweep_records.py`, and how files are written in `uniclip.io.atomic`.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from uniclip.errors import UserError
from uniclip.io.atomic import append_jsonl, atomic_write, read_jsonl, write_once
from uniclip.io.hashing import digest_text
from uniclip.store import format_version, permissions
from uniclip.store.adaptive_records import CellPrices
from uniclip.store.json_io import read_record, to_json_bytes
from uniclip.store.run_files import RunFiles
from uniclip.store.run_folder import CACHE_FOLDER, RunFolder
from uniclip.store.run_records import EnvironmentRecord
from uniclip.store.submission_records import Submission, SubmissionIntent
from uniclip.store.sweep_records import AuditCheck, AuditRecord, Plan, TuningRound

WRITE_ERROR_FIX = "choose another store="


class SweepFolder:
    """`sweeps/<id>/`: a plan, its audit, its costs and the jobs submitted for it."""

    def __init__(self, path: Path, sweep_id: str) -> None:
        self.path, self.id = path, sweep_id
        self.probes_path = path / "probes.jsonl"
        self.audit_path = path / "audit.json"
        self.cell_prices_path = path / "cell_prices.json"
        self.cost_estimates_path = path / "cost_estimates.jsonl"
        self.cost_report_path = path / "cost_report.csv"
        self.worker_logs_path = path / "worker_logs"
        self.submissions_path = path / "submissions"
        self.notified_path = path / "notified.jsonl"
        self._cancelled_path = path / "cancelled.jsonl"

    def read_plan(self) -> Plan | None:
        """Return the plan, or None if the sweep was never run.

        Raises:
            UserError: the file is damaged.
        """
        return read_record(Plan, self.path / "plan.json")

    def get_plan_version(self) -> tuple[int, ...]:
        """Return inode and time of the plan's file, which change whenever it is written, or ()."""
        try:
            stat = os.stat(self.path / "plan.json")
        except FileNotFoundError:
            return ()
        return stat.st_ino, stat.st_mtime_ns

    def write_plan(self, plan: Plan) -> None:
        """Write the plan, over an earlier one that differs."""
        plan_path, data = self.path / "plan.json", to_json_bytes(plan)
        if not plan_path.exists() or plan_path.read_bytes() != data:
            atomic_write(plan_path, data)

    def read_audit_checks(self) -> tuple[AuditCheck, ...]:
        """Return the checks of the audit; none before there was one."""
        audit = read_record(AuditRecord, self.audit_path)
        return audit.checks if audit else ()

    def read_cell_prices(self) -> CellPrices | None:
        """Return what cells cost in purchases, or None before it was fixed."""
        return read_record(CellPrices, self.cell_prices_path)

    def fix_cell_prices(self, prices: CellPrices) -> None:
        """Write what cells cost in purchases, unless it was fixed already."""
        write_once(self.cell_prices_path, to_json_bytes(prices))

    def get_submission_key(self) -> str:
        """Return 16 hex digits of this store's sweep, drawn once; written before the first job.

        The names of its jobs contain a digest of it: the same sweep in another store of this user
        has jobs of other names, whatever path leads to either.
        """
        key_path = self.submissions_path / "key"
        write_once(key_path, uuid.uuid4().hex[:16].encode())
        return key_path.read_text()

    def record_intent(self, intent: SubmissionIntent) -> bool:
        """Write what is about to be submitted; return False if there is an intent of that token."""
        return write_once(
            self.submissions_path / f"{intent.token}.intent.json", to_json_bytes(intent)
        )

    def record_result(self, submission: Submission) -> bool:
        """Write the result of an intent; return False if there is one already."""
        return write_once(
            self.submissions_path / f"{submission.token}.json", to_json_bytes(submission)
        )

    def read_intents(self) -> list[SubmissionIntent]:
        """Return every intent, oldest first."""
        paths = self.submissions_path.glob("*.intent.json")
        intents = [i for p in paths if (i := read_record(SubmissionIntent, p)) is not None]
        return sorted(intents, key=lambda intent: (intent.submitter.time, intent.token))

    def read_intent(self, token: str) -> SubmissionIntent | None:
        """Return the intent of that token, or None if there is none."""
        return read_record(SubmissionIntent, self.submissions_path / f"{token}.intent.json")

    def read_submission(self, token: str) -> Submission | None:
        """Return the result of an intent, or None if it is not known."""
        return read_record(Submission, self.submissions_path / f"{token}.json")

    def record_cancelled(self, runs: Iterable[tuple[str, int]]) -> None:
        """Record cancelled (run id, attempt) pairs: they are not continued automatically."""
        for run, attempt in runs:
            append_jsonl(self._cancelled_path, {"run": run, "attempt": attempt})

    def read_cancelled(self) -> set[tuple[str, int]]:
        """Return the pairs recorded since the user last started the sweep."""
        return {(record["run"], record["attempt"]) for record in read_jsonl(self._cancelled_path)}

    def clear_cancelled(self) -> None:
        """Forget the cancelled pairs: the user has started the sweep again."""
        if self._cancelled_path.exists():
            self._cancelled_path.unlink(missing_ok=True)

    def list_written_paths(self) -> list[Path]:
        """Return the folders and files that a running sweep writes to, whether they exist or not.

        They are in the order in which they would be created.
        """
        extended_files = (self.probes_path, self.cost_estimates_path, self._cancelled_path)
        folders = (self.path.parent, self.path, self.worker_logs_path, self.submissions_path)
        return [*folders, *extended_files]

    @property
    def is_round(self) -> bool:
        """Whether its runs are trials of a tuning: it is in the folder of a study."""
        return "/tuning/" in self.id

    def list_rounds(self) -> list[SweepFolder]:
        """Return the sweeps of the trials that tune its arms, oldest first in each study."""
        round_paths = {p.parent for p in self.path.glob("tuning/*/*/plan.json")}

        def sort_key(path: Path) -> tuple[str, list[int]]:
            return path.parent.name, [int(n) for n in path.name.split("-")]

        return [SweepFolder(p, _parse_sweep_id(p)) for p in sorted(round_paths, key=sort_key)]

    def mark_released(self, token: str) -> None:
        """Record that the jobs of a submission were released from their hold."""
        write_once(self.submissions_path / f"{token}.released", b"")

    def is_released(self, token: str) -> bool:
        """Return whether `mark_released` was called for the submission."""
        return (self.submissions_path / f"{token}.released").exists()


def _parse_sweep_id(path: Path) -> str:
    """Return the id of the sweep in `sweeps/<id>/tuning/<study>/<round>-<rung>/`."""
    return "/".join(path.parts[-4:])


class StudyFolder:
    """`sweeps/<id>/tuning/<study>/`: the results of each tuning round, written once.

    The runs of each round and rung are a sweep whose id is its path below `sweeps/`.
    `optuna.journal` holds the same trials for Optuna's own programs.
    """

    def __init__(self, sweep: SweepFolder, name: str) -> None:
        self.path = sweep.path / "tuning" / name
        self.id = f"{sweep.id}/tuning/{name}"
        self.journal_path = self.path / "optuna.journal"
        self.lock_path = self.path / "optuna.lock"

    def read_round(self, number: int) -> TuningRound | None:
        """Return the results of round `number`, or None while there are none."""
        return read_record(TuningRound, self.path / f"{number}.json")

    def list_round_paths(self) -> list[Path]:
        """Return the files of all rounds, oldest first."""
        paths = [path for path in self.path.glob("*.json") if path.stem.isdigit()]
        return sorted(paths, key=lambda path: int(path.stem))

    def save_round(self, tuning_round: TuningRound) -> TuningRound:
        """Write the results of a round, unless they are there; return those in the store."""
        write_once(self.path / f"{tuning_round.number}.json", to_json_bytes(tuning_round))
        saved_round = self.read_round(tuning_round.number)
        assert saved_round is not None
        return saved_round

    def get_sweep_id(self, round_number: int, rung: int) -> str:
        """Return the id of the sweep whose runs train the trials of a round to a rung."""
        return f"{self.id}/{round_number}-{rung}"


class Store:
    """A folder of runs, sweeps and reports.

    Args:
        root: The folder.
        open_run_files: Opens the files of a run, of which it is given the folder
            (`uniclip.store.results_index`).

    Raises:
        UserError: a newer version of this package wrote the store.
    """

    def __init__(
        self, root: str | Path, open_run_files: Callable[[Path], RunFiles] | None = None
    ) -> None:
        self.root = Path(root).resolve()
        self._open_run_files = open_run_files
        format_version.require_readable(self.root)
        self._runs_path = self.root / "runs"
        self.cache_path = self.root / CACHE_FOLDER
        self.origins_path = self.root / "origins.jsonl"

    def write_format_version(self) -> None:
        """Record the format of the store, unless it is recorded."""
        format_version.write(self.root)

    def record_environment(self, environment: EnvironmentRecord) -> str:
        """Write the environment of a process, unless it is there; return its digest.

        Processes of equal environments share one file, `environments/<digest>.json`.
        """
        data = to_json_bytes(environment)
        digest = digest_text(data.decode())
        write_once(self.environment_path(digest), data)
        return digest

    def environment_path(self, digest: str) -> Path:
        """Return the file of an environment, which the claims of its processes name."""
        return self.root / "environments" / f"{digest}.json"

    def read_environment(self, digest: str) -> EnvironmentRecord | None:
        """Return an environment, or None if it was not recorded.

        Raises:
            UserError: the file is damaged.
        """
        return read_record(EnvironmentRecord, self.environment_path(digest)) if digest else None

    def get_run(self, run_id: str) -> RunFolder:
        """Return the folder of a run."""
        return self._open_run(self._runs_path / run_id)

    def iter_runs(self) -> Iterator[RunFolder]:
        """Yield every run, in the order of their ids."""
        folder = self._runs_path
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            yield self._open_run(folder / name)

    def _open_run(self, folder: Path) -> RunFolder:
        return RunFolder(folder, self._open_run_files(folder) if self._open_run_files else None)

    def get_sweep(self, sweep_id: str) -> SweepFolder:
        """Return the folder of a sweep."""
        return SweepFolder(self.root / "sweeps" / sweep_id, sweep_id)

    def iter_sweeps(self) -> Iterator[SweepFolder]:
        """Yield every sweep, in the order of their ids; not the rounds of tunings."""
        folder = self.root / "sweeps"
        for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
            yield SweepFolder(folder / name, name)

    def iter_tuned_sweeps(self, sweep_id: str) -> Iterator[SweepFolder]:
        """Yield the sweeps of the same arms with the values that tunings selected."""
        for folder in self.iter_sweeps():
            plan = folder.read_plan() if "-tuned-" in folder.id else None
            if (
                plan is not None
                and plan.tuning is not None
                and plan.tuning.default_sweep == sweep_id
            ):
                yield folder

    def snapshot_path(self, source_hash: str) -> Path:
        """Return the folder of the code snapshot with that source hash."""
        return self.root / "code" / source_hash

    def get_study(self, sweep_id: str, name: str) -> StudyFolder:
        """Return the folder of a study that tunes the arms of a sweep."""
        return StudyFolder(self.get_sweep(sweep_id), name)

    def report_path(self, sweep_id: str) -> Path:
        """Return the folder of a sweep's report."""
        return self.root / "reports" / sweep_id

    def export_path(self, sweep_id: str, target: str) -> Path:
        """Return the folder of a sweep's export to another tool."""
        return self.root / "exports" / sweep_id / target

    def share_with_group(self) -> None:
        """Let this process create files with the permissions that the store gives its group.

        See `uniclip.store.permissions`.
        """
        permissions.share_with_group(self.root)

    def list_written_folders(self) -> list[Path]:
        """Return the folders in which new runs, sweeps and reports are created."""
        names = ("runs", "sweeps", "reports", "code", "environments", CACHE_FOLDER)
        return [self.root, *(self.root / name for name in names)]

    def supersede(self, run: RunFolder) -> Path:
        """Move a run to `superseded/`, so that it can start again; return its new path."""
        for generation in range(1, 1_000_000):
            target = self.root / "superseded" / f"{run.id}.{generation}"
            if not target.exists():
                break
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(run.path, target)
        return target

    @contextmanager
    def create_scratch_folder(self) -> Iterator[Path]:
        """Create a folder in the store, and delete it on exit.

        A store that did not exist before and is still empty is deleted too.

        Raises:
            OSError: the folder cannot be created.
        """
        path = self.root / f".scratch-{uuid.uuid4().hex}"
        missing_folders = [
            folder for folder in (self.root, *self.root.parents) if not folder.exists()
        ]
        try:
            path.mkdir(parents=True)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):  # not empty, or never created
                for folder in missing_folders:
                    folder.rmdir()

    def require_writable(self) -> None:
        """Raise `UserError` unless files can be created and linked in the store."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            test_file = self.root / f".write-test-{uuid.uuid4().hex}"
            try:
                write_once(test_file, b"")
            finally:
                test_file.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"store: {self.describe_write_error(error)}; fix: {WRITE_ERROR_FIX}"
            ) from None

    def describe_write_error(self, error: OSError) -> str:
        """Describe an error of writing to the store, and whose the folder is if that is why."""
        message = f"store={self.root} cannot be written ({error.strerror})"
        if error.errno not in (errno.EACCES, errno.EPERM):
            return message
        return f"{message}: {permissions.describe_denial(permissions.find_existing(self.root))}"
