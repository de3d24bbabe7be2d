"""A private Slurm on this machine: two nodes with two fake GPUs each, and two partitions.

Jobs of the partition `urgent` preempt those of `normal`, which are requeued: they get SIGCONT and
SIGTERM, or the signal of `--signal`, then SIGKILL after `GraceTime` seconds. There is no accounting
database, so `sacct` fails; `sacct -c` and `squeue -t all` show jobs that have ended.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.helpers.slurm_daemons import NODES

HERE = Path(__file__).parent
INSTALL = "apt-get install -y slurm-wlm munge"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
GRACE_SECONDS = 30
CREDENTIAL_SECONDS = 2.0
"""Seconds after which slurmd accepts credentials again that follow a requeue."""
TIMEOUT_SECONDS = 300.0
"""Seconds after which a step is taken to hang, also on a busy machine."""

CONF = """\
ClusterName=uniclip
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=200000,batch_sched_delay=1
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
SlurmctldTimeout=30
SlurmdTimeout=60
ReturnToService=1
InactiveLimit=0
GresTypes=gpu
"""
SETTINGS = {
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    "JobRequeue": 1,
    "MaxArraySize": 1001,
    "MaxJobCount": 10000,
    "KillWait": 5,
    "MinJobAge": 3600,
}
"""Settings that a test may change."""

GRES = """\
NodeName={0} Name=gpu Count=2 File=/dev/null,/dev/zero
NodeName={1} Name=gpu Count=2 File=/dev/full,/dev/random
"""
NODE = "NodeName={} NodeHostname=localhost NodeAddr=127.0.0.1 Port={} CPUs=8 RealMemory=16000 "
PARTITION = "PartitionName={} Nodes=ALL MaxTime={} DefaultTime=10 State=UP "


def find_missing_programs() -> list[str]:
    """Return the programs of Slurm that are not installed."""
    search = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    return [program for program in PROGRAMS if shutil.which(program, path=search) is None]


def require_slurm() -> None:
    """Skip the test if Slurm is not installed; fail if UNICLIP_SLURM=required."""
    if missing_programs := find_missing_programs():
        message = f"not installed: {', '.join(missing_programs)}; {INSTALL}"
        if os.environ.get("UNICLIP_SLURM") == "required":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)


def free_ports(count: int) -> list[int]:
    """Return ports that are not in use."""
    with ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(count)]
        for socket_ in sockets:
            socket_.bind(("127.0.0.1", 0))
        return [socket_.getsockname()[1] for socket_ in sockets]


class Cluster:
    """A private Slurm: `start` it, use it through `environment`, and `close` it."""

    nodes = NODES

    def __init__(
        self,
        folder: Path,
        *,
        grace: int = GRACE_SECONDS,
        limit: str = "INFINITE",
        **settings: object,
    ) -> None:
        unknown = set(settings) - set(SETTINGS)
        assert not unknown, f"unknown settings: {unknown}"
        self.folder = folder
        self.stopped_daemons: set[str] = set()
        self.conf = folder / "slurm.conf"
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.conf),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin",
        }
        self._write({**SETTINGS, **settings}, grace, limit)

    def _write(self, settings: dict[str, object], grace: int, limit: str) -> None:
        import getpass

        for name in ("state", "spool", "log", "munge"):
            (self.folder / name).mkdir(parents=True, mode=0o755)
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        port, *ports = free_ports(1 + len(NODES))
        lines = CONF.format(port=port, user=getpass.getuser(), folder=self.folder).splitlines()
        lines += [f"{name}={value}" for name, value in settings.items()]
        lines += [NODE.format(n, p) + "Gres=gpu:2 State=UNKNOWN" for n, p in zip(NODES, ports)]
        normal = f"Default=YES PriorityTier=1 GraceTime={grace}"
        lines.append(PARTITION.format("normal", limit) + normal)
        lines.append(PARTITION.format("urgent", "INFINITE") + "PriorityTier=10 PreemptMode=OFF")
        self.conf.write_text("\n".join(lines) + "\n")
        (self.folder / "gres.conf").write_text(GRES.format(*NODES))

    def start(self) -> Cluster:
        """Start the daemons and wait until every node is idle."""
        self.keeper = subprocess.Popen(
            [sys.executable, str(HERE / "slurm_daemons.py"), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
            text=True,
        )
        try:
            self.wait_idle()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End every job and every daemon; return when none is left."""
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        self.keeper.wait()

    def start_daemon(self, name: str) -> None:
        """Start `slurmctld`, or the slurmd of a node by its name; wait until slurmctld answers."""
        self._send(f"start {name}")
        self.stopped_daemons.discard(name)
        self.wait_until(lambda: self.run_command("scontrol", "ping").returncode == 0, "slurmctld")

    def stop_daemon(self, name: str) -> None:
        """End `slurmctld`, which saves its state, or the slurmd of a node; jobs continue."""
        self._send(f"stop {name}")
        self.stopped_daemons.add(name)

    def _send(self, line: str) -> None:
        assert self.keeper.stdin is not None
        assert self.keeper.stdout is not None
        print(line, file=self.keeper.stdin, flush=True)
        assert self.keeper.stdout.readline() == "done\n", f"slurm_daemons.py ended: {line}"

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm."""
        return subprocess.run(
            arguments, env=self.environment, capture_output=True, text=True, timeout=120
        )

    def command(self, *arguments: str) -> str:
        """Run a command of Slurm that must succeed; return its output."""
        completed = self.run_command(*arguments)
        assert completed.returncode == 0, f"{' '.join(arguments)}: {completed.stderr}"
        return completed.stdout

    def trap(self, folder: Path, program: str, script: str) -> str:
        """Return a PATH with a shell script in place of a program of Slurm, which is REAL in it."""
        real = shutil.which(program, path=self.environment["PATH"])
        assert real is not None
        folder.mkdir()
        (folder / program).write_text(f"#!/bin/sh\n{script.replace('REAL', real)}")
        (folder / program).chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"

    def sbatch(self, script: str, *options: str) -> str:
        """Submit a shell script and return the id of its job; see `output`."""
        output_option = f"--output={self.folder}/log/%j.out"
        wrap = f"--wrap={script}"
        output = self.command("sbatch", "--parsable", output_option, *options, wrap)
        return output.strip().split(";")[0]

    def output(self, job: str) -> str:
        """Return the output of a job that `sbatch` submitted."""
        path = self.folder / "log" / f"{job}.out"
        return path.read_text() if path.exists() else ""

    def squeue(self) -> dict[str, str]:
        """Return job id -> state, ended jobs included; an array task is `<job>_<index>`."""
        output = self.command("squeue", "-h", "-r", "-t", "all", "-o", "%i|%T")
        return dict(line.split("|") for line in output.splitlines())

    def active(self) -> dict[str, str]:
        """Return job id -> state, of jobs that are pending, running or completing."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
        return {job: state for job, state in self.squeue().items() if state not in over}

    def job(self, job: str) -> dict[str, str]:
        """Return the fields that `scontrol show job` prints."""
        fields = self.command("scontrol", "-o", "show", "job", job).split()
        return dict(field.split("=", 1) for field in fields if "=" in field)

    def set_down(self, node: str) -> None:
        """Set a node down; its jobs are requeued."""
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def resume(self, node: str) -> None:
        """Set a node up again."""
        self.command("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def release_holds(self) -> None:
        """Let requeued jobs start now instead of two minutes later.

        They do not start in the second in which they were requeued: slurmd has revoked the
        credentials of that second, and the launch would fail.
        """
        output = self.command("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i|%r|%V")
        for job, reason, since in (line.split("|") for line in output.splitlines()):
            if reason == "BeginTime":
                requeued = time.mktime(time.strptime(since, "%Y-%m-%dT%H:%M:%S"))
                time.sleep(max(requeued + CREDENTIAL_SECONDS - time.time(), 0))
                self.command("scontrol", "update", f"JobId={job}", "StartTime=now")

    def urgent(self, seconds: float, node: str | None = None) -> str:
        """Submit a job that preempts those on a node; return its id."""
        where = [f"--nodelist={node}"] if node else []
        return self.sbatch(f"sleep {seconds}", "--partition=urgent", "--exclusive", *where)

    def processes(self, job: str) -> list[int]:
        """Return the pids of a job's processes, its batch script first."""
        processes = self._children(lambda p: p.environ().get("SLURM_JOB_ID") == job)
        return [p.pid for p in sorted(processes, key=lambda p: (p.create_time(), p.pid))]

    def keepers(self) -> list[int]:
        """Return the pids of slurmstepd: one for each job step that has not ended."""
        return [p.pid for p in self._children(lambda p: p.name().startswith("slurmstepd"))]

    def _children(self, matches: Callable[[psutil.Process], bool]) -> Iterator[psutil.Process]:
        """Yield the daemons' child processes that satisfy a condition."""
        for process in psutil.Process(self.keeper.pid).children(recursive=True):
            with suppress(psutil.Error):
                if matches(process):
                    yield process

    @staticmethod
    def kill_pid(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process if it exists."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def wait_until(
        self, holds: Callable[[], bool], what: str, seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """Wait for a condition; on a timeout, fail with the end of slurmctld's log."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline or self.keeper.poll() is not None:
                log = self.folder / "log" / "slurmctld.log"
                output = log.read_text().splitlines()[-20:] if log.exists() else []
                raise AssertionError("\n".join([f"timeout: {what}", *output]))
            time.sleep(0.1)

    def wait_state(self, job: str, *states: str) -> None:
        """Wait until a job is in one of these states."""
        self.wait_until(lambda: self.squeue().get(job) in states, f"{job} {states}")

    def wait_idle(self) -> None:
        """Wait until every node is idle and no job is active."""
        self.wait_until(self._idle, "idle nodes")

    def _idle(self) -> bool:
        completed = self.run_command("sinfo", "-h", "-N", "-o", "%T")
        states = completed.stdout.split()
        idle = completed.returncode == 0 and bool(states) and set(states) == {"idle"}
        return idle and not self.active()

    def clear(self) -> None:
        """Start stopped daemons, cancel every job, set every node up; wait until all are idle."""
        for name in sorted(self.stopped_daemons):
            self.start_daemon(name)
        self.command("scancel", "--full", f"--user={os.getuid()}")
        states = self.command("sinfo", "-h", "-N", "-o", "%N|%T").splitlines()
        for node, state in {tuple(line.split("|")) for line in states}:
            if state.startswith(("down", "drain")):
                self.resume(node)
        self.wait_idle()
