"""Workers on this machine, started through submitit's local executor."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.claims.status import RunState
from sweeps.launchers.worker import WorkerJob
from uniclip.config import plugins
from uniclip.config.cores import CORES_VARIABLE, count_process_cores
from uniclip.dependencies import INSTALL_ALL
from uniclip.errors import UserError
from uniclip.identity import ROOT
from uniclip.store import EndReason, RunStatus

if TYPE_CHECKING:
    from submitit import Job

JOB_TIMEOUT_MINUTES = 365 * 24 * 60
"""Time limit of a worker. The default of submitit's local executor is two minutes."""
STOP_TIMEOUT_SECONDS = 60.0
"""Time that `LocalLauncher.stop` waits for workers to end."""
MAX_FRUITLESS_STARTS = 3
"""Consecutive starts of each worker that may end without a run being claimed, although one is open;
then that worker is not started again until another one claims or finishes a run."""
MAX_DEAD_RUNS = 2
"""Runs whose processes may die as often as those of one run may (`claims.status`), before the sweep
ends: if no run has ended otherwise, the next one would die in the same way."""
IMPORT_ERROR_PATTERN = re.compile(r"(\w+\.)*(ImportError|ModuleNotFoundError)\b")
"""Last line of the log of a worker that cannot import a library: another start would fail too."""


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
        processes_per_run: int = 1,
    ) -> None:
        """Create a launcher without workers.

        Args:
            log_folder: folder of submitit's files and of the workers' output.
            device: `runtime.device` of the runs; with "cuda" each worker sees one GPU
                for each process of a run.
            num_workers: the number of workers.
            build_job: returns what a worker does, given whether it makes the audit.
            processes_per_run: processes that execute a run together; a worker is the first of them
                and starts the others.
        """
        self.log_folder, self.device = log_folder, device
        self.num_workers, self.build_job = num_workers, build_job
        self.processes_per_run = processes_per_run
        self.jobs: dict[int, Job[None]] = {}
        """Worker index -> its newest job."""
        self._fruitless_starts: Counter[int] = Counter()
        """Worker index -> its consecutive starts that have ended without progress of any run."""
        self._uncounted_jobs: set[int] = set()
        """Workers whose newest job was not seen to have ended."""
        self._last_progress: list[tuple[int, bool]] | None = None
        """Of each run: number of its newest attempt, and whether it has an outcome."""
        self._initial_states: dict[str, RunState] | None = None

    def submit(self, runnable_runs: Sequence[str], states: Mapping[str, RunState]) -> None:
        """Start workers for the open runs, at most `num_workers` in all.

        Active workers that execute no run yet will claim some of them: they import or audit.

        Raises:
            UserError: workers keep ending without making an audit or claiming a run, or the
                processes of several runs keep dying.
        """
        self._check_dead_runs(states)
        self._count_ended_workers(states)
        active_workers = self._list_active_workers()
        free_workers = [index for index in range(self.num_workers) if index not in active_workers]
        num_running = sum(state.status == RunStatus.RUNNING for state in states.values())
        num_idle = max(0, len(active_workers) - num_running)
        candidates = free_workers[: max(0, len(runnable_runs) - num_idle)]
        exhausted_workers = [i for i in candidates if self._is_exhausted(i)]
        for index in candidates:
            if index not in exhausted_workers:
                self._start_worker(index)
        if exhausted_workers and not self._can_progress():
            raise self._make_no_progress_error(exhausted_workers)

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

    def _start_worker(self, index: int) -> None:
        worker_job = replace(self.build_job(index == 0), num_processes=self.processes_per_run)
        if self.device.startswith("cuda"):
            visible_devices = choose_visible_devices(
                self.device,
                index,
                os.environ.get("CUDA_VISIBLE_DEVICES"),
                self.processes_per_run,
            )
            worker_job = replace(worker_job, visible_devices=visible_devices, sets_devices=True)
        self.jobs[index] = self._start_job(worker_job, index)
        self._uncounted_jobs.add(index)

    def _start_job(self, job: Callable[[], None], worker_index: int) -> Job[None]:
        """Start `job` in a new process, which does not end with this one."""
        from submitit import LocalExecutor

        executor = LocalExecutor(self._submitit_folder)
        executor.update_parameters(timeout_min=JOB_TIMEOUT_MINUTES)
        with _child_process_environment(self.num_workers * self.processes_per_run):
            return executor.submit(job)

    # -- workers and runs that make no progress --

    def _count_ended_workers(self, states: Mapping[str, RunState]) -> None:
        """Count the workers that have ended since a run was last claimed or finished.

        Raises:
            UserError: one has ended since it cannot import a library.
        """
        for index in sorted(self._uncounted_jobs):
            if self.jobs[index].done():
                self._uncounted_jobs.remove(index)
                self._fruitless_starts[index] += 1
                log_path = self._get_log_path(index)
                last_line = _read_last_line(log_path)
                if IMPORT_ERROR_PATTERN.match(last_line):
                    raise UserError(
                        f"workers cannot import a library ({last_line}); fix: {INSTALL_ALL}; "
                        f"log: {log_path}"
                    )
        progress = [(state.attempt, state.outcome is not None) for state in states.values()]
        if progress != self._last_progress:
            self._last_progress = progress
            self._fruitless_starts.clear()

    def _is_exhausted(self, index: int) -> bool:
        return self._fruitless_starts[index] >= MAX_FRUITLESS_STARTS

    def _can_progress(self) -> bool:
        """Return whether a worker is active that does not wait for one that is exhausted.

        Worker 0 makes the audit that the others wait for.
        """
        waits_for_audit = self.build_job(True).audit_key is not None
        return self.is_active() and not (waits_for_audit and self._is_exhausted(0))

    def _make_no_progress_error(self, workers: Sequence[int]) -> UserError:
        log_path = self._get_log_path(workers[0])
        num_starts = sum(self._fruitless_starts.values())
        return UserError(
            f"workers end before they claim a run, after {num_starts} starts in a row, "
            f"{MAX_FRUITLESS_STARTS} of each worker "
            f"({_describe_end(self.jobs[workers[0]], log_path)}); log: {log_path}"
        )

    def _check_dead_runs(self, states: Mapping[str, RunState]) -> None:
        """Raise `UserError` if processes of several runs died and no run has ended otherwise.

        A full disk ends the sweep with the first run that has used up its attempts.
        """
        if self._initial_states is None:
            self._initial_states = dict(states)
        changed_states = {run: s for run, s in states.items() if self._initial_states.get(run) != s}
        exhausted_runs = {
            run: state
            for run, state in changed_states.items()
            if state.status == RunStatus.FAILED and state.end_reason is not None
        }
        full_disk = [r for r, s in exhausted_runs.items() if s.end_reason is EndReason.DISK_FULL]
        if full_disk:
            raise UserError(
                f"the disk is full: run {full_disk[0]} ended {exhausted_runs[full_disk[0]].reason};"
                " free some space (sweep.py gc) and run the same command again"
            )
        has_ended_otherwise = any(
            state.end_kind is not None or state.outcome is not None
            for run, state in changed_states.items()
            if run not in exhausted_runs
        )
        if len(exhausted_runs) >= MAX_DEAD_RUNS and not has_ended_otherwise:
            run, state = next(iter(exhausted_runs.items()))
            raise UserError(
                f"the processes of {len(exhausted_runs)} runs in a row died ({run}: "
                f"{state.reason}): is there enough memory? `logs` prints what they wrote, `retry` "
                "starts them again"
            )

    def _get_log_path(self, index: int) -> Path:
        return self.log_folder / Path(self.jobs[index].paths.stderr).name

    @cached_property
    def _submitit_folder(self) -> Path:
        """The log folder, or a link to it if its name contains what submitit reads as a pattern."""
        if "%" not in str(self.log_folder):
            return self.log_folder
        self._link_folder = tempfile.TemporaryDirectory(prefix="uniclip-")
        self.log_folder.mkdir(parents=True, exist_ok=True)
        link = Path(self._link_folder.name) / "logs"
        link.symlink_to(self.log_folder.absolute())
        return link


