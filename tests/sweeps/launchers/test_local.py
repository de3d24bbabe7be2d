"""Workers on this machine: when the launcher gives up on them, and which GPU each sees."""

from __future__ import annotations

import subprocess
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from sweeps.claims.status import RunState
from sweeps.costs.audit_scope import AuditKey
from sweeps.launchers import local
from sweeps.launchers.local import (
    MAX_FRUITLESS_STARTS,
    LocalLauncher,
    choose_visible_devices,
)
from sweeps.launchers.worker import WorkerJob
from uniclip.errors import UserError
from uniclip.store import EndReason, Outcome, RetryPolicy, RunStatus

OUTCOME = Outcome(
    kind="trained",
    step=1,
    attempt=1,
    training_hash="t",
    source_hash="s",
    numerics_class={},
    weights_digest="w",
    best_step=None,
    cost={},
)


@dataclass
class ShellJob:
    """A worker process that runs a line of shell."""

    process: subprocess.Popen[bytes]
    paths: Namespace

    @property
    def job_id(self) -> str:
        """The process id, as submitit's local jobs have it."""
        return str(self.process.pid)

    def done(self) -> bool:
        """Return whether the process has ended."""
        return self.process.poll() is not None


@dataclass
class ShellWorkers:
    """Starts real processes in place of workers, each with a line of shell."""

    folder: Path
    scripts: Callable[[int], str]
    """Worker index -> what it runs."""
    starts: Counter[int] = field(default_factory=Counter)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, job: WorkerJob, index: int) -> ShellJob:
        """Start a worker, with its errors in a file."""
        self.starts[index] += 1
        log_path = self.folder / f"{index}-{self.starts[index]}.err"
        with open(log_path, "wb") as log:
            process = subprocess.Popen(["sh", "-c", self.scripts(index)], stderr=log)
        self.processes.append(process)
        return ShellJob(
            process, Namespace(stderr=log_path, result_pickle=self.folder / f"{log_path.stem}.pkl")
        )


MakeLauncher = Callable[..., tuple[LocalLauncher, ShellWorkers]]


@pytest.fixture
def make_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeLauncher]:
    started: list[ShellWorkers] = []

    def make(
        num_workers: int, scripts: Callable[[int], str], audit_key: AuditKey | None = None
    ) -> tuple[LocalLauncher, ShellWorkers]:
        def build_job(runs_audit: bool) -> WorkerJob:
            policy = RetryPolicy()
            return WorkerJob(store_root="", sweep_id="x", policy=policy, audit_key=audit_key)

        launcher = LocalLauncher(tmp_path, "cpu", num_workers, build_job)
        workers = ShellWorkers(tmp_path, scripts)
        monkeypatch.setattr(launcher, "_start_job", workers.start)
        started.append(workers)
        return launcher, workers

    yield make
    for workers in started:
        for process in workers.processes:
            process.kill()
            process.wait()


def submit_until_error(launcher: LocalLauncher, runs: dict[str, RunState]) -> str:
    """Call `submit` as a controller does until it raises; return the message."""
    while True:
        try:
            launcher.submit(list(runs), runs)
        except UserError as error:
            return str(error)
        time.sleep(0.005)


def pending(count: int) -> dict[str, RunState]:
    return {f"r{i}": RunState(status=RunStatus.PENDING) for i in range(count)}


@pytest.mark.parametrize("num_workers", [1, 2, 3])
@pytest.mark.parametrize("end", ["kill -9 $$", "echo no such device >&2; exit 1"])
def test_workers_that_die_at_different_moments_end_the_sweep(
    make_launcher: MakeLauncher, num_workers: int, end: str
) -> None:
    """At every moment another worker is busy dying."""
    launcher, workers = make_launcher(num_workers, lambda i: f"sleep 0.0{2 + 3 * i}; {end}")
    message = submit_until_error(launcher, pending(4))
    assert workers.starts == dict.fromkeys(range(num_workers), MAX_FRUITLESS_STARTS)
    assert f"{3 * num_workers} starts in a row, 3 of each worker" in message
    assert ("killed" if "kill" in end else "no such device") in message
    assert not launcher.is_active()


def test_the_number_of_starts_follows_from_the_open_runs_too(make_launcher: MakeLauncher) -> None:
    launcher, workers = make_launcher(16, lambda i: "exit 1")
    submit_until_error(launcher, pending(1))
    assert sum(workers.starts.values()) == MAX_FRUITLESS_STARTS


