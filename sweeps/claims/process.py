"""Which process is this, and is that one gone? Identity that survives a reused pid."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from sweeps import slurm
from uniclip.config import plugins
from uniclip.identity import ROOT, source_hash, training_hash
from uniclip.store import Owner


def owner(numerics: dict[str, Any], *, after: str = "", forced: bool = False) -> Owner:
    """The owner record of this process; `after`: how the attempt before it ended."""
    return Owner(
        host=socket.gethostname(),
        boot=boot(),
        machine=machine(),
        pid=os.getpid(),
        started=started(os.getpid()) or 0,
        source=source_hash(),
        training=training_hash(),
        numerics=numerics,
        time=time.time(),
        job=slurm.this_job(),
        restart=slurm.restart_count(),
        cluster=os.environ.get("SLURM_CLUSTER_NAME"),
        after=after,
        forced=forced,
        uid=os.getuid(),
    )


def gone(record: Owner) -> bool | None:
    """True: proven gone. False: alive. None: nothing can be said from here."""
    if record.host != socket.gethostname():
        return None
    here, there = boot().split("/"), record.boot.split("/")
    if here[0] != there[0]:  # a later boot, or another machine of that name
        return True if machine() == record.machine != "" else None
    if here != there:
        return None
    try:
        return started(record.pid) != record.started
    except PermissionError:
        return None


@cache
def boot() -> str:
    """This boot of this machine, and the pid namespace (containers on one host have their own)."""
    try:
        return f"{_read('/proc/sys/kernel/random/boot_id')}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        import psutil  # here: where there is /proc it is never needed

        return f"{int(psutil.boot_time())}/host"


@cache
def machine() -> str:
    """What tells this machine from others of its name; empty where nothing does."""
    try:
        return _read("/etc/machine-id")
    except OSError:
        return f"{uuid.getnode():012x}" if sys.platform != "linux" else ""


def started(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None if it is none or a zombie.

    Raises:
        PermissionError: there is such a process, and it is hidden from us (hidepid of proc(5)).
    """
    try:
        # The name in parentheses may hold spaces: count fields after it.
        state, *fields = _read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
        return None if state in "ZX" else int(fields[18])
    except OSError:
        if _shows_processes():
            _refuse_hidden(pid)
            return None
    import psutil

    try:
        process = psutil.Process(pid)
        dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return None if dead else int(process.create_time() * 100)
    except psutil.Error:
        _refuse_hidden(pid)
        return None


@cache
def _shows_processes() -> bool:
    return Path("/proc/self/stat").exists()


def _refuse_hidden(pid: int) -> None:
    """`PermissionError` if there is a process of that number after all."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    raise PermissionError(f"process {pid} is hidden")


def apart(module: str, *words: str, seconds: float | None = None) -> tuple[str, str | None]:
    """Run a module of ours in a process of its own: what it printed, and why it failed if it did.

    Raises:
        subprocess.TimeoutExpired: it took more than `seconds`.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, *words],  # -P: not what the current folder holds
        env={**os.environ, "PYTHONPATH": plugins.search_path(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return done.stdout, last if done.returncode else None


def _read(path: str) -> str:
    return Path(path).read_text().strip()
