"""Slurm as a witness, where its controller is silent (a real one: tests/slurm)."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps import job, process, scheduler
from sweeps.scheduler import COLUMNS, Slurm
from uniclip.errors import UserError

TOLD = '#!/bin/sh\necho "$0 $@" >> {log}\n{rest}\n'


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of a cluster whose controller does not answer; every call is a line of this file."""
    log, programs = tmp_path / "asked", tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "scontrol", "squeue", "sacct"):
        (programs / name).write_text(TOLD.format(log=log, rest="exit 1"))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    log.touch()
    return log


def calls(log: Path) -> int:
    return len(log.read_text().splitlines())


def test_a_silent_controller_is_asked_once(asked: Path) -> None:
    slurm = Slurm()
    for number in range(5):
        owner = replace(process.owner({}), job=f"{number}", cluster="far", host="elsewhere")
        assert slurm.ending(owner) == "unknown"
        with pytest.raises(UserError, match="does not answer"):
            _ = slurm.facts
    assert calls(asked) == 1


def test_one_that_falls_silent_is_asked_once_in_a_while(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = asked.parent / "bin" / "scontrol"
    program.write_text(TOLD.format(log=asked, rest="echo ClusterName = near"))
    slurm = Slurm()
    assert slurm.cluster == "near"
    program.write_text(TOLD.format(log=asked, rest="exit 1"))
    for number in range(5):
        owner = replace(process.owner({}), job=f"{number}", cluster="near", host="elsewhere")
        assert slurm.ending(owner) == "unknown"
    assert calls(asked) == 2
    monkeypatch.setattr(scheduler, "FRESH_SECONDS", 0.0)
    assert slurm.jobs() is None
    assert calls(asked) == 3


@pytest.mark.parametrize(("age", "word"), [(0.0, "alive"), (3600.0, "requeued")])
def test_a_look_at_the_queue_proves_nothing_of_who_came_after_it(
    asked: Path, age: float, word: str
) -> None:
    """The job waited when the queue was looked at; it has started and claimed since."""
    rows = {"JobArrayID": "77_0", "State": "PENDING", "RestartCnt": "0", "Name": "uniclip-x"}
    row = "".join(f"{rows.get(name, ''):<64}" for name in COLUMNS)
    programs = {
        "squeue": f"echo '{row}'",
        "scontrol": 'case "$2" in config) echo ClusterName = near;; '
        "*) echo JobState=RUNNING Restarts=0;; esac",
    }
    for name, rest in programs.items():
        (asked.parent / "bin" / name).write_text(TOLD.format(log=asked, rest=rest))
    slurm = Slurm()
    assert slurm.jobs() is not None
    mine = process.owner({})
    owner = replace(mine, job="77_0", cluster="near", host="elsewhere", time=mine.time - age)
    assert slurm.ending(owner) == word


@pytest.mark.parametrize(("left", "word"), [(200, "timed out"), (500, None)])
def test_a_time_limit_is_told_by_the_notice_that_was_asked_for(
    asked: Path, monkeypatch: pytest.MonkeyPatch, left: int, word: str | None
) -> None:
    """Slurm may be a minute early, however long the notice."""
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + left))
    said = f"echo JobState=RUNNING EndTime={end}"
    (asked.parent / "bin" / "scontrol").write_text(TOLD.format(log=asked, rest=said))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert job.reason(180 + job.EARLY_SECONDS) == word
