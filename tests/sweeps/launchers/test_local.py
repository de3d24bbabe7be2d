"""Workers on this machine: when the launcher gives up on them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from sweeps.claims.status import RunState
from sweeps.launchers.local import MAX_STARTS_WITHOUT_PROGRESS, LocalLauncher
from sweeps.launchers.worker import WorkerJob
from uniclip.errors import UserError
from uniclip.store import Outcome, RetryPolicy, RunStatus


def outcome() -> Outcome:
    return Outcome(
        kind="trained",
        step=1,
        attempt=1,
        training_hash="t",
        source_hash="s",
        numerics_class={},
        weights_digest="w",
        best_step=None,
        cost={},
    )


def test_workers_that_sometimes_die_are_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With one worker, the process of every cell dies once before the cell is complete."""

    def build_job(runs_audit: bool) -> WorkerJob:
        return WorkerJob(store_root="store", sweep_id="x", policy=RetryPolicy())

    class EndedJob:
        """A worker process that has ended."""

        paths = Namespace(stderr=tmp_path / "err")

        def done(self) -> bool:
            return True

    launcher = LocalLauncher(tmp_path, "cpu", 1, build_job)
    monkeypatch.setattr(launcher, "_start_job", lambda job, worker_index: EndedJob())
    states = {f"r{i}": RunState(status=RunStatus.PENDING) for i in range(6)}
    for run in states:
        for attempt in (1, 2):
            launcher.submit([run], states)
            states[run] = RunState(status=RunStatus.INTERRUPTED, attempt=attempt)
        states[run] = RunState(status=RunStatus.COMPLETE, outcome=outcome())
    for _ in range(MAX_STARTS_WITHOUT_PROGRESS):
        launcher.submit(["r5"], states)
    with pytest.raises(UserError, match="workers end before they claim a run"):
        launcher.submit(["r5"], states)