def test_no_worker_is_started_for_a_run_that_an_active_one_will_claim(
    make_launcher: MakeLauncher,
) -> None:
    """Between its start and its first claim a worker imports its libraries and makes the audit."""
    launcher, workers = make_launcher(4, lambda i: "sleep 60")
    states = pending(3)
    for _ in range(3):
        launcher.submit(["r0"], states)
    assert workers.starts == {0: 1}
    states["r0"] = RunState(status=RunStatus.RUNNING, attempt=1)
    for _ in range(3):
        launcher.submit(["r1", "r2"], states)
    assert workers.starts == {0: 1, 1: 1, 2: 1}, "worker 0 has its run"


def test_workers_that_wait_for_an_audit_that_is_never_made_end_too(
    make_launcher: MakeLauncher,
) -> None:
    """Worker 0 dies whenever it makes the audit; the others wait for it."""
    launcher, workers = make_launcher(
        3, lambda i: "exit 1" if i == 0 else "sleep 60", AuditKey(training_hash="", device="cpu")
    )
    message = submit_until_error(launcher, pending(3))
    assert "3 starts in a row" in message
    assert workers.starts == {0: 3, 1: 1, 2: 1}
    assert launcher.is_active(), "the controller stops them"


def test_a_worker_that_works_outlives_one_that_does_not(make_launcher: MakeLauncher) -> None:
    launcher, workers = make_launcher(2, lambda i: "exit 1" if i == 0 else "sleep 60")
    states = pending(3)
    deadline = time.monotonic() + 60
    while workers.starts[0] < MAX_FRUITLESS_STARTS and time.monotonic() < deadline:
        launcher.submit(list(states), states)
        time.sleep(0.005)
    workers.processes[-1].wait()
    states["r0"] = RunState(status=RunStatus.RUNNING, attempt=1)
    launcher.submit(["r1", "r2"], states)
    assert workers.starts[0] == MAX_FRUITLESS_STARTS + 1, "a claim is progress: it is tried again"
    workers.processes[-1].wait()
    while workers.starts[0] < 2 * MAX_FRUITLESS_STARTS and time.monotonic() < deadline:
        launcher.submit(["r1", "r2"], states)
        time.sleep(0.005)
    workers.processes[-1].wait()
    for _ in range(5):
        launcher.submit(["r1", "r2"], states)
    assert workers.starts == {0: 2 * MAX_FRUITLESS_STARTS, 1: 1}


def test_workers_that_sometimes_die_are_started_again(make_launcher: MakeLauncher) -> None:
    """With one worker, the process of every cell dies once before the cell is complete."""
    launcher, workers = make_launcher(1, lambda i: "exit 1")
    states = pending(6)

    def submit(run: str) -> None:
        launcher.submit([run], states)
        workers.processes[-1].wait()

    for run in states:
        for attempt in (1, 2):
            submit(run)
            states[run] = RunState(status=RunStatus.INTERRUPTED, attempt=attempt)
        states[run] = RunState(status=RunStatus.COMPLETE, outcome=OUTCOME)
    for _ in range(MAX_FRUITLESS_STARTS):
        submit("r5")
    with pytest.raises(UserError, match="workers end before they claim a run"):
        submit("r5")


@pytest.mark.parametrize(
    "line",
    [
        "ModuleNotFoundError: No module named 'timm'",
        "ImportError: libcudart.so.13: cannot open shared object file",
    ],
)
def test_a_library_that_cannot_be_imported_ends_the_sweep_at_once(
    make_launcher: MakeLauncher, line: str
) -> None:
    launcher, workers = make_launcher(2, lambda i: f'echo "{line}" >&2; exit 1')
    message = submit_until_error(launcher, pending(4))
    assert (line in message, "pip install" in message) == (True, True)
    assert sum(workers.starts.values()) <= 3


def died(attempt: int = 5, reason: EndReason = EndReason.DIED) -> RunState:
    return RunState(
        status=RunStatus.FAILED, attempt=attempt, end_reason=reason, reason="it died 5 times"
    )


