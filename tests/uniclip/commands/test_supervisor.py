"""Nothing that a program started outlives its worker."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.helpers import ROOT

WORKER = """
import sys
from pathlib import Path
from uniclip.commands.program import Program
folder = Path(sys.argv[1])
program = Program([sys.executable, '-S', '-c', sys.argv[2]], folder, folder, {})
print('started', flush=True)
sys.exit(program._supervisor.wait())
"""
TREE = """
import os, subprocess, sys, time
helper = "import os, time; open('helper', 'w').write(str(os.getpid())); time.sleep(600)"
subprocess.Popen([sys.executable, '-S', '-c', helper], start_new_session=True)
while not os.path.exists('helper') or not open('helper').read():
    time.sleep(0.01)
open('program', 'w').write(str(os.getpid()))
%s
"""


def start_worker(folder: Path, ending: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, str(folder), TREE % ending]
    worker = subprocess.Popen(command, cwd=ROOT)
    return worker


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)


def read_pid(path: Path) -> int:
    wait_until(lambda: path.exists() and path.read_text().isdecimal())
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def is_locked(path: Path) -> bool:
    with open(path, "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_takes_the_whole_tree_with_it(tmp_path: Path, number: int) -> None:
    worker = start_worker(tmp_path, "time.sleep(600)")
    pids = [read_pid(tmp_path / "program"), read_pid(tmp_path / "helper")]
    assert is_locked(tmp_path / ".lock")
    os.kill(worker.pid, number)
    worker.wait()
    wait_until(lambda: not any(map(is_alive, pids)))
    wait_until(lambda: not is_locked(tmp_path / ".lock"))


def test_a_killed_supervisor_takes_the_program_with_it(tmp_path: Path) -> None:
    worker = start_worker(tmp_path, "time.sleep(600)")
    program, helper = read_pid(tmp_path / "program"), read_pid(tmp_path / "helper")
    psutil.Process(program).parent().kill()
    wait_until(lambda: not is_alive(program))
    worker.wait()
    psutil.Process(helper).kill()


def test_what_a_program_leaves_behind_is_killed_at_its_end(tmp_path: Path) -> None:
    worker = start_worker(tmp_path, "raise SystemExit(5)")
    assert worker.wait() == 5
    assert not is_alive(read_pid(tmp_path / "helper"))


def test_a_second_program_waits_for_the_folder(tmp_path: Path) -> None:
    with open(tmp_path / ".lock", "a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        worker = start_worker(tmp_path, "")
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(1)
        assert not (tmp_path / "program").exists()
    assert worker.wait() == 0
    assert (tmp_path / "program").exists()
