"""The command line, run in real processes over a real store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from sweeps.claims import process
from sweeps.cli import main
from tests.helpers import ROOT
from uniclip.identity import compute_training_hash
from uniclip.io.atomic import write_once
from uniclip.store import DatasetScores, Outcome, Plan, Store
from uniclip.store.json_io import to_json_bytes

TINY = (
    "ablation=components",
    "data=scenes",
    "data.num_train=256",
    "data.num_test=64",
    "train.batch_size=16",
    "train.validate_every=20",
    "budget=smoke",
    "runtime.checkpoint_seconds=0.1",
)
"""A run that trains for a second or two."""
TIMEOUT_SECONDS = 1200.0
"""A command that takes longer is taken to hang, also on a machine that is busy with other work."""


def execute(*words: str) -> int:
    """Execute a command line in this process and return its exit status."""
    try:
        return main.main(words)
    except SystemExit as exit_:
        return int(exit_.code or 0)


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by its path."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_finished_cell(store: Store, plan: Plan) -> None:
    """Store a plan, and an outcome and (empty) scores of its first cell."""
    run = store.get_run(plan.cells[0].run_id)
    store.get_sweep(plan.sweep_id).write_plan(plan)
    attempt = run.claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    attempt.log_path.write_text("hello from the log\n")
    attempt.write_end("trained")
    outcome = Outcome(
        kind="trained",
        step=9,
        attempt=1,
        training_hash=compute_training_hash(),
        source_hash="s",
        numerics_class={},
        weights_digest="00",
        best_step=9,
        cost={},
    )
    run.write_outcome(outcome)
    for name, evaluation_hash in plan.required_evaluations()[run.id].items():
        scores = DatasetScores(
            dataset=name,
            evaluation_hash=evaluation_hash,
            protocol={},
            weights_digest="00",
            scores=(),
        )
        write_once(run.scores_path(name, evaluation_hash), to_json_bytes(scores))


class Driver:
    """One store, and commands that are executed on it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.words = (*TINY, *words, f"store={folder}")

    def start(self, *words: str, command: str = "run") -> subprocess.Popen[str]:
        """Start a command in a new process group, as a terminal does."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return subprocess.Popen(
            [sys.executable, str(ROOT / "sweep.py"), command, *self.words, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder.parent,
            env=environment,
            start_new_session=True,
            preexec_fn=restore_interrupts,
        )

    def run(self, *words: str, command: str = "run", status: int = 0) -> str:
        """Return what a command prints; fail unless it exits with `status`."""
        child = self.start(*words, command=command)
        output, _ = child.communicate(timeout=TIMEOUT_SECONDS)
        assert child.returncode == status, output
        return output

    def states(self) -> dict[str, dict[str, object]]:
        """Return the record of each cell from `status --json`."""
        output = self.run("--json", command="status")
        return {record["cell"]: record for record in json.loads(output)}

    @property
    def store(self) -> Store:
        """The store of the commands."""
        return Store(self.folder)

    def plan(self) -> Plan:
        """Return the only plan in the store."""
        (sweep,) = self.store.iter_sweeps()
        plan = sweep.read_plan()
        assert plan is not None
        return plan

    def weights(self) -> dict[str, str | None]:
        """Return the hash of the final weights of each cell."""
        digests = {}
        for cell in self.plan().cells:
            outcome = self.store.get_run(cell.run_id).read_outcome()
            digests[cell.name] = outcome.weights_digest if outcome else None
        return digests

    def tables(self) -> dict[str, bytes]:
        """Return the content of every table of the report."""
        folder = self.store.report_path(self.plan().sweep_id) / "tables"
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def endings(self) -> dict[str, list[str]]:
        """Return the exit kind of every attempt, by run."""
        endings: dict[str, list[str]] = {}
        for run in self.store.iter_runs():
            records = [run.get_attempt(number).read_end() for number in run.list_attempts()]
            endings[run.id] = [record.kind if record else "no exit record" for record in records]
        return endings

    def workers(self) -> list[int]:
        """Return the pids of live processes that hold an unfinished attempt in this store."""
        pids = set()
        for run in self.store.iter_runs():
            for number in run.list_attempts():
                attempt = run.get_attempt(number)
                claim = attempt.read_claim()
                if claim and attempt.read_end() is None and psutil.pid_exists(claim.pid):
                    pids.add(claim.pid)
        return sorted(pids)

    def everything(self) -> list[int]:
        """Return the pids of all processes that work on this store."""
        return [
            candidate.pid
            for candidate in psutil.process_iter(["cmdline"])
            if any(str(self.folder) in word for word in candidate.info["cmdline"] or [])
        ]

    def training(self) -> bool:
        """Return whether an attempt has taken a step and not ended."""
        for run in self.store.iter_runs():
            for number in run.list_attempts():
                attempt = run.get_attempt(number)
                beat = attempt.read_heartbeat()
                if beat and beat.phase == "training" and beat.step > 0 and not attempt.read_end():
                    return True
        return False


def copy_audit(driver: Driver, undisturbed: Driver) -> Driver:
    """Copy the audit of another store: an audit takes as long as everything else together."""
    (source,) = undisturbed.store.iter_sweeps()
    target = driver.store.get_sweep(source.id)
    target.path.mkdir(parents=True)
    for path in (source.audit_path, source.probes_path):
        shutil.copy2(path, target.path / path.name)
    return driver


def restore_interrupts() -> None:
    """Make a child react to Ctrl-C also if the tests run in the background and ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(holds: Callable[[], bool], seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.02)


def kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to each process that still exists."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def assert_finished_once(driver: Driver) -> None:
    """Assert that every run has one outcome, and that no attempt trained after another had."""
    for run_id, kinds in driver.endings().items():
        assert driver.store.get_run(run_id).read_outcome() is not None
        assert kinds.count("trained") + kinds.count("diverged") <= 1, (run_id, kinds)