def test_runs_whose_processes_all_die_end_the_sweep(make_launcher: MakeLauncher) -> None:
    launcher, _ = make_launcher(1, lambda i: "sleep 60")
    states = pending(5)
    launcher.submit(["r0"], states)
    states["r0"] = died()
    launcher.submit(["r1"], states)
    states["r1"] = died()
    with pytest.raises(UserError, match="the processes of 2 runs in a row died"):
        launcher.submit(["r2"], states)


def test_one_run_that_ends_otherwise_lets_the_others_be_tried(make_launcher: MakeLauncher) -> None:
    launcher, _ = make_launcher(1, lambda i: "sleep 60")
    states = pending(5) | {"old": died()}
    launcher.submit(["r0"], states)
    states |= {"r0": died(), "r1": died(), "r2": RunState(status=RunStatus.FAILED, attempt=1)}
    states["r2"] = RunState(status=RunStatus.FAILED, attempt=1, end_kind="failed")
    launcher.submit(["r3"], states)


def test_a_full_disk_ends_the_sweep_with_the_first_run(make_launcher: MakeLauncher) -> None:
    launcher, _ = make_launcher(1, lambda i: "sleep 60")
    states = pending(5)
    launcher.submit(["r0"], states)
    states["r0"] = died(4, EndReason.DISK_FULL)
    with pytest.raises(UserError, match="the disk is full: run r0"):
        launcher.submit(["r1"], states)


@pytest.mark.parametrize(
    ("device", "index", "visible", "expected"),
    [
        ("cuda", 0, None, "0"),
        ("cuda", 3, None, "3"),
        ("cuda", 1, "2,5", "5"),
        ("cuda", 1, "GPU-8f, GPU-1a", "GPU-1a"),
        ("cuda", 2, "2,5", ""),
        ("cuda:1", 0, None, None),
        ("cuda:1", 3, "4,6", "4,6"),
    ],
)
def test_each_worker_sees_a_gpu_of_those_that_the_user_may_use(
    device: str, index: int, visible: str | None, expected: str | None
) -> None:
    assert choose_visible_devices(device, index, visible) == expected


@pytest.mark.parametrize(
    ("index", "visible", "num_devices", "expected"),
    [
        (0, None, 8, "0,1,2,3,4,5,6,7"),
        (3, None, 2, "6,7"),
        (1, "7,5,3,1", 2, "3,1"),
        (1, "GPU-8f, GPU-1a,GPU-2b", 1, "GPU-1a"),
        (1, "7,5,3", 2, ""),
    ],
)
def test_a_worker_sees_as_many_gpus_as_its_runs_have_processes(
    index: int, visible: str | None, num_devices: int, expected: str
) -> None:
    assert choose_visible_devices("cuda", index, visible, num_devices) == expected


def test_workers_share_gpus_and_cores_among_the_processes_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.setattr(local, "count_process_cores", lambda: 12)

    def build_job(runs_audit: bool) -> WorkerJob:
        return WorkerJob(store_root="", sweep_id="x", policy=RetryPolicy())

    launcher = LocalLauncher(tmp_path, "cuda", 2, build_job, processes_per_run=2)
    started: list[WorkerJob] = []
    monkeypatch.setattr(launcher, "_start_job", lambda job, index: started.append(job))
    for index in range(2):
        launcher._start_worker(index)
    assert [job.num_processes for job in started] == [2, 2]
    assert [job.visible_devices for job in started] == ["4,5", "6,7"]
    monkeypatch.undo()
    monkeypatch.setattr(local, "count_process_cores", lambda: 12)
    job = launcher._start_job(
        partial(exec, "import os; print('cores', os.environ['UNICLIP_CORES'])"), 0
    )
    job.wait()
    assert "cores 3\n" in Path(job.paths.stdout).read_text()


def test_logs_of_a_store_lie_in_it_whatever_its_name_is(tmp_path: Path) -> None:
    """submitit reads %j and %t in a folder's name as patterns."""
    folder = tmp_path / "run%j %t%A it's [x]"

    def build_job(runs_audit: bool) -> WorkerJob:
        raise AssertionError("no worker is built here")

    launcher = LocalLauncher(folder, "cpu", 1, build_job)
    job = launcher._start_job(partial(print, "hello"), 0)
    job.wait()
    assert "hello" in (folder / f"{job.job_id}_0_log.out").read_text()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    launcher.jobs[0] = job
    assert launcher._get_log_path(0) == folder / f"{job.job_id}_0_log.err"
