"""Queries to Slurm, with a controller that does not answer (a real one: tests/slurm)."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps import slurm as scheduler
from sweeps.claims import process
from sweeps.slurm import SQUEUE_COLUMNS, Liveness, Slurm
from uniclip.errors import UserError
from uniclip.store import ClaimRecord, EndReason

LOGGED_COMMAND = '#!/bin/sh\necho "$0 $@" >> {log}\n{rest}\n'


@pytest.fixture
def call_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stub commands of a cluster whose controller does not answer; calls are logged here."""
    log, programs = tmp_path / "asked", tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "scontrol", "squeue", "sacct"):
        (programs / name).write_text(LOGGED_COMMAND.format(log=log, rest="exit 1"))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    log.touch()
    return log


def set_commands(call_log: Path, **programs: str) -> None:
    """Let these commands run these shell lines from now on."""
    for name, rest in programs.items():
        (call_log.parent / "bin" / name).write_text(LOGGED_COMMAND.format(log=call_log, rest=rest))


def remote_claim(job: str, **changes: Any) -> ClaimRecord:
    """The claim of an attempt on another machine, in a job of this cluster."""
    claim_record = process.make_claim_record({})
    changes = {"time": claim_record.time - 3600, **changes}
    return replace(claim_record, job_id=job, cluster="near", host="elsewhere", **changes)


def count_calls(log: Path) -> int:
    return len(log.read_text().splitlines())


def test_a_controller_that_does_not_answer_is_queried_once(call_log: Path) -> None:
    slurm = Slurm()
    for number in range(5):
        claim_record = replace(
            process.make_claim_record({}), job_id=f"{number}", cluster="far", host="elsewhere"
        )
        assert slurm.find_end_reason(claim_record) == Liveness.UNKNOWN
        with pytest.raises(UserError, match="does not answer"):
            _ = slurm.config
    assert count_calls(call_log) == 1


