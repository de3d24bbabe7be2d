"""Slots on this machine, through submitit's local executor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps.claims.claim import RunState
from sweeps.launchers.worker import WorkerJob
from uniclip.config import plugins
from uniclip.errors import UserError
from uniclip.identity import ROOT

JOB_TIMEOUT_MINUTES = 365 * 24 * 60
"""Minutes. submitit's local executor would end a job after two."""
STOP_TIMEOUT_SECONDS = 60.0
MAX_STARTS_WITHOUT_PROGRESS = 3
"""So many starts of every slot in a row that ended without claiming anything, though something was
open."""


class LocalLauncher:
    """A crew on this machine: each slot takes cells until none is left."""

    blocking = True
    poll_seconds = 0.5

    def __init__(
        self,
        log_folder: Path,
        device: str,
        num_workers: int,
        build_job: Callable[[bool], WorkerJob],
    ) -> None:
        """slots: how many; slot: what a slot does, told whether it is the one that proves."""
        self.log_folder, self.device, self.num_workers, self.build_job = (
            log_folder,
            device,
            num_workers,
            build_job,
        )
        self.jobs: dict[int, Any] = {}
        """The job in each slot."""
        self._starts_since_progress = 0
        """Slots started since a cell was last claimed, or came to its end."""
        self._last_progress: list[tuple[int, bool]] = []
        """What there was of each run then: its newest attempt, an outcome."""

    def submit(self, runnable_runs: list[str], states: Mapping[str, RunState]) -> None:
        """Start as many slots as there is work for.

        Raises:
            UserError: they keep ending without an audit or a claim: that is no accident.
        """
        self._check_progress([(s.attempt, s.outcome is not None) for s in states.values()])
        active_workers = self._list_active_workers()
        free_workers = [
            worker_index
            for worker_index in range(self.num_workers)
            if worker_index not in active_workers
        ]
        for worker_index in free_workers[: len(runnable_runs)]:
            self.jobs[worker_index] = self._start_job(
                self.build_job(worker_index == 0), worker_index
            )
            self._starts_since_progress += 1

    def is_active(self) -> bool:
        """Whether a slot's process lives (this also reaps those that ended)."""
        return bool(self._list_active_workers())

    def stop(self) -> None:
        """Ask the slots to stop at their next step, and wait until they have."""
        active_jobs = [self.jobs[slot] for slot in self._list_active_workers()]
        for job in active_jobs:
            _terminate_job(job)
        deadline = time.time() + STOP_TIMEOUT_SECONDS
        while time.time() < deadline and not all(job.done() for job in active_jobs):
            time.sleep(0.1)

    def _list_active_workers(self) -> list[int]:
        return [worker_index for worker_index, job in self.jobs.items() if not job.done()]

    def _start_job(self, job: Callable[[], None], worker_index: int) -> Any:
        """Start `job` in a process of its own that outlives this one."""
        from submitit import LocalExecutor

        executor = LocalExecutor(self.log_folder)
        gpus = (
            {"gpus_per_node": 1, "visible_gpus": (worker_index,)}
            if self.device.startswith("cuda")
            else {}
        )
        executor.update_parameters(timeout_min=JOB_TIMEOUT_MINUTES, **gpus)
        with _child_process_environment():
            return executor.submit(job)

    def _check_progress(self, progress: list[tuple[int, bool]]) -> None:
        if progress != self._last_progress:
            self._last_progress, self._starts_since_progress = progress, 0
        if (
            self._starts_since_progress >= MAX_STARTS_WITHOUT_PROGRESS * self.num_workers
            and not self.is_active()
        ):
            log_path = Path(self.jobs[0].paths.stderr)
            raise UserError(
                f"workers end before they take a cell ({_read_last_line(log_path)}): read {log_path}"
            )


def _terminate_job(job: Any) -> None:
    """submitit's process hands the signal on to the worker."""
    import psutil

    try:
        psutil.Process(int(job.job_id)).send_signal(signal.SIGTERM)
    except psutil.Error:
        pass


def _read_last_line(path: Path) -> str:
    lines: Iterable[str] = path.read_text(errors="replace").splitlines() if path.exists() else []
    nonempty_lines = [line.strip() for line in lines if line.strip()]
    return nonempty_lines[-1][:200] if nonempty_lines else "it said nothing"


@contextmanager
def _child_process_environment() -> Iterator[None]:
    """Children import our packages, whatever the current folder holds, and ignore Ctrl-C unless
    they know what to do with it.

    A terminal sends SIGINT to the whole process group; submitit's process in between would kill its
    worker a second later, in the middle of a step. Meanwhile the signal waits for us: a blocked one
    is not lost, though it is ignored.
    """
    child_variables = {"PYTHONPATH": plugins.build_python_path(ROOT), "PYTHONSAFEPATH": "1"}
    saved_variables = {name: os.environ.get(name) for name in child_variables}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    previous_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(child_variables)
    try:
        yield
    finally:
        for name, value in saved_variables.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        signal.signal(signal.SIGINT, previous_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
