"""A private Slurm on this machine: two nodes, two make-believe GPUs each, two partitions.

Jobs of the partition `urgent` preempt those of `normal`, which are requeued: they get SIGCONT and
SIGTERM, or the signal of `--signal`, then SIGKILL after `GraceTime` seconds. There is no accounting
database, so `sacct` fails; `sacct -c` and `squeue -t all` know what ended.
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
REVOKED_SECONDS = 2.0
PATIENCE = 600.0
"""Seconds after which something is taken to hang, on a machine that does much else."""

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
"""What a test may want otherwise."""

GRES = """\
NodeName={0} Name=gpu Count=2 File=/dev/null,/dev/zero
NodeName={1} Name=gpu Count=2 File=/dev/full,/dev/random
"""
NODE = "NodeName={} NodeHostname=localhost NodeAddr=127.0.0.1 Port={} CPUs=8 RealMemory=16000 "
PARTITION = "PartitionName={} Nodes=ALL MaxTime={} DefaultTime=10 State=UP "


def lacking() -> list[str]:
    """The programs of Slurm that this machine has not."""
    search = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    return [program for program in PROGRAMS if shutil.which(program, path=search) is None]


def require_slurm() -> None:
    """Skip where Slurm is not installed; fail instead where UNICLIP_SLURM=required."""
    if missing := lacking():
        said = f"no {', '.join(missing)} here: {INSTALL}"
        if os.environ.get("UNICLIP_SLURM") == "required":
            pytest.fail(said, pytrace=False)
        pytest.skip(said)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as open_:
        sockets = [open_.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Cluster:
    """A Slurm of our own; `start` it, use it through `environment`, `close` it."""

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
        assert not unknown, f"no settings of the cluster: {unknown}"
        self.folder = folder
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
        """End every job and every daemon; returns when none is left."""
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        self.keeper.wait()

    def start_daemon(self, name: str) -> None:
        """Start `slurmctld`, and wait for its answer, or the slurmd of a node by its name."""
        self._tell(f"start {name}")
        self.wait_until(lambda: self.asked("scontrol", "ping").returncode == 0, "slurmctld")

    def stop_daemon(self, name: str) -> None:
        """End `slurmctld`, its state saved, or the slurmd of a node; jobs live on."""
        self._tell(f"stop {name}")

    def _tell(self, line: str) -> None:
        assert self.keeper.stdin is not None
        assert self.keeper.stdout is not None
        print(line, file=self.keeper.stdin, flush=True)
        assert self.keeper.stdout.readline() == "done\n", f"the keeper died: {line}"

    def asked(self, *words: str) -> subprocess.CompletedProcess[str]:
        """How a command of Slurm's went."""
        return subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=120
        )

    def command(self, *words: str) -> str:
        """What a command of Slurm's printed; fails where it does."""
        done = self.asked(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def trap(self, folder: Path, program: str, script: str) -> str:
        """A PATH on which a shell script stands before a program of Slurm's, REAL to it."""
        real = shutil.which(program, path=self.environment["PATH"])
        assert real is not None
        folder.mkdir()
        (folder / program).write_text(f"#!/bin/sh\n{script.replace('REAL', real)}")
        (folder / program).chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"

    def sbatch(self, script: str, *options: str) -> str:
        """Submit a shell script; the id of its job. Its output goes to the cluster's folder."""
        output = f"--output={self.folder}/log/%j.out"
        wrap = f"--wrap={script}"
        said = self.command("sbatch", "--parsable", output, *options, wrap)
        return said.strip().split(";")[0]

    def output(self, job: str) -> str:
        """What a job of `sbatch` has printed."""
        path = self.folder / "log" / f"{job}.out"
        return path.read_text() if path.exists() else ""

    def squeue(self) -> dict[str, str]:
        """Job -> its state, also of jobs that ended; an element of an array is `<job>_<index>`."""
        said = self.command("squeue", "-h", "-r", "-t", "all", "-o", "%i|%T")
        return dict(line.split("|") for line in said.splitlines())

    def active(self) -> dict[str, str]:
        """Job -> its state, of those that wait, run, or are about to end."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
        return {job: state for job, state in self.squeue().items() if state not in over}

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says: field -> value."""
        words = self.command("scontrol", "-o", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def set_down(self, node: str) -> None:
        """Declare a node dead; its jobs are requeued."""
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def resume(self, node: str) -> None:
        """Take a node back."""
        self.command("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def release_holds(self) -> None:
        """Let requeued jobs start now instead of when Slurm would.

        But not in the second in which they were requeued: slurmd has revoked what was given out in
        it, and the job would end as one that cannot be started.
        """
        said = self.command("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i|%r|%V")
        for job, reason, since in (line.split("|") for line in said.splitlines()):
            if reason == "BeginTime":
                requeued = time.mktime(time.strptime(since, "%Y-%m-%dT%H:%M:%S"))
                time.sleep(max(requeued + REVOKED_SECONDS - time.time(), 0))
                self.command("scontrol", "update", f"JobId={job}", "StartTime=now")

    def urgent(self, seconds: float, node: str | None = None) -> str:
        """A job that wants a node for itself, and preempts who is there; its id."""
        where = [f"--nodelist={node}"] if node else []
        return self.sbatch(f"sleep {seconds}", "--partition=urgent", "--exclusive", *where)

    def processes(self, job: str) -> list[int]:
        """Pids of what a job has started on its nodes, its batch script first."""
        found = self._children(lambda p: p.environ().get("SLURM_JOB_ID") == job)
        return [p.pid for p in sorted(found, key=lambda p: (p.create_time(), p.pid))]

    def keepers(self) -> list[int]:
        """Pids of slurmstepd: of jobs that the nodes have not seen the end of."""
        return [p.pid for p in self._children(lambda p: p.name().startswith("slurmstepd"))]

    def _children(self, wanted: Callable[[psutil.Process], bool]) -> Iterator[psutil.Process]:
        """Processes that the daemons have started, but for those that end meanwhile."""
        for process in psutil.Process(self.keeper.pid).children(recursive=True):
            with suppress(psutil.Error):
                if wanted(process):
                    yield process

    @staticmethod
    def kill_pid(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process, if it is there."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass

    def wait_until(self, true: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Wait until something is true; fails with the controller's last words."""
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline or self.keeper.poll() is not None:
                log = self.folder / "log" / "slurmctld.log"
                said = log.read_text().splitlines()[-20:] if log.exists() else []
                raise AssertionError("\n".join([f"waited in vain: {what}", *said]))
            time.sleep(0.1)

    def wait_state(self, job: str, *states: str) -> None:
        """Wait until a job is in one of these states."""
        self.wait_until(lambda: self.squeue().get(job) in states, f"{job} {states}")

    def wait_idle(self) -> None:
        """Wait until every node is idle and no job waits or runs."""
        self.wait_until(self._idle, "idle nodes")

    def _idle(self) -> bool:
        done = self.asked("sinfo", "-h", "-N", "-o", "%T")
        states = done.stdout.split()
        idle = done.returncode == 0 and bool(states) and set(states) == {"idle"}
        return idle and not self.active()

    def clear(self) -> None:
        """Cancel every job, take every node back, and wait until all is idle."""
        self.command("scancel", "--full", f"--user={os.getuid()}")
        states = self.command("sinfo", "-h", "-N", "-o", "%N|%T").splitlines()
        for node, state in {tuple(line.split("|")) for line in states}:
            if state.startswith(("down", "drain")):
                self.resume(node)
        self.wait_idle()
