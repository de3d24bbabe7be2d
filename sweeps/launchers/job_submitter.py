"""Submitting the jobs of one sweep: an intent is recorded, then sbatch is called."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sweeps.claims import process
from sweeps.config.schema import SlurmLauncherConfig
from sweeps.launchers.sbatch import (
    build_sbatch_parameters,
    build_script,
    find_sbatch_variables,
    submit_script,
)
from sweeps.launchers.submissions import SubmissionRejected, Submissions
from sweeps.slurm import Slurm, get_job_id, in_follow_up
from sweeps.slurm_environment import collect_sbatch_variables
from uniclip.store import RetryPolicy, Store, SubmissionIntent

RETRYABLE_REJECTIONS = ("limit", "policy", "temporarily unable", "temporarily unavailable")
"""Phrases in errors of sbatch that fewer jobs, or a later submission, may avoid."""


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """What a controller asks of a Slurm launcher."""

    store: Store
    sweep_id: str
    launcher_config: SlurmLauncherConfig
    num_cores: int
    """Cores of a process, if the launcher does not state them."""
    device: str = "cpu"
    """`runtime.device` of the runs."""
    follow_up_argv: tuple[str, ...]
    """Command line of the follow-up job."""
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    blocking: bool = False
    """Whether the controller stays until every job has ended."""


class JobSubmitter:
    """Submits jobs of one sweep, each after its intent is in the store."""

    def __init__(
        self, options: SubmitOptions, snapshot_folder: Path, print_line: Callable[[str], None]
    ) -> None:
        """Create a submitter.

        Args:
            options: the sweep, the launcher's configuration and the retry policy.
            snapshot_folder: the copy of the code that jobs import.
            print_line: prints a line for the user.
        """
        self.options, self.snapshot_folder, self.print_line = options, snapshot_folder, print_line
        self.sweep_folder = options.store.get_sweep(options.sweep_id)
        self.submissions = Submissions(self.sweep_folder, Slurm())
        self.automatic = in_follow_up()
        """Whether submissions count as made without a user; true from the second round on."""

    def submit(
        self,
        kind: Literal["run", "audit", "follow_up"],
        array_tasks: tuple[tuple[str, ...], ...],
        last_attempts: Mapping[str, int],
        dependency_ids: Sequence[str] = (),
    ) -> str | None:
        """Submit one job, or an array.

        Args:
            kind: what the job does.
            array_tasks: the runs of each array task.
            last_attempts: run id -> number of its newest attempt.
            dependency_ids: jobs that must have ended before this one starts.

        Returns:
            The id of the job; None if another controller has submitted the same.

        Raises:
            SubmissionRejected: sbatch rejected the job.
        """
        intent = SubmissionIntent(
            token="",
            kind=kind,
            array_tasks=array_tasks,
            last_attempts=dict(last_attempts),
            submitter=process.make_claim_record({}),
            follow_up_argv=self.options.follow_up_argv,
            retry_policy=self.options.policy,
            automatic=self.automatic,
            signal_delay_s=self.options.launcher_config.signal_delay_s,
            audit_device=self.options.device,
            audit_world_size=self.options.launcher_config.world_size,
            sbatch_variables=collect_sbatch_variables(os.environ),
        )
        return self.submissions.submit(
            intent, lambda recorded_intent: self.call_sbatch(recorded_intent, dependency_ids)
        )

    def call_sbatch(self, intent: SubmissionIntent, dependency_ids: Sequence[str]) -> str:
        """Submit the held jobs of an intent with one call of sbatch; return the job's id."""
        options, is_follow_up = self.options, intent.kind == "follow_up"
        parameters = build_sbatch_parameters(
            options.launcher_config,
            token=intent.token,
            snapshot_folder=self.snapshot_folder,
            num_cores=options.num_cores,
            is_follow_up=is_follow_up,
            dependency_ids=dependency_ids,
        )
        script = build_script(
            self.sweep_folder.worker_logs_path,
            options.launcher_config.python,
            [str(options.store.root), options.sweep_id, intent.token],
            parameters,
            num_tasks=len(intent.array_tasks),
        )
        variables = find_sbatch_variables(options.launcher_config, is_follow_up=is_follow_up)
        return submit_script(self.sweep_folder.worker_logs_path, script, variables.applied)

    def list_other_jobs(self) -> list[str]:
        """Return the queued and running jobs of this sweep, without the job of this process."""
        current_job_id = get_job_id()
        return [
            job.id for _, job, _ in self.submissions.list_active_jobs() if job.id != current_job_id
        ]


def is_limit_rejection(rejection: SubmissionRejected) -> bool:
    """Return whether fewer jobs, or a later submission, may be accepted.

    A request that is invalid stays so ("Requested time limit is invalid (... exceeds some limit)").
    """
    message = str(rejection).lower()
    return "invalid" not in message and any(p in message for p in RETRYABLE_REJECTIONS)


def format_rejection(rejection: SubmissionRejected) -> str:
    """Return the last 200 characters of sbatch's error in one line."""
    return " ".join(str(rejection).split())[-200:]
