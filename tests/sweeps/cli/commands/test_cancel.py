"""`cancel`: which jobs are cancelled."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.claims import process
from sweeps.cli.commands import cancel as cancel_command
from sweeps.slurm import Job
from tests.helpers.command_line import execute
from tests.sweeps.cli import OVERRIDES
from uniclip.store import Plan, Store, SubmissionIntent


class Cluster:
    """A Slurm that records which jobs are cancelled."""

    cancelled: list[str]
    config = SimpleNamespace()

    def cancel(self, job_ids: list[str]) -> None:
        self.cancelled += job_ids


@pytest.mark.parametrize(
    ("names", "cancelled", "error"),
    [
        ([], ["1", "2", "3"], ""),
        (["full/0"], ["1"], ""),
        (["clip/0"], [], "job 2 holds other cells too"),
        (["clip/0", "clip/1"], ["2"], ""),
    ],
)
def test_the_jobs_of_the_named_cells_are_cancelled(
    names: list[str],
    cancelled: list[str],
    error: str,
    work_folder: Path,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = {cell.name: cell.run_id for cell in plan.cells}
    sweep = Store(work_folder / "store").get_sweep(plan.sweep_id)
    sweep.write_plan(plan)
    tasks = {
        "1": ("run", (runs["full/0"],)),
        "2": ("run", (runs["clip/0"], runs["clip/1"])),
        "3": ("follow_up", ()),
    }
    active_jobs: list[Any] = []
    for job_id, (kind, job_runs) in tasks.items():
        intent = SubmissionIntent(
            token=job_id,
            kind=kind,  # type: ignore[arg-type]
            array_tasks=(job_runs,),
            last_attempts={},
            submitter=process.make_claim_record({}),
        )
        sweep.record_intent(intent)
        job = Job(id=job_id, state="PENDING", restarts=0, node="", name="", reason="")
        active_jobs.append((intent, job, job_runs))
    cluster = Cluster()
    cluster.cancelled = []
    monkeypatch.setattr(cancel_command, "Slurm", lambda: cluster)
    submissions = SimpleNamespace(list_active_jobs=lambda: active_jobs)
    monkeypatch.setattr(cancel_command, "Submissions", lambda folder, slurm: submissions)
    assert execute("cancel", *OVERRIDES, *names) == (2 if error else 0)
    printed = capsys.readouterr()
    assert error in printed.err
    assert cluster.cancelled == cancelled
    if not error:
        assert f"cancelled {len(cancelled)} jobs" in printed.out
        cancelled_runs = {runs[name] for name in names} or set(runs.values())
        assert sweep.read_cancelled() == {(run, 0) for run in cancelled_runs}
