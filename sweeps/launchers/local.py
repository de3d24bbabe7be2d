"""Slots on this machine, through submitit's local executor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps.claims.claim import State
from sweeps.launchers.worker import Slot
from uniclip.config import plugins
from uniclip.errors import UserError
from uniclip.identity import ROOT

A_YEAR = 365 * 24 * 60
"""Minutes. submitit's local executor would end a job after two."""
STOP_SECONDS = 60.0
FRUITLESS_STARTS = 3
"""So many starts of every slot in a row that ended without claiming anything, though something was
open."""


class Slots:
    """A crew on this machine: each slot takes cells until none is left."""

    stays = True
    poll_seconds = 0.5

    def __init__(self, folder: Path, device: str, slots: int, slot: Callable[[bool], Slot]) -> None:
        """slots: how many; slot: what a slot does, told whether it is the one that proves."""
        self.folder, self.device, self.slots, self.slot = folder, device, slots, slot
        self.jobs: dict[int, Any] = {}
        """The job in each slot."""
        self._starts = 0
        """Slots started since a cell was last claimed, or came to its end."""
        self._fruit: list[tuple[int, bool]] = []
        """What there was of each run then: its newest attempt, an outcome."""

    def put(self, opened: list[str], states: Mapping[str, State]) -> None:
        """Start as many slots as there is work for.

        Raises:
            UserError: they keep ending without an audit or a claim: that is no accident.
        """
        self._check_fruit([(s.attempt, s.outcome is not None) for s in states.values()])
        live = self._live()
        free = [slot for slot in range(self.slots) if slot not in live]
        for slot in free[: len(opened)]:
            self.jobs[slot] = self._start(self.slot(slot == 0), slot)
            self._starts += 1

    def busy(self) -> bool:
        """Whether a slot's process lives (this also reaps those that ended)."""
        return bool(self._live())

    def stop(self) -> None:
        """Ask the slots to stop at their next step, and wait until they have."""
        live = [self.jobs[slot] for slot in self._live()]
        for job in live:
            _terminate(job)
        deadline = time.time() + STOP_SECONDS
        while time.time() < deadline and not all(job.done() for job in live):
            time.sleep(0.1)

    def _live(self) -> list[int]:
        return [slot for slot, job in self.jobs.items() if not job.done()]

    def _start(self, job: Callable[[], None], slot: int) -> Any:
        """Start `job` in a process of its own that outlives this one."""
        from submitit import LocalExecutor

        executor = LocalExecutor(self.folder)
        gpus = (
            {"gpus_per_node": 1, "visible_gpus": (slot,)} if self.device.startswith("cuda") else {}
        )
        executor.update_parameters(timeout_min=A_YEAR, **gpus)
        with _for_children():
            return executor.submit(job)

    def _check_fruit(self, fruit: list[tuple[int, bool]]) -> None:
        if fruit != self._fruit:
            self._fruit, self._starts = fruit, 0
        if self._starts >= FRUITLESS_STARTS * self.slots and not self.busy():
            log = Path(self.jobs[0].paths.stderr)
            raise UserError(f"workers end before they take a cell ({_last_line(log)}): read {log}")


def _terminate(job: Any) -> None:
    """submitit's process hands the signal on to the worker."""
    import psutil

    try:
        psutil.Process(int(job.job_id)).send_signal(signal.SIGTERM)
    except psutil.Error:
        pass


def _last_line(path: Path) -> str:
    words: Iterable[str] = path.read_text(errors="replace").splitlines() if path.exists() else []
    said = [w.strip() for w in words if w.strip()]
    return said[-1][:200] if said else "it said nothing"


@contextmanager
def _for_children() -> Iterator[None]:
    """Children import our packages, whatever the current folder holds, and ignore Ctrl-C unless
    they know what to do with it.

    A terminal sends SIGINT to the whole process group; submitit's process in between would kill its
    worker a second later, in the middle of a step. Meanwhile the signal waits for us: a blocked one
    is not lost, though it is ignored.
    """
    ours = {"PYTHONPATH": plugins.search_path(ROOT), "PYTHONSAFEPATH": "1"}
    theirs = {name: os.environ.get(name) for name in ours}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in theirs.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