def test_a_controller_that_stops_answering_is_queried_rarely(
    call_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = call_log.parent / "bin" / "scontrol"
    program.write_text(LOGGED_COMMAND.format(log=call_log, rest="echo ClusterName = near"))
    slurm = Slurm()
    assert slurm.cluster == "near"
    program.write_text(LOGGED_COMMAND.format(log=call_log, rest="exit 1"))
    for number in range(5):
        claim_record = replace(
            process.make_claim_record({}), job_id=f"{number}", cluster="near", host="elsewhere"
        )
        assert slurm.find_end_reason(claim_record) == Liveness.UNKNOWN
    assert count_calls(call_log) == 2
    monkeypatch.setattr(scheduler, "QUEUE_CACHE_SECONDS", 0.0)
    assert slurm.list_jobs() is None
    assert count_calls(call_log) == 3


@pytest.mark.parametrize(
    ("age_seconds", "expected"), [(0.0, Liveness.ALIVE), (3600.0, EndReason.REQUEUED)]
)
def test_a_queue_read_before_a_claim_proves_nothing_about_it(
    call_log: Path, age_seconds: float, expected: EndReason | Liveness
) -> None:
    """The job was pending when squeue ran; it has started and claimed since."""
    rows = {"JobArrayID": "77_0", "State": "PENDING", "RestartCnt": "0", "Name": "uniclip-x"}
    row = "".join(f"{rows.get(name, ''):<64}" for name in SQUEUE_COLUMNS)
    scontrol_lines = 'case "$2" in config) echo ClusterName = near;; '
    scontrol_lines += "*) echo JobState=RUNNING Restarts=0;; esac"
    set_commands(call_log, squeue=f"echo '{row}'", scontrol=scontrol_lines)
    slurm = Slurm()
    assert slurm.list_jobs() is not None
    assert slurm.find_end_reason(remote_claim("77_0", time=time.time() - age_seconds)) == expected


def test_jobs_in_hidden_partitions_are_listed_whatever_is_exported(
    call_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """squeue shows those only with -a, and none that its variables filter out."""
    monkeypatch.setenv("SQUEUE_PARTITION", "other")
    monkeypatch.setenv("SQUEUE_ALL", "1")
    set_commands(call_log, squeue="env | grep ^SQUEUE >> " + str(call_log))
    assert Slurm().list_jobs() is None  # grep found nothing
    (call,) = call_log.read_text().splitlines()
    assert {"--me", "-a", "-r"} <= set(call.split())


@pytest.mark.parametrize(
    "work_dir", ["/home/a JobState=FAILED/x", "/a=b/EndTime=1", "/plain", "/x JobId=9 y"]
)
def test_the_path_of_a_job_is_not_taken_for_its_fields(work_dir: str) -> None:
    line = (
        f"JobId=7 JobName=uniclip-x JobState=RUNNING EndTime=2026-01-01T00:00:00 WorkDir={work_dir}"
    )
    job_fields = scheduler.parse_job(f"{line}/st\n")
    assert [job_fields[name] for name in ("JobId", "JobState", "EndTime")] == [
        "7",
        "RUNNING",
        "2026-01-01T00:00:00",
    ]


def test_output_that_is_not_utf8_is_read(call_log: Path) -> None:
    """Other jobs of the user may have any name."""
    row = "".join(f"{x:<64}" for x in ("7", "PENDING", "0", "", "caf\\351", "Resources"))
    set_commands(call_log, squeue=f"printf '{row}\\n'")
    jobs = Slurm().list_jobs()
    assert jobs is not None
    assert [job.id for job in jobs] == ["7"]


# ---- how a job ended -----------------------------------------------------------------------------

PURGED = """\
if [ "$2" = config ]; then
  printf 'ClusterName             = near\\nPrivateData             = {private}\\n'
else
  echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1
fi"""
"""scontrol of a controller that does not know the job, or reports so."""


@pytest.mark.parametrize(
    ("state", "restarts", "expected"),
    [
        (None, 0, Liveness.UNKNOWN),
        ("RUNNING", 1, Liveness.ALIVE),
        ("COMPLETING", 1, Liveness.ALIVE),
        ("SUSPENDED", 1, Liveness.ALIVE),
        ("RUNNING", 2, EndReason.RESTARTED),
        ("PENDING", 2, EndReason.RESTARTED),
        ("COMPLETED", 2, EndReason.RESTARTED),
        ("PENDING", 1, EndReason.REQUEUED),
        ("REQUEUED", 1, EndReason.REQUEUED),
        ("PREEMPTED", 1, EndReason.PREEMPTED),
        ("TIMEOUT", 1, EndReason.TIMEOUT),
        ("DEADLINE", 1, EndReason.TIMEOUT),
        ("OUT_OF_MEMORY", 1, EndReason.OUT_OF_MEMORY),
        ("NODE_FAIL", 1, EndReason.NODE_FAIL),
        ("BOOT_FAIL", 1, EndReason.NODE_FAIL),
        ("CANCELLED", 1, EndReason.CANCELLED),
        ("COMPLETED", 1, EndReason.DIED),
        ("FAILED", 1, EndReason.DIED),
        ("FORGOTTEN", 0, EndReason.DIED),
    ],
)
def test_the_state_of_a_job_determines_how_its_attempt_ended(
    state: str | None, restarts: int, expected: EndReason | Liveness
) -> None:
    """For the attempt of the second start, whose restart count is 1."""
    assert (
        scheduler.classify_state(state, restarts, remote_claim("77", restart_count=1)) == expected
    )


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("OUT_OF_MEMORY", EndReason.OUT_OF_MEMORY),
        ("CANCELLED by 1000", EndReason.CANCELLED),
        ("NODE_FAIL", EndReason.NODE_FAIL),
        ("TIMEOUT", EndReason.TIMEOUT),
        ("COMPLETED", EndReason.DIED),
        ("RUNNING", Liveness.ALIVE),
        ("", EndReason.DIED),
    ],
)
def test_accounting_has_jobs_that_the_controller_has_purged(
    call_log: Path, printed: str, expected: EndReason | Liveness
) -> None:
    """`sacct -n -X -P` prints one line per job, and nothing for an unknown job."""
    command = f"printf '{printed}\\n'" if printed else "true"
    set_commands(call_log, squeue="true", scontrol=PURGED.format(private="none"), sacct=command)
    assert Slurm().find_end_reason(remote_claim("77_3")) == expected
    (call,) = [c for c in call_log.read_text().splitlines() if "/sacct " in c]
    assert call.split()[1:] == "-n -X -P -j 77_3 -o State".split()


@pytest.mark.parametrize(
    ("private", "whose", "expected"),
    [
        ("none", 1, EndReason.DIED),
        ("accounts,usage", 1, EndReason.DIED),
        ("jobs", 0, EndReason.DIED),
        ("jobs", 1, Liveness.UNKNOWN),
        ("accounts,jobs,usage", 1, Liveness.UNKNOWN),
        ("jobs", None, Liveness.UNKNOWN),
    ],
)
def test_a_job_that_may_be_hidden_is_not_taken_for_purged(
    call_log: Path, private: str, whose: int | None, expected: EndReason | Liveness
) -> None:
    """whose: 0 for a job of this user, 1 for another user; None if the claim has no user id."""
    set_commands(call_log, squeue="true", scontrol=PURGED.format(private=private))
    uid = None if whose is None else os.getuid() + whose
    assert Slurm().find_end_reason(remote_claim("77", uid=uid)) == expected


def test_a_hidden_job_that_accounting_shows_has_ended(call_log: Path) -> None:
    set_commands(
        call_log, squeue="true", scontrol=PURGED.format(private="jobs"), sacct="echo TIMEOUT"
    )
    assert Slurm().find_end_reason(remote_claim("77", uid=os.getuid() + 1)) == EndReason.TIMEOUT
