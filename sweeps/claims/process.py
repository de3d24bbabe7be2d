"""Identity of a process across reused pids, reboots and hosts, and whether it has exited."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from sweeps import slurm
from sweeps.claims.environment import describe_command
from uniclip.config import plugins
from uniclip.identity import (
    ROOT,
    TRAINING_LIBRARIES,
    compute_source_hash,
    compute_training_hash,
)
from uniclip.io.commit import read_commit
from uniclip.io.hashing import get_library_version
from uniclip.store import ClaimRecord, EndReason, ExitKind

DISTRIBUTION = "uniclip-ablations"
"""Name under which this package is installed."""


def make_claim_record(
    numerics: dict[str, Any],
    *,
    previous_end_kind: ExitKind | None = None,
    previous_end_reason: EndReason | None = None,
    forced: bool = False,
    environment: str = "",
) -> ClaimRecord:
    """Return the claim record of this process.

    Args:
        numerics: numerics class in which this process would execute the run.
        previous_end_kind: exit kind of the attempt before this one.
        previous_end_reason: why the attempt before this one was interrupted.
        forced: whether the end of the attempt before this one is not proven.
        environment: digest of the recorded environment of this process.
    """
    return ClaimRecord(
        host=socket.gethostname(),
        boot_id=read_boot_id(),
        machine_id=read_machine_id(),
        pid=os.getpid(),
        start_ticks=read_start_time(os.getpid()) or 0,
        source_hash=compute_source_hash(),
        training_hash=compute_training_hash(),
        numerics_class=numerics,
        time=time.time(),
        job_id=slurm.get_job_id(),
        restart_count=slurm.get_restart_count(),
        cluster=os.environ.get("SLURM_CLUSTER_NAME"),
        previous_end_kind=previous_end_kind,
        previous_end_reason=previous_end_reason,
        forced=forced,
        uid=os.getuid(),
        commit=_read_commit(),
        versions=dict(_read_versions()),
        environment=environment,
        command=describe_command(sys.orig_argv),
    )


@cache
def _read_commit() -> str:
    return read_commit(ROOT)


@cache
def _read_versions() -> tuple[tuple[str, str], ...]:
    libraries = [(name, get_library_version(name)) for name in (DISTRIBUTION, *TRAINING_LIBRARIES)]
    known_libraries = [(name, version) for name, version in libraries if version != "absent"]
    return ("python", platform.python_version()), *known_libraries


def has_exited(claim_record: ClaimRecord) -> bool | None:
    """Return whether the process of a claim has exited; None if this host cannot tell."""
    if claim_record.host != socket.gethostname():
        return None
    current_boot, recorded_boot = read_boot_id().split("/"), claim_record.boot_id.split("/")
    if current_boot[0] != recorded_boot[0]:  # a later boot, or another machine of this name
        return True if read_machine_id() == claim_record.machine_id != "" else None
    if current_boot != recorded_boot:
        return None
    try:
        return read_start_time(claim_record.pid) != claim_record.start_ticks
    except PermissionError:
        return None


@cache
def read_boot_id() -> str:
    """Return `<boot id>/<pid namespace>`; containers on one host have namespaces of their own."""
    try:
        boot_id = _read_stripped("/proc/sys/kernel/random/boot_id")
        return f"{boot_id}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        import psutil  # imported here: not needed where there is /proc

        return f"{int(psutil.boot_time())}/host"


@cache
def read_machine_id() -> str:
    """Return an id of this machine, unlike those of others of its name; "" if there is none."""
    try:
        return _read_stripped("/etc/machine-id")
    except OSError:
        return f"{uuid.getnode():012x}" if sys.platform != "linux" else ""


def read_start_time(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot; None if it is not alive.

    Raises:
        PermissionError: the process exists and is hidden from this user (hidepid of proc(5)).
    """
    try:
        # The name in parentheses may contain spaces, so fields are counted after it.
        state, *fields = _read_stripped(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
        return None if state in "ZX" else int(fields[18])
    except OSError:
        if _has_procfs():
            _raise_if_hidden(pid)
            return None
    import psutil

    try:
        process = psutil.Process(pid)
        is_dead = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return None if is_dead else int(process.create_time() * 100)
    except psutil.Error:
        _raise_if_hidden(pid)
        return None


@cache
def _has_procfs() -> bool:
    return Path("/proc/self/stat").exists()


def _raise_if_hidden(pid: int) -> None:
    """Raise `PermissionError` if there is a process of this pid after all."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    raise PermissionError(f"process {pid} is hidden")


def run_in_subprocess(
    module: str, *arguments: str, timeout_seconds: float | None = None
) -> tuple[str, str | None]:
    """Run a module of these packages in a new Python process.

    Returns:
        What it printed, and the last line of its errors if it failed, else None.

    Raises:
        subprocess.TimeoutExpired: it took more than `timeout_seconds`.
    """
    completed = subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],  # -P: no imports from the current folder
        env={**os.environ, "PYTHONPATH": plugins.build_python_path(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
    )
    last_line = (completed.stderr.strip().splitlines() or [f"exit status {completed.returncode}"])[
        -1
    ]
    return completed.stdout, last_line if completed.returncode else None


def _read_stripped(path: str) -> str:
    return Path(path).read_text().strip()
