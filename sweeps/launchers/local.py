"""Slots on this machine, through submitit's local executor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uniclip.identity import ROOT

A_YEAR = 365 * 24 * 60
"""Minutes. submitit's local executor would end a job after two."""


class LocalJobs:
    """Jobs of one sweep on this machine."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        self.device = device

    def start(self, job: Callable[[], None], slot: int) -> Any:
        """Start `job` in a process of its own that outlives this one."""
        from submitit import LocalExecutor

        executor = LocalExecutor(self.folder)
        gpus = (
            {"gpus_per_node": 1, "visible_gpus": (slot,)} if self.device.startswith("cuda") else {}
        )
        executor.update_parameters(timeout_min=A_YEAR, **gpus)
        with _for_children():
            return executor.submit(job)

    @staticmethod
    def ended(job: Any) -> bool:
        """Whether the job's process has ended (this also reaps it)."""
        return bool(job.done())

    @staticmethod
    def stop(job: Any) -> None:
        """Ask a job to stop at its next step; submitit's process hands the signal on."""
        import psutil

        try:
            psutil.Process(int(job.job_id)).send_signal(signal.SIGTERM)
        except psutil.Error:
            pass

    def log(self, job: Any) -> Path:
        """Where the job's own words stand."""
        return Path(job.paths.stderr)


@contextmanager
def _for_children() -> Iterator[None]:
    """Children import our packages, and ignore Ctrl-C unless they know what to do with it.

    A terminal sends SIGINT to the whole process group; submitit's process in between would kill its
    worker a second later, in the middle of a step.
    """
    path = os.environ.get("PYTHONPATH")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([path] if path else [])])
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path
