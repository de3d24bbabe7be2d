"""Several processes on this machine: none outlives another, and a lost one is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.helpers import ROOT
from tests.helpers.command_line import wait_until

PROGRAM = """
import os, sys, time
from pathlib import Path
from sweeps import rank_processes
rank_processes.GRACE_SECONDS = 0.0

class Ranks(rank_processes.RankProcesses):
    def _serve_rendezvous(self):  # nothing here needs torch
        return self._listener

folder = Path(sys.argv[1])

def run_rank():
    (folder / os.environ["RANK"]).write_text(f"{os.getpid()} {os.environ['MASTER_PORT']}")
    RANK

def wait_for_ranks():
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.02)

def work():
    wait_for_ranks()
    WORK

ranks = Ranks(3, run_rank)
ranks.report_error = lambda message: print("reported:", message)
ranks.run(work)
print("done", os.environ["WORLD_SIZE"], os.environ["RANK"])
"""


def start(
    folder: Path, rank: str = "time.sleep(60)", work: str = "time.sleep(60)"
) -> subprocess.Popen[str]:
    """Start a program of three processes, with a line that the others and that rank 0 run."""
    program = PROGRAM.replace("    RANK", f"    {rank}").replace("    WORK", f"    {work}")
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_alive(pid: int) -> bool:
    """Return whether a process runs."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def read_ranks(folder: Path) -> list[tuple[int, int]]:
    """Return process id and port of each rank but 0."""
    texts = [path.read_text().split() for path in sorted(folder.iterdir())]
    return [(int(words[0]), int(words[1])) for words in texts if len(words) == 2]


def test_processes_that_have_done_their_work_end(tmp_path: Path) -> None:
    process = start(tmp_path, "pass", "pass")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "done 3 0\n", "")
    (_, port), (_, same_port) = read_ranks(tmp_path)
    assert port == same_port
    assert not any(is_alive(pid) for pid, _ in read_ranks(tmp_path))


@pytest.mark.parametrize(
    ("rank", "work", "message", "reported"),
    [
        (
            "if os.environ['RANK'] == '2': raise ValueError('bad\\nrow')\n    time.sleep(60)",
            "time.sleep(60)",
            "the process of rank 2 ended: ValueError: bad row",
            True,
        ),
        (
            "if os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\n    time.sleep(60)",
            "time.sleep(60)",
            "the process of rank 1 ended: it was killed by signal 9",
            False,
        ),
        ("time.sleep(60)", "raise KeyError('x')", "KeyError: 'x'", False),
    ],
)
def test_all_processes_end_with_the_first_that_ends_too_early(
    tmp_path: Path, rank: str, work: str, message: str, reported: bool
) -> None:
    process = start(tmp_path, rank, work)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == message
    assert output == (f"reported: {message}\n" if reported else "")
    wait_until(lambda: not any(is_alive(pid) for pid, _ in read_ranks(tmp_path)))


def test_no_process_outlives_rank_zero(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_until(lambda: len(read_ranks(tmp_path)) == 2)
    pids = [pid for pid, _ in read_ranks(tmp_path)]
    assert all(map(is_alive, pids))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    wait_until(lambda: not any(map(is_alive, pids)))
