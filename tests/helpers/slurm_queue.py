"""A sweep of trivial cells, and a Slurm queue in memory that accepts a limited number of jobs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeps.claims.status import RunState, inspect_run
from sweeps.config.schema import SlurmLauncherConfig
from sweeps.launchers.job_submitter import SubmitOptions
from sweeps.launchers.slurm import SlurmLauncher
from sweeps.launchers.submissions import SubmissionRejected
from sweeps.slurm import FOLLOW_UP_VARIABLE, JOB_NAME_PREFIX, Job, Slurm
from tests.helpers.trivial_sweep import pass_audit, planned
from uniclip.store import Store, SubmissionIntent

LIMIT = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"


class Cluster(Slurm):
    """A queue in memory that accepts up to `limit` jobs."""

    config = {"ClusterName": "near", "MaxArraySize": "1001"}  # type: ignore[assignment]

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.queue, self.count = limit, list[Job](), 0
        self.is_answering, self.released = True, list[str]()

    def list_jobs(self) -> list[Job] | None:
        return self.queue if self.is_answering else None

    def release(self, job: str) -> bool:
        self.released.append(job)
        return True

    def cancel(self, ids: Sequence[str]) -> None:
        self.queue = [job for job in self.queue if job.id not in ids]

    def sbatch(self, intent: SubmissionIntent, after: Sequence[str]) -> str:
        if len(self.queue) + len(intent.array_tasks) > self.limit:
            raise SubmissionRejected(LIMIT)
        self.count += 1
        is_array = len(intent.array_tasks) > 1
        for i in range(len(intent.array_tasks)):
            id_ = f"{self.count}_{i}" if is_array else f"{self.count}"
            name = f"{JOB_NAME_PREFIX}{intent.token}"
            job = Job(id=id_, state="PENDING", restarts=0, node="", name=name, reason="Priority")
            self.queue.append(job)
        return str(self.count)

    def starts(self) -> None:
        """Start every queued job."""
        self.queue = [dataclasses.replace(job, state="RUNNING") for job in self.queue]


class Scene:
    """A sweep of trivial cells, its store and its queue."""

    def __init__(self, store: Store, cells: int, limit: int = 1000) -> None:
        self.store, self.resolved_plan, self.cluster = store, planned(cells, 0.0), Cluster(limit)
        self.folder = store.get_sweep(self.resolved_plan.plan.sweep_id)
        self.folder.write_plan(self.resolved_plan.plan)
        pass_audit(store, self.resolved_plan.plan)
        for run, spec in self.resolved_plan.specs.items():
            store.get_run(run).write_spec(spec)
        self.runs = list(self.resolved_plan.specs)
        self.printed_lines: list[str] = []

    def build_launcher(self, cells_per_job: int, **order: Any) -> SlurmLauncher:
        launcher = SlurmLauncherConfig(
            cells_per_job=cells_per_job,
            follow_up=order.pop("follow_up", True),
            nodes=order.pop("nodes", 1),
            tasks_per_node=order.pop("tasks_per_node", None),
        )
        options: dict[str, Any] = {"num_cores": 1, "follow_up_argv": ("run",), **order}
        submit_options = SubmitOptions(
            store=self.store, sweep_id=self.folder.id, launcher_config=launcher, **options
        )
        slurm_launcher = SlurmLauncher(submit_options, Path("code"), self.printed_lines.append)
        slurm_launcher.submissions.slurm = self.cluster
        slurm_launcher.submitter.call_sbatch = self.cluster.sbatch  # type: ignore[assignment, method-assign]
        return slurm_launcher

    def states(self) -> dict[str, RunState]:
        evaluations = self.resolved_plan.plan.required_evaluations()
        return {run: inspect_run(self.store.get_run(run), evaluations[run]) for run in self.runs}

    def put(self, launcher: SlurmLauncher) -> None:
        states = self.states()
        launcher.submit([run for run in self.runs if states[run].is_runnable], states)

    def kinds(self, launcher: SlurmLauncher) -> Counter[str]:
        launcher.submissions.refresh()
        return Counter(intent.kind for intent, _, _ in launcher.submissions.list_active_jobs())


def become_follow_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> SlurmLauncher:
    """Return the launcher of a follow-up job of the scene, as it runs in this process."""
    active_jobs = scene.build_launcher(cells_per_job=1).submissions.list_active_jobs()
    (job_id,) = (
        job.id for intent, job, _ in active_jobs if intent.kind == "follow_up" and job.is_waiting
    )
    scene.cluster.queue = [j for j in scene.cluster.queue if j.id == job_id]
    scene.cluster.starts()
    monkeypatch.setenv("SLURM_JOB_ID", job_id)
    monkeypatch.setenv(FOLLOW_UP_VARIABLE, "token")
    return scene.build_launcher(cells_per_job=1)
