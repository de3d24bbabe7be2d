"""Slurm as a witness, where its controller is silent (a real one: tests/slurm)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps import process, scheduler
from sweeps.scheduler import Slurm
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