def choose_visible_devices(
    device: str, worker_index: int, visible: str | None, num_devices: int = 1
) -> str | None:
    """Return CUDA_VISIBLE_DEVICES of a worker; None to leave it unset: every GPU is visible.

    Args:
        device: `runtime.device`. With "cuda" each worker sees GPUs of its own; with "cuda:1" all
            workers use that GPU.
        worker_index: number of the worker.
        visible: CUDA_VISIBLE_DEVICES of this process, which numbers the GPUs that may be used.
        num_devices: GPUs of a worker. If fewer are left, it sees none: every process needs one.
    """
    if device != "cuda":
        return visible
    indices = range(worker_index * num_devices, (worker_index + 1) * num_devices)
    if visible is None:
        return ",".join(map(str, indices))
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return ",".join(names[i] for i in indices) if indices[-1] < len(names) else ""


def _terminate_job(job: Job[None]) -> None:
    """Send SIGTERM to submitit's process, which passes it on to the worker."""
    import psutil

    try:
        psutil.Process(int(job.job_id)).send_signal(signal.SIGTERM)
    except psutil.Error:
        pass


def _describe_end(job: Job[None], log_path: Path) -> str:
    """Return the last line that a worker wrote, and whether its process was killed."""
    last_line = _read_last_line(log_path)
    if Path(job.paths.result_pickle).exists():
        return last_line
    return f"the process was killed, or ended without a message; {last_line}"


def _read_last_line(path: Path) -> str:
    """Return the last line of a log that is not empty, shortened to 200 characters."""
    lines: Iterable[str] = path.read_text(errors="replace").splitlines() if path.exists() else []
    nonempty_lines = [line.strip() for line in lines if line.strip()]
    return nonempty_lines[-1][:200] if nonempty_lines else "empty log"


@contextmanager
def _child_process_environment(num_processes: int) -> Iterator[None]:
    """Let child processes import these packages and ignore SIGINT until they handle it.

    They are also told their share of the cores, of which data workers take a part.

    A terminal sends SIGINT to the whole process group. submitit's intermediate process would kill
    its worker a second later, in the middle of a step. SIGINT is blocked meanwhile in this process:
    a blocked signal is delivered afterwards, although it is ignored at the time.
    """
    child_variables = {
        "PYTHONPATH": plugins.build_python_path(ROOT),
        "PYTHONSAFEPATH": "1",
        CORES_VARIABLE: str(max(1, count_process_cores() // num_processes)),
    }
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
