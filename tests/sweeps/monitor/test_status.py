"""Status: every cell with one advised action, from the store alone."""

from __future__ import annotations

import dataclasses
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from sweeps.claims import process
from sweeps.claims.status import RunState
from sweeps.monitor import status
from sweeps.monitor.status import ADVICE, CellRow, QueueStatus
from sweeps.slurm import Job
from tests.sweeps.monitor import RUNS, make_heartbeat, make_plan, make_row
from uniclip.io.atomic import append_jsonl
from uniclip.store import EndReason, Outcome, Plan, RunStatus, Store, SubmissionIntent


@pytest.fixture
def plan() -> Plan:
    return make_plan()


def make_outcome(**changes: Any) -> Outcome:
    fields = {
        "kind": "trained",
        "step": 90,
        "attempt": 2,
        "training_hash": "",
        "source_hash": "",
        "numerics_class": {},
        "weights_digest": "00",
        "best_step": 1,
        "cost": {},
    }
    return Outcome(**{**fields, **changes})


def test_every_status_has_an_advice() -> None:
    assert set(ADVICE) == {*RunStatus, *QueueStatus}
    assert set(status.STATUS_STYLES) <= set(ADVICE)


def test_rows_follow_the_plan_and_cells_of_one_run_are_alike(plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    attempt = store.get_run(RUNS["full"]).claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    rows = status.build_rows(store, plan)
    assert [r.cell for r in rows] == ["full/0", "twin/0", "other/0"]
    assert [r.state.status for r in rows] == ["running", "running", "pending"]
    assert [r.advice for r in rows] == ["wait", "wait", "run"]
    assert status.describe_counts(rows) == "2 running, 1 pending"
    attempt.write_end("failed", "ValueError: broken")
    rows = status.build_rows(store, plan)
    assert [r.state.status for r in rows] == ["failed", "failed", "pending"]
    assert rows[0].reason == f"ValueError: broken; log: {attempt.log_path}"
    assert status.to_records(rows)[0]["log"] == str(attempt.log_path)


WAITING_JOB = Job(id="7_1", state="PENDING", restarts=1, node="", name="", reason="Priority")


@pytest.mark.parametrize(
    ("state", "job", "expected_status", "reason"),
    [
        (RunState(status=RunStatus.PENDING), WAITING_JOB, "queued", "job 7_1 waits: Priority"),
        (
            RunState(status=RunStatus.INTERRUPTED, end_reason=EndReason.PREEMPTED),
            WAITING_JOB,
            "preempted",
            "last attempt: preempted",
        ),
        (
            RunState(status=RunStatus.INTERRUPTED, end_reason=EndReason.TIMEOUT),
            WAITING_JOB,
            "queued",
            "last attempt: time limit",
        ),
        (
            RunState(status=RunStatus.PENDING, reason="not started"),
            status.UNKNOWN_JOB,
            "unknown",
            "not started",
        ),
        (RunState(status=RunStatus.COMPLETE), WAITING_JOB, "complete", ""),
    ],
)
def test_a_run_that_waits_for_its_job_has_the_status_of_the_job(
    state: RunState, job: Job, expected_status: str, reason: str
) -> None:
    row = CellRow(cell="full/0", run="a" * 16, state=state, job=job)
    assert row.status == expected_status
    assert reason in row.reason
    assert row.advice == ADVICE[row.status]


@pytest.mark.parametrize(
    ("reason", "expected_status", "advice"),
    [
        ("PartitionTimeLimit", "blocked", "cancel, then run with a smaller launcher.timeout_min"),
        ("BadConstraints", "blocked", "another launcher.constraint, gres, mem_gb"),
        ("PartitionDown", "blocked", "another launcher.partition; or wait: the partition is down"),
        ("launch failed requeued held", "blocked", "scontrol release 7_1, or run"),
        ("Resources", "queued", "wait"),
    ],
)
def test_a_job_that_does_not_start_is_no_reason_to_wait(
    reason: str, expected_status: str, advice: str
) -> None:
    job = dataclasses.replace(WAITING_JOB, reason=reason)
    row = CellRow(cell="a/0", run="a" * 16, state=RunState(status=RunStatus.PENDING), job=job)
    assert row.status == expected_status
    assert advice in row.advice
    assert row.advice.startswith("wait") == (expected_status == "queued")


def test_a_queue_that_does_not_answer_is_not_taken_for_an_empty_one(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commands = Store(tmp_path), tmp_path / "bin"
    intent = SubmissionIntent(
        token="t",
        kind="run",
        array_tasks=(("b" * 16,),),
        last_attempts={},
        submitter=process.make_claim_record({}),
    )
    store.get_sweep("s").record_intent(intent)
    commands.mkdir()
    for name in ("sbatch", "scontrol", "squeue"):
        script = "echo ClusterName=near" if name == "scontrol" else "exit 1"
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    assert [r.status for r in status.build_rows(store, plan)] == ["unknown"] * 3
    (commands / "squeue").write_text("#!/bin/sh\n")
    assert [r.status for r in status.build_rows(store, plan)] == ["pending", "pending", "queued"]


def test_reading_the_status_writes_nothing(plan: Plan, tmp_path: Path) -> None:
    status.build_rows(Store(tmp_path / "store"), plan)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_steps_speed_and_remaining_time() -> None:
    def describe(state: RunState) -> tuple[str, ...]:
        row = make_row(state)
        return (row.step_text, row.speed_text, row.time_left_text, row.phase)

    running = RunState(status=RunStatus.RUNNING, heartbeat=make_heartbeat())
    assert describe(running) == ("30/90", "2", "30 s", "training")
    assert make_row(running).seconds_left == 30
    interrupted = RunState(status=RunStatus.INTERRUPTED, heartbeat=make_heartbeat())
    assert describe(interrupted) == ("30/90", "", "", "")
    for data_wait, phase in ((0.04, "training"), (0.316, "training, 32 % waiting for data")):
        heartbeat = make_heartbeat(data_wait=data_wait)
        running = RunState(status=RunStatus.RUNNING, heartbeat=heartbeat)
        assert describe(running)[-1] == phase
        assert status.to_records([make_row(running)])[0]["data_wait"] == data_wait
    not_measured = make_heartbeat(steps_per_second=0.0, phase="opening")
    running = RunState(status=RunStatus.RUNNING, heartbeat=not_measured)
    assert describe(running) == ("30/90", "", "", "opening data")
    assert describe(RunState(status=RunStatus.RUNNING)) == ("", "", "", "starting")
    evaluating = make_heartbeat(step=90, phase="evaluating cifar10")
    running = RunState(status=RunStatus.RUNNING, heartbeat=evaluating)
    assert describe(running) == ("90/90", "", "", "evaluating cifar10")
    assert describe(RunState(status=RunStatus.PENDING)) == ("", "", "", "")
    complete = RunState(
        status=RunStatus.COMPLETE, outcome=make_outcome(), heartbeat=make_heartbeat()
    )
    assert describe(complete) == ("90", "", "", "")


def test_the_loss_is_that_of_the_last_whole_training_record(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("a" * 16)
    attempt = run.claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    assert status.read_last_loss(attempt) is None
    for step in range(2000):
        append_jsonl(attempt.metrics_path, {"phase": "train", "step": step, "loss": step / 8})
    append_jsonl(attempt.metrics_path, {"phase": "validation", "score": 0.5})
    with attempt.metrics_path.open("a") as file:
        file.write('{"phase": "train", "loss": 7')
    assert attempt.metrics_path.stat().st_size > status.METRICS_TAIL_BYTES
    assert status.read_last_loss(attempt) == 1999 / 8
    with attempt.metrics_path.open("a") as file:
        file.write('.0, "step": 2001, "loss": NaN}\n')
    assert status.read_last_loss(attempt) is None
    states = {
        "a" * 16: RunState(status=RunStatus.COMPLETE, attempt=1),
        "b" * 16: RunState(status=RunStatus.RUNNING, attempt=1),
    }
    assert status.read_losses(Store(tmp_path), states) == {}


@pytest.mark.parametrize(
    ("numerics_class", "location"),
    [
        ({"device": "cpu", "device_name": "Some CPU"}, socket.gethostname()),
        ({"device": "cuda", "device_name": "NVIDIA A100"}, f"{socket.gethostname()}, NVIDIA A100"),
    ],
)
def test_the_location_is_a_machine_and_its_gpu(
    numerics_class: dict[str, str], location: str
) -> None:
    claim_record = process.make_claim_record(numerics_class)
    running = RunState(status=RunStatus.RUNNING, claim_record=claim_record)
    assert make_row(running).location == location
    complete = RunState(status=RunStatus.COMPLETE, claim_record=claim_record)
    assert make_row(complete).location == ""


def test_the_age_of_a_heartbeat_is_shown_while_the_run_is_claimed() -> None:
    old_heartbeat = make_heartbeat(time=time.time() - 600)
    stalled = RunState(status=RunStatus.STALLED, heartbeat=old_heartbeat)
    assert make_row(stalled).heartbeat_age == "10 min"
    complete = RunState(status=RunStatus.COMPLETE, heartbeat=old_heartbeat)
    assert make_row(complete).heartbeat_age == ""
    assert make_row(RunState(status=RunStatus.RUNNING)).heartbeat_age == ""


def test_records_are_json_with_every_cell() -> None:
    rows = [
        make_row(RunState(status=s, heartbeat=make_heartbeat(), reason="why")) for s in RunStatus
    ]
    records = json.loads(json.dumps(status.to_records(rows)))
    assert [r["status"] for r in records] == list(RunStatus)
    assert all(r["advice"] == ADVICE[RunStatus(r["status"])] for r in records)
    assert records[0]["step"] == 30


def test_records_of_finished_runs_hold_what_the_table_shows() -> None:
    trained = make_outcome()
    diverged = dataclasses.replace(trained, kind="diverged", step=40, weights_digest=None)
    beat = make_heartbeat()
    states = (
        RunState(status=RunStatus.COMPLETE, outcome=trained),
        RunState(status=RunStatus.DIVERGED, outcome=diverged),
        RunState(status=RunStatus.NEEDS_EVALUATION, outcome=trained, attempt=3, heartbeat=beat),
        RunState(status=RunStatus.RUNNING, outcome=trained, attempt=3, heartbeat=beat),
        RunState(status=RunStatus.RUNNING, attempt=1, heartbeat=make_heartbeat(time=5.0)),
    )
    records = status.to_records(map(make_row, states))
    assert [(r["attempt"], r["step"], r["total_steps"]) for r in records] == [
        (2, 90, 90),
        (2, 40, None),
        (3, 90, 90),
        (3, 30, 90),
        (1, 30, 90),
    ]
    assert (records[-1]["phase"], records[-1]["last_heartbeat"]) == ("training", 5.0)


def test_replaced_training_images_are_said_beside_the_status() -> None:
    heartbeat = make_heartbeat(unreadable_images=1)
    running = make_row(RunState(status=RunStatus.RUNNING, attempt=1, heartbeat=heartbeat))
    assert running.reason.endswith("1 unreadable training image replaced")
    outcome = make_outcome(unreadable_images=3)
    complete = make_row(RunState(status=RunStatus.COMPLETE, outcome=outcome))
    assert complete.reason.endswith("3 unreadable training images replaced")
    whole = make_row(RunState(status=RunStatus.COMPLETE, outcome=make_outcome()))
    assert "unreadable" not in whole.reason
    counts = [r["unreadable_images"] for r in status.to_records([running, complete, whole])]
    assert counts == [1, 3, 0]


def test_skipped_samples_are_said_beside_the_status() -> None:
    heartbeat = make_heartbeat(unreadable_images=2, skipped_samples=1)
    running = make_row(RunState(status=RunStatus.RUNNING, attempt=1, heartbeat=heartbeat))
    expected = "1 unusable sample skipped; 2 unreadable training images replaced"
    assert running.reason.endswith(expected)
    outcome = make_outcome(skipped_samples=1049)
    complete = make_row(RunState(status=RunStatus.COMPLETE, outcome=outcome))
    assert complete.reason.endswith("1,049 unusable samples skipped")
    counts = [r["skipped_samples"] for r in status.to_records([running, complete])]
    assert counts == [1, 1049]
