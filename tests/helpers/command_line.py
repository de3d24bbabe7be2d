"""Drives the real command line, in real processes, over a real store."""

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

from tests.helpers import ROOT
from uniclip.store import Plan, Store

TINY = (
    "ablation=components",
    "data=scenes",
    "data.num_train=256",
    "data.test=64",
    "train.batch_size=16",
    "train.validate_every=20",
    "budget=smoke",
    "runtime.checkpoint_seconds=0.1",
)
"""A training of a second or two."""
PATIENCE = 1200.0
"""Seconds after which something is taken to hang, on a machine that does much else."""


class Driver:
    """One store, and the commands over it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.words = (*TINY, *words, f"store={folder}")

    def start(self, *words: str, verb: str = "run") -> subprocess.Popen[str]:
        """A command in a process group of its own, as a terminal would start it."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return subprocess.Popen(
            [sys.executable, str(ROOT / "sweep.py"), verb, *self.words, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder.parent,
            env=environment,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )

    def run(self, *words: str, verb: str = "run", status: int = 0) -> str:
        """What a command printed; fails unless it exits with `status`."""
        process = self.start(*words, verb=verb)
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == status, said
        return said

    def states(self) -> dict[str, dict[str, object]]:
        """What `status --json` says of each cell."""
        said = self.run("--json", verb="status")
        return {row["cell"]: row for row in json.loads(said)}

    @property
    def store(self) -> Store:
        """The store, to look into."""
        return Store(self.folder)

    def plan(self) -> Plan:
        """The one plan in the store."""
        (sweep,) = self.store.iter_sweeps()
        plan = sweep.read_plan()
        assert plan is not None
        return plan

    def weights(self) -> dict[str, str | None]:
        """Cell -> hash of its published weights."""
        found = {}
        for cell in self.plan().cells:
            outcome = self.store.get_run(cell.run_id).read_outcome()
            found[cell.name] = outcome.weights_digest if outcome else None
        return found

    def tables(self) -> dict[str, bytes]:
        """The bytes of every table of the report."""
        folder = self.store.report_path(self.plan().sweep_id) / "tables"
        return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}

    def endings(self) -> dict[str, list[str]]:
        """Run -> how its attempts ended, by their own word."""
        found: dict[str, list[str]] = {}
        for run in self.store.iter_runs():
            ended = [run.get_attempt(n).read_end() for n in run.list_attempts()]
            found[run.id] = [e.kind if e else "no word" for e in ended]
        return found

    def workers(self) -> list[int]:
        """Pids of live processes that hold an unfinished attempt in this store."""
        pids = set()
        for run in self.store.iter_runs():
            for number in run.list_attempts():
                attempt = run.get_attempt(number)
                owner = attempt.read_claim()
                if owner and attempt.read_end() is None and psutil.pid_exists(owner.pid):
                    pids.add(owner.pid)
        return sorted(pids)

    def everything(self) -> list[int]:
        """Pids of all processes that work on this store."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if any(str(self.folder) in word for word in words):
                found.append(process.pid)
        return found

    def training(self) -> bool:
        """Whether some attempt has taken a step and not ended."""
        for run in self.store.iter_runs():
            for number in run.list_attempts():
                attempt = run.get_attempt(number)
                beat = attempt.read_heartbeat()
                if beat and beat.phase == "training" and beat.step > 0 and not attempt.read_end():
                    return True
        return False


def proven(driver: Driver, undisturbed: Driver) -> Driver:
    """Its arms count as proven, as they were there: a proof takes as long as all the rest."""
    (sweep,) = undisturbed.store.iter_sweeps()
    place = driver.store.get_sweep(sweep.id)
    place.path.mkdir(parents=True)
    for path in (sweep.audit_path, sweep.probes_path):
        shutil.copy2(path, place.path / path.name)
    return driver


def heed_interrupts() -> None:
    """Whoever started us in the background may ignore Ctrl-C; a terminal does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(true: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def finished_once(driver: Driver) -> None:
    """Every run has one outcome, and no attempt trained after another had."""
    for run_id, kinds in driver.endings().items():
        assert driver.store.get_run(run_id).read_outcome() is not None
        assert kinds.count("trained") + kinds.count("diverged") <= 1, (run_id, kinds)
