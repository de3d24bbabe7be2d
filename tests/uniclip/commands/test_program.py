"""A program as a child process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from uniclip.commands.program import (
    PACKAGE_ROOT,
    Program,
    ProgramEnd,
    build_environment,
    run_program,
)

PYTHON = [sys.executable, "-S", "-c"]


def run(folder: Path, code: str, **options: object) -> ProgramEnd:
    values = {"on_poll": lambda: None, "stop": lambda: False, "grace_seconds": 30.0, **options}
    with open(folder / "log", "ab") as log:
        return run_program(
            [*PYTHON, code], folder / "out", folder, {"MORE": "1"}, log=log, **values
        )  # type: ignore[arg-type]


def test_status_output_folder_and_environment(tmp_path: Path) -> None:
    end = run(tmp_path, "import os; print(os.getcwd(), os.environ['MORE']); raise SystemExit(7)")
    assert end == ProgramEnd(exit_status=7, was_stopped=False)
    assert (tmp_path / "log").read_text() == f"{tmp_path} 1\n"


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    with open(tmp_path / "log", "ab") as log:
        end = run_program(
            ["/nonexistent/program"], tmp_path / "out", tmp_path, {}, log=log,
            on_poll=lambda: None, stop=lambda: False, grace_seconds=1,
        )  # fmt: skip
    assert end.exit_status == 127
    assert "/nonexistent/program: No such file" in (tmp_path / "log").read_text()


def test_a_working_folder_that_does_not_exist(tmp_path: Path) -> None:
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Program(["true"], tmp_path / "out", tmp_path / "nowhere", {})
    assert os.listdir("/proc/self/fd") == descriptors


def test_a_stopped_program_may_write_its_checkpoint(tmp_path: Path) -> None:
    code = """
import signal, time
def save(*_):
    open('saved', 'w').close()
    raise SystemExit(0)
signal.signal(signal.SIGTERM, save)
open('ready', 'w').close()
time.sleep(600)
"""
    end = run(tmp_path, code, stop=(tmp_path / "ready").exists)
    assert end == ProgramEnd(exit_status=0, was_stopped=True)
    assert (tmp_path / "saved").exists()


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('ready', 'w').close()
time.sleep(600)
"""
    end = run(tmp_path, code, stop=(tmp_path / "ready").exists, grace_seconds=0.1)
    assert end == ProgramEnd(exit_status=137, was_stopped=True)


def test_variables_of_workers_are_not_passed_on() -> None:
    variables = {
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join([str(PACKAGE_ROOT), "/mine"]),
        "HOME": "/h",
    }
    assert build_environment(variables) == {"PYTHONPATH": "/mine", "HOME": "/h"}
    assert build_environment({"PYTHONPATH": str(PACKAGE_ROOT)}) == {}
