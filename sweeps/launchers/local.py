"""Workers on this machine, started through submitit's local executor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.claims.status import RunState
from sweeps.launchers.worker import WorkerJob
from uniclip.config import plugins
from uniclip.errors import UserError
from uniclip.identity import ROOT

if TYPE_CHECKING:
    from submitit import Job

JOB_TIMEOUT_MINUTES = 365 * 24 * 60
"""Time limit of a worker. The default of submitit's local executor is two minutes."""
STOP_TIMEOUT_SECONDS = 60.0
"""Time that `LocalLauncher.stop` waits for workers to end."""
MAX_STARTS_WITHOUT_PROGRESS = 3
"""Consecutive starts of each worker that may end without claiming a run, although one is open."""


class LocalLauncher:
    """Workers on this machine: each executes runs until none can be claimed."""

    blocking = True
    poll_seconds = 0.5

    def __init__(
        self,
        log_folder: Path,
        device: str,
        num_workers: int,
        build_job: Callable[[bool], WorkerJob],
    ) -> None:
        """Create a launcher without workers.

        Args:
            log_folder: folder of submitit's files and of the workers' output.
            device: `runtime.device` of the runs; on cuda each worker sees one GPU.
            num_workers: the number of workers.
            build_job: returns what a worker does, given whether it makes the audit.
        """
        self.log_folder, self.device = log_folder, device
        self.num_workers, self.build_job = num_workers, build_job
        self.jobs: dict[int, Job[None]] = {}
        """Worker index -> its newest job."""
        self._starts_since_progress = 0
        """Workers started since a run was last claimed or finished."""
        self._last_progress: list[tuple[int, bool]] = []
        """Of each run: number of its newest attempt, and whether it has an outcome."""

    def submit(self, runnable_runs: Sequence[str], states: Mapping[str, RunState]) -> None:
        """Start workers for the open runs, at most `num_workers` in all.

        Raises:
            UserError: workers keep ending without making an audit or claiming a run.
        """
        self._check_progress([(s.attempt, s.outcome is not None) for s in states.values()])
        active_workers = self._list_active_workers()
        free_workers = [index for index in range(self.num_workers) if index not in active_workers]
        for index in free_workers[: len(runnable_runs)]:
            self.jobs[index] = self._start_job(self.build_job(index == 0), index)
            self._starts_since_progress += 1

    def is_active(self) -> bool:
        """Return whether a worker is running; also reaps the processes that have ended."""
        return bool(self._list_active_workers())

    def stop(self) -> None:
        """Ask the workers to stop at their next step, and wait until they have."""
        active_jobs = [self.jobs[index] for index in self._list_active_workers()]
        for job in active_jobs:
            _terminate_job(job)
        deadline = time.time() + STOP_TIMEOUT_SECONDS
        while time.time() < deadline and not all(job.done() for job in active_jobs):
            time.sleep(0.1)

    def _list_active_workers(self) -> list[int]:
        return [index for index, job in self.jobs.items() if not job.done()]

    def _start_job(self, job: Callable[[], None], worker_index: int) -> Job[None]:
        """Start `job` in a new process, which does not end with this one."""
        from submitit import LocalExecutor

        executor = LocalExecutor(self.log_folder)
        executor.update_parameters(timeout_min=JOB_TIMEOUT_MINUTES)
        if self.device.startswith("cuda"):
            executor.update_parameters(gpus_per_node=1, visible_gpus=(worker_index,))
        with _child_process_environment():
            return executor.submit(job)

    def _check_progress(self, progress: list[tuple[int, bool]]) -> None:
        """Raise `UserError` if every worker has ended several times without progress of a run."""
        if progress != self._last_progress:
            self._last_progress, self._starts_since_progress = progress, 0
        max_starts = MAX_STARTS_WITHOUT_PROGRESS * self.num_workers
        if self._starts_since_progress >= max_starts and not self.is_active():
            log_path = Path(self.jobs[0].paths.stderr)
            raise UserError(
                f"workers end before they claim a run ({_read_last_line(log_path)}): "
                f"read {log_path}"
            )


def _terminate_job(job: Job[None]) -> None:
    """Send SIGTERM to submitit's process, which passes it on to the worker."""
    import psutil

    try:
        psutil.Process(int(job.job_id)).send_signal(signal.SIGTERM)
    except psutil.Error:
        pass


def _read_last_line(path: Path) -> str:
    """Return the last line of a log that is not empty, shortened to 200 characters."""
    lines: Iterable[str] = path.read_text(errors="replace").splitlines() if path.exists() else []
    nonempty_lines = [line.strip() for line in lines if line.strip()]
    return nonempty_lines[-1][:200] if nonempty_lines else "empty log"


@contextmanager
def _child_process_environment() -> Iterator[None]:
    """Let child processes import these packages and ignore SIGINT until they handle it.

    A terminal sends SIGINT to the whole process group. submitit's intermediate process would kill
    its worker a second later, in the middle of a step. SIGINT is blocked meanwhile in this process:
    a blocked signal is delivered afterwards, although it is ignored at the time.
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
