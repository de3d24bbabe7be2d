"""The work of a Slurm job: why it stops, whether it is requeued, and how a follow-up ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps import slurm
from sweeps.claims import process
from sweeps.cli import main, slurm_job
from sweeps.config.request import parse_overrides
from sweeps.launchers.attempt_execution import STOP_SIGNALS, StopFlag
from tests.helpers.trivial_sweep import planned
from uniclip.store import EndReason, Store, SubmissionIntent


def show_job(monkeypatch: pytest.MonkeyPatch, fields: dict[str, str] | None) -> None:
    """Let scontrol show these fields of the job that this process is in."""
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr(slurm, "query_job", lambda job: fields)


def format_time(seconds_from_now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + seconds_from_now))


@pytest.mark.parametrize(("seconds_left", "reason"), [(200, EndReason.TIMEOUT), (500, None)])
def test_a_signal_shortly_before_the_time_limit_is_a_timeout(
    monkeypatch: pytest.MonkeyPatch, seconds_left: int, reason: EndReason | None
) -> None:
    """Slurm may send it a minute early, however long before the limit it was requested."""
    show_job(monkeypatch, {"JobState": "RUNNING", "EndTime": format_time(seconds_left)})
    notice_seconds = 180 + slurm_job.TIME_LIMIT_TOLERANCE_SECONDS
    assert slurm_job.find_stop_reason(notice_seconds) == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (None, None),
        ({}, None),
        ({"JobState": "RUNNING", "PreemptTime": "None"}, None),
        ({"JobState": "RUNNING", "EndTime": "Unknown"}, None),
        ({"JobState": "CANCELLED"}, EndReason.CANCELLED),
        ({"JobState": "RUNNING", "PreemptTime": "2026-01-01T00:00:00"}, EndReason.PREEMPTED),
    ],
)
def test_a_job_is_stopped_for_the_reason_that_slurm_shows(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, str] | None, reason: EndReason | None
) -> None:
    show_job(monkeypatch, fields)
    assert slurm_job.find_stop_reason(60) == reason


@pytest.mark.parametrize(
    ("fields", "requeues", "answered"),
    [
        ({"JobState": "RUNNING"}, True, True),
        ({"JobState": "CANCELLED"}, False, True),
        ({}, False, True),
        (None, False, False),
    ],
)
def test_only_a_running_job_is_requeued(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, str] | None, requeues: bool, answered: bool
) -> None:
    requeued = list[str]()
    show_job(monkeypatch, fields)

    def requeue(job: str) -> bool:
        requeued.append(job)
        return True

    monkeypatch.setattr(slurm, "requeue_job", requeue)
    assert slurm_job.requeue_if_running() == answered
    assert requeued == (["77"] if requeues else [])


UNUSUAL_NAMES = [
    "josé 你好",
    "a b (1)[2]{3} #4 100% %j e=f ~g $HOME & ; , ! * ? < > | `x` @ ",
    "it's",
    'say "hi"',
    "${oc.env:HOME} ${nothing}",
    "null",
    "back\\slash\\",
    "line\nbreak",
]


@pytest.fixture
def keep_signal_handlers() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", UNUSUAL_NAMES)
@pytest.mark.usefixtures("keep_signal_handlers")
def test_a_follow_up_gets_store_and_words_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The store is no word of the user: whatever its name contains, it is not parsed."""
    words = [f"data.path={tmp_path}/my table.csv", "seeds=[3,7]"]
    argv = list[str]()

    def run_command_line(given_argv: list[str], retry_later_status: int) -> int:
        argv.extend(given_argv)
        return 0

    monkeypatch.setattr(main, "main", run_command_line)
    monkeypatch.setenv(slurm.FOLLOW_UP_VARIABLE, "replaced by the token of the intent")
    intent = SubmissionIntent(
        token="t",
        kind="follow_up",
        array_tasks=((),),
        last_attempts={},
        submitter=process.make_claim_record({}),
        follow_up_argv=("run", *words),
    )
    slurm_job.run_follow_up(Store(tmp_path / name), intent)
    values = parse_overrides([word for word in argv if "=" in word])
    assert values["store"] == str(tmp_path / name)
    assert values["data.path"] == f"{tmp_path}/my table.csv"
    assert values["seeds"] == [3, 7]


@pytest.mark.parametrize(
    ("status", "restarts", "outcome"),
    [
        (0, 0, "ends"),
        (slurm_job.RETRY_LATER_STATUS, 0, "requeues"),
        (main.EXIT_INTERRUPTED, 0, "requeues"),
        (slurm_job.RETRY_LATER_STATUS, slurm_job.MAX_FOLLOW_UP_REQUEUES, "fails"),
        (main.EXIT_USER_ERROR, 0, "fails"),
    ],
)
def test_a_follow_up_ends_fails_or_requeues_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, restarts: int, outcome: str
) -> None:
    intent = SubmissionIntent(
        token="t",
        kind="follow_up",
        array_tasks=((),),
        last_attempts={},
        submitter=process.make_claim_record({}),
        follow_up_argv=("run", "seeds=1"),
    )
    argv, requeued = list[str](), list[bool]()
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    monkeypatch.setenv(slurm.FOLLOW_UP_VARIABLE, "replaced by the token of the intent")
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))

    def requeue() -> bool:
        requeued.append(True)
        return True

    def run_command_line(words: list[str], retry_later_status: int) -> int:
        argv.extend(words)
        return status

    monkeypatch.setattr(slurm_job, "requeue_if_running", requeue)
    monkeypatch.setattr(main, "main", run_command_line)
    try:
        if outcome == "fails":
            with pytest.raises(RuntimeError, match=f"ended with status {status}"):
                slurm_job.run_follow_up(Store(tmp_path), intent)
        else:
            slurm_job.run_follow_up(Store(tmp_path), intent)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert argv == ["run", "seeds=1", f"store={tmp_path}"]
    assert bool(requeued) == (outcome == "requeues")


def test_a_job_executes_the_runs_of_its_array_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sweep = Store(tmp_path), planned(2, 0.0)
    folder = store.get_sweep(sweep.plan.sweep_id)
    folder.write_plan(sweep.plan)
    for run_id, spec in sweep.specs.items():
        store.get_run(run_id).write_spec(spec)
    runs = list(sweep.specs)
    intent = SubmissionIntent(
        token="t",
        kind="run",
        array_tasks=((runs[0],), (runs[1],)),
        last_attempts={},
        submitter=process.make_claim_record({}),
    )
    folder.record_intent(intent)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    monkeypatch.setattr(StopFlag, "install_signal_handlers", lambda self: None)
    slurm_job.main([str(tmp_path), folder.id, "t"])
    assert [store.get_run(run).read_outcome() is not None for run in runs] == [False, True]
