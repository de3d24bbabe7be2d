"""A process has exited only if host, boot, pid and start time together prove it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from sweeps.claims import process
from uniclip.identity import ROOT
from uniclip.store import ClaimRecord


def record_of(pid: int) -> ClaimRecord:
    """The claim record of process `pid`."""
    start = process.read_start_time(pid)
    assert start is not None
    return dataclasses.replace(process.make_claim_record({}), pid=pid, start_ticks=start)


def test_this_process_is_alive() -> None:
    record = process.make_claim_record({"device": "cpu"})
    assert record.pid == os.getpid()
    assert record.numerics_class == {"device": "cpu"}
    assert record.start_ticks > 0
    assert not record.forced
    assert record.uid == os.getuid()
    assert abs(record.time - time.time()) < 60
    assert process.has_exited(record) is False


def test_the_start_time_is_in_clock_ticks_since_boot() -> None:
    ticks = process.read_start_time(os.getpid())
    assert ticks is not None
    since_boot = ticks / os.sysconf("SC_CLK_TCK")
    assert abs(psutil.Process().create_time() - (psutil.boot_time() + since_boot)) < 2


def test_a_killed_child_has_exited_before_and_after_it_is_reaped(
    child: subprocess.Popen[bytes],
) -> None:
    record = record_of(child.pid)
    assert process.has_exited(record) is False
    child.send_signal(signal.SIGKILL)
    deadline = time.time() + 10
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE and time.time() < deadline:
        time.sleep(0.01)
    assert psutil.pid_exists(child.pid), "a zombie"
    assert process.has_exited(record) is True
    child.wait()
    assert process.has_exited(record) is True


def test_a_stopped_process_is_alive(child: subprocess.Popen[bytes]) -> None:
    record = record_of(child.pid)
    child.send_signal(signal.SIGSTOP)
    time.sleep(0.05)
    assert process.has_exited(record) is False


HIDDEN = """
import dataclasses, os, signal, subprocess, sys, time
subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"], check=True)
from sweeps.claims import process
target = os.fork()
if target == 0:
    time.sleep(600)
start = process.read_start_time(target)
record = dataclasses.replace(process.make_claim_record({}), pid=target, start_ticks=start)
requests, answers = os.pipe(), os.pipe()
if os.fork() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    for _ in range(2):
        os.write(answers[1], f"{process.has_exited(record)} ".encode())
        os.read(requests[0], 1)
    os._exit(0)
texts = [os.read(answers[0], 9)]
os.kill(target, signal.SIGKILL)
os.waitpid(target, 0)
os.write(requests[1], b".")
texts.append(os.read(answers[0], 9))
os.write(requests[1], b".")
os.wait()
print(b"".join(texts).decode())
"""


def test_a_hidden_process_has_not_exited() -> None:
    """A process of another user with hidepid=2; once it is dead, this is known."""
    namespace_command = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*namespace_command, "true"], capture_output=True).returncode != 0:
        pytest.skip("only root may make namespaces and be another user")
    completed = subprocess.run(
        [*namespace_command, sys.executable, "-c", HIDDEN], capture_output=True, text=True, cwd=ROOT
    )
    assert completed.stdout.split() == ["None", "True"], completed.stderr


def test_a_reused_pid_is_another_process(child: subprocess.Popen[bytes]) -> None:
    record = record_of(child.pid)
    assert (
        process.has_exited(dataclasses.replace(record, start_ticks=record.start_ticks - 100))
        is True
    )
    assert process.has_exited(dataclasses.replace(record, start_ticks=0)) is True


def test_nothing_is_known_about_another_host() -> None:
    record = process.make_claim_record({})
    assert process.has_exited(dataclasses.replace(record, host="another-host")) is None
    assert process.has_exited(dataclasses.replace(record, host="another-host", pid=2**22)) is None


def test_after_a_reboot_every_process_has_exited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "read_machine_id", lambda: "3d1219")
    record = process.make_claim_record({})
    namespace = record.boot_id.split("/")[1]
    assert (
        process.has_exited(dataclasses.replace(record, boot_id=f"an-earlier-boot/{namespace}"))
        is True
    )


@pytest.mark.parametrize(
    ("current_id", "recorded_id"), [("3d1219", "another"), ("3d1219", ""), ("", "")]
)
def test_nothing_is_known_about_another_machine_of_that_name(
    current_id: str, recorded_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The boot id of another machine proves nothing."""
    monkeypatch.setattr(process, "read_machine_id", lambda: current_id)
    theirs = dataclasses.replace(
        process.make_claim_record({}), boot_id="other/pid:[1]", machine_id=recorded_id
    )
    assert process.has_exited(theirs) is None


def test_nothing_is_known_about_another_container_on_this_host() -> None:
    record = process.make_claim_record({})
    boot = record.boot_id.split("/")[0]
    assert (
        process.has_exited(dataclasses.replace(record, boot_id=f"{boot}/pid:[1]", pid=2**22))
        is None
    )


def test_a_name_with_spaces_and_parentheses_does_not_confuse() -> None:
    code = (
        "import ctypes, sys, time\n"
        "ctypes.CDLL(None).prctl(15, b'a) Z (b 1', 0, 0, 0)\n"
        "print('named', flush=True)\ntime.sleep(600)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"named\n"
        assert process.has_exited(record_of(child.pid)) is False
    finally:
        child.kill()
        child.communicate()


def test_the_slurm_job_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    record = process.make_claim_record({}, forced=True)
    assert (record.job_id, record.restart_count, record.forced) == ("77", 2, True)
