"""The status of every cell of a plan, with one advised action each, read from the store."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from analysis.collect.run_time import format_duration
from sweeps.claims.status import RunState, inspect_runs
from sweeps.launchers.submissions import Submissions
from sweeps.slurm import Job, Slurm
from uniclip.errors import RetryLater, UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json
from uniclip.store import AttemptFolder, EndReason, Heartbeat, Outcome, Plan, RunStatus, Store


class QueueStatus(StrEnum):
    """The status of a cell whose run is not finished and whose job is in Slurm's queue."""

    QUEUED = "queued"
    BLOCKED = "blocked"
    """Its job does not start unless the request, the cluster or a limit is changed."""
    PREEMPTED = "preempted"
    """Requeued by Slurm after a preemption."""
    UNKNOWN = "unknown"
    """Jobs were submitted, and Slurm does not answer."""


CellStatus = RunStatus | QueueStatus

ADVICE: dict[CellStatus, str] = {
    RunStatus.PENDING: "run",
    QueueStatus.QUEUED: "wait",
    QueueStatus.BLOCKED: "cancel, then run with other launcher settings",
    QueueStatus.UNKNOWN: "wait: Slurm does not answer",
    QueueStatus.PREEMPTED: "wait: Slurm starts it again",
    RunStatus.INTERRUPTED: "run",
    RunStatus.NEEDS_EVALUATION: "run",
    RunStatus.PAUSED: "run",
    RunStatus.RUNNING: "wait",
    RunStatus.STALLED: "retry --force, if you know that its process is dead",
    RunStatus.FAILED: "logs, then retry",
    RunStatus.DIVERGED: "final; retry=diverged runs it again",
    RunStatus.UNREADABLE: "its owner runs chmod -R g+rX on the folder",
    RunStatus.OUTDATED: "kept; outdated=rerun runs it again",
    RunStatus.COMPLETE: "none",
}
"""What the user can do about a cell of each status; most begin with a command."""
FINAL_STATUSES = (RunStatus.COMPLETE, RunStatus.DIVERGED, RunStatus.OUTDATED)
"""Statuses of cells that have a result."""
STATUS_STYLES: dict[CellStatus, str] = {
    RunStatus.RUNNING: "cyan",
    QueueStatus.QUEUED: "blue",
    QueueStatus.BLOCKED: "bold red",
    QueueStatus.PREEMPTED: "blue",
    RunStatus.FAILED: "bold red",
    RunStatus.STALLED: "red",
    RunStatus.UNREADABLE: "red",
    RunStatus.DIVERGED: "yellow",
    RunStatus.OUTDATED: "yellow",
    RunStatus.COMPLETE: "green",
}
"""Colors of the rows of a table; rows of other statuses have none."""

UNKNOWN_JOB = Job(id="", state="", restarts=0, node="", name="", reason="")
"""Stands for the job of a run if jobs were submitted and Slurm does not answer."""

METRICS_TAIL_BYTES = 16384
"""Bytes at the end of a file of metrics in which the last training record is looked for."""
MIN_SHOWN_DATA_WAIT = 0.1
"""Share of the time of its steps for which a run waits for data, from which on it is shown."""
PHASE_LABELS = {"": "starting", "opening": "opening data"}
"""Phase of a heartbeat ("" before the first one) -> its text, if it is another."""


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One cell as it is displayed."""

    cell: str
    """`<arm>/<seed>`."""
    run: str
    state: RunState
    job: Job | None = None
    """The Slurm job that executes the run or will."""
    log_path: str = ""
    """Log of the last attempt, if it failed."""
    loss: float | None = None
    """Training loss of the last record, while the run is executed."""

    @property
    def status(self) -> CellStatus:
        """The status of the run, or of its job if the run waits for one."""
        if self.job is None or not self.state.is_runnable:
            return self.state.status
        if self.job is UNKNOWN_JOB:
            return QueueStatus.UNKNOWN
        if self.job.obstacle is not None and self.job.obstacle.blocks:
            return QueueStatus.BLOCKED
        is_preempted = self.state.end_reason is EndReason.PREEMPTED
        return QueueStatus.PREEMPTED if is_preempted else QueueStatus.QUEUED

    @property
    def reason(self) -> str:
        """One phrase that explains the status, and how much of the data cannot be used."""
        skipped, unreadable = self.num_skipped_samples, self.num_unreadable_images
        phrases = [self._status_reason]
        if skipped:
            phrases.append(f"{skipped:,} unusable sample{'s' * (skipped > 1)} skipped")
        if unreadable:
            phrases.append(
                f"{unreadable:,} unreadable training image{'s' * (unreadable > 1)} replaced"
            )
        return "; ".join(filter(None, phrases))

    @property
    def num_unreadable_images(self) -> int:
        """Training images that could not be read so far."""
        return max((record.unreadable_images for record in self._training_records), default=0)

    @property
    def num_skipped_samples(self) -> int:
        """Samples of the data that are left out since they cannot be used."""
        return max((record.skipped_samples for record in self._training_records), default=0)

    @property
    def _training_records(self) -> list[Outcome | Heartbeat]:
        """The records of the run that count what cannot be used of its data."""
        records = (self.state.outcome, self.state.heartbeat)
        return [record for record in records if record is not None]

    @property
    def _status_reason(self) -> str:
        state, job = self.state, self.job
        if job is None or job is UNKNOWN_JOB or not state.is_runnable:
            return f"{state.reason}; log: {self.log_path}" if self.log_path else state.reason
        if not job.id:
            return job.reason
        progress = f"waits: {job.reason}" if job.is_waiting else f"starts on {job.node}"
        end_reason = state.end_reason
        previous_end = f" (last attempt: {end_reason.description})" if end_reason else ""
        return f"job {job.id} {progress}{previous_end}"

    @property
    def attempt(self) -> int:
        """Number of the newest attempt, or of the one that wrote the outcome; 0 for none."""
        outcome = self.state.outcome
        return self.state.attempt or (outcome.attempt if outcome else 0)

    @property
    def step(self) -> int | None:
        """Training steps taken; None before the first heartbeat."""
        heartbeat = self.state.heartbeat
        if self._outcome_step is not None:
            return self._outcome_step
        return heartbeat.step if heartbeat else None

    @property
    def _outcome_step(self) -> int | None:
        """Step of the outcome; None if there is none or the run is executed now."""
        outcome = self.state.outcome
        is_running = self.state.status == RunStatus.RUNNING
        return outcome.step if outcome is not None and not is_running else None

    @property
    def total_steps(self) -> int | None:
        """Training steps of the whole run; None if neither outcome nor heartbeat contains it."""
        outcome, heartbeat = self.state.outcome, self.state.heartbeat
        if outcome is not None and outcome.kind == "trained":
            return outcome.step
        return heartbeat.total_steps if heartbeat else None

    @property
    def step_text(self) -> str:
        """Training steps taken and to be taken, such as "30/90"."""
        if self.step is None:
            return ""
        total_steps = self.total_steps
        is_whole = total_steps is None or self.status in FINAL_STATUSES
        return f"{self.step:,}" if is_whole else f"{self.step:,}/{total_steps:,}"

    @property
    def phase(self) -> str:
        """What a run that is executed does: training, validating, ...; empty for others.

        With the share of the time of its steps in which it waits for data, if that is large.
        """
        if self.state.status != RunStatus.RUNNING:
            return ""
        heartbeat = self.state.heartbeat
        if heartbeat is None:
            return PHASE_LABELS[""]
        label = PHASE_LABELS.get(heartbeat.phase, heartbeat.phase)
        data_wait = heartbeat.data_wait or 0.0
        if heartbeat.phase != "training" or data_wait < MIN_SHOWN_DATA_WAIT:
            return label
        return f"{label}, {100 * data_wait:.0f} % waiting for data"

    @property
    def loss_text(self) -> str:
        """The training loss with four digits; empty if it is not known."""
        return "" if self.loss is None else f"{self.loss:.4g}"

    @property
    def speed_text(self) -> str:
        """Training steps per second; empty if they are not known."""
        heartbeat = self.state.heartbeat
        is_known = self.seconds_left is not None and heartbeat is not None
        return f"{heartbeat.steps_per_second:.3g}" if is_known and heartbeat else ""

    @property
    def time_left_text(self) -> str:
        """The training time that remains; empty if it is not known."""
        return "" if self.seconds_left is None else format_duration(self.seconds_left)

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training that remain, at the speed of the last heartbeat."""
        heartbeat = self.state.heartbeat
        if heartbeat is None or not heartbeat.steps_per_second:
            return None
        if self.state.status != RunStatus.RUNNING or heartbeat.step >= heartbeat.total_steps:
            return None
        return (heartbeat.total_steps - heartbeat.step) / heartbeat.steps_per_second

    @property
    def location(self) -> str:
        """The machine on which it runs or was last seen, and its GPU if it uses one."""
        claim_record = self.state.claim_record
        if claim_record is None or not self._is_claimed:
            return ""
        numerics_class = claim_record.numerics_class
        gpu = numerics_class.get("device_name") if numerics_class.get("device") != "cpu" else None
        return f"{claim_record.host}, {gpu}" if gpu else claim_record.host

    @property
    def advice(self) -> str:
        """What the user can do about it."""
        if self.job is not None and self.job.launch_failed and self.state.is_runnable:
            return f"scontrol release {self.job.id}, or run"
        if self.job is not None and self.job.obstacle is not None and self.state.is_runnable:
            return self.job.obstacle.format_advice(self.job.id)
        return ADVICE[self.status]

    @property
    def heartbeat_age(self) -> str:
        """Time since the last heartbeat of a run that is executed or stalled."""
        heartbeat = self.state.heartbeat
        if heartbeat is None or not self._is_claimed:
            return ""
        return format_duration(time.time() - heartbeat.time)

    @property
    def _is_claimed(self) -> bool:
        return self.state.status in (RunStatus.RUNNING, RunStatus.STALLED)


def build_rows(store: Store, plan: Plan) -> list[CellRow]:
    """Return a row for every cell of a plan; a run that several cells share is read once."""
    slurm = Slurm()
    states = inspect_runs(
        store, plan.required_evaluations(), slurm.find_end_reason, trust_heartbeat=True
    )
    jobs = _find_jobs(store, plan, slurm)
    log_paths = {
        run_id: str(store.get_run(run_id).get_attempt(state.attempt).log_path)
        for run_id, state in states.items()
        if state.status == RunStatus.FAILED
    }
    losses = read_losses(store, states)
    return [
        CellRow(
            cell=cell.name,
            run=cell.run_id,
            state=states[cell.run_id],
            job=jobs.get(cell.run_id),
            log_path=log_paths.get(cell.run_id, ""),
            loss=losses.get(cell.run_id),
        )
        for cell in plan.cells
    ]


def read_losses(store: Store, states: Mapping[str, RunState]) -> dict[str, float]:
    """Return run id -> last training loss, of the runs that are executed and have one."""
    losses = {
        run_id: read_last_loss(store.get_run(run_id).get_attempt(state.attempt))
        for run_id, state in states.items()
        if state.status == RunStatus.RUNNING
    }
    return {run_id: loss for run_id, loss in losses.items() if loss is not None}


def read_last_loss(attempt: AttemptFolder) -> float | None:
    """Return the loss of the last training record of an attempt; None without one.

    Only the end of the file is read; a line that is being written is ignored.
    """
    try:
        with attempt.metrics_path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - METRICS_TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            record = parse_json(line)
        except JSON_ERRORS:
            continue
        if isinstance(record, dict) and record.get("phase") == "train":
            loss = record.get("loss")
            if isinstance(loss, int | float) and abs(loss) <= sys.float_info.max:
                return float(loss)
            return None
    return None


def describe_tunings(store: Store, sweep_id: str) -> list[str]:
    """Return a line for each tuning of a sweep's arms, and for each sweep of tuned arms."""
    newest_rounds = {
        folder.path.parent: folder for folder in store.get_sweep(sweep_id).list_rounds()
    }
    lines = []
    for folder in (*newest_rounds.values(), *store.iter_tuned_sweeps(sweep_id)):
        plan = folder.read_plan()
        if plan is not None:
            lines.append(f"{folder.id}: {describe_counts(build_rows(store, plan))}")
    return lines


def describe_counts(rows: Iterable[CellRow]) -> str:
    """Return how many cells have each status, such as "2 running, 1 pending"."""
    counts = Counter(row.status for row in rows)
    return ", ".join(f"{count} {status}" for status, count in counts.most_common())


def to_records(rows: Iterable[CellRow]) -> list[dict[str, object]]:
    """Return the rows as JSON records, for `--json`."""
    return [_to_record(row) for row in rows]


def _to_record(row: CellRow) -> dict[str, object]:
    heartbeat, claim_record = row.state.heartbeat, row.state.claim_record
    job_id = row.job.id if row.job else claim_record.job_id if claim_record else None
    return {
        "cell": row.cell,
        "run": row.run,
        "status": row.status,
        "attempt": row.attempt,
        "reason": row.reason,
        "log": row.log_path or None,
        "phase": heartbeat.phase if heartbeat else None,
        "step": row.step,
        "total_steps": row.total_steps,
        "steps_per_second": heartbeat.steps_per_second if heartbeat else None,
        "data_wait": heartbeat.data_wait if heartbeat else None,
        "loss": row.loss,
        "unreadable_images": row.num_unreadable_images,
        "skipped_samples": row.num_skipped_samples,
        "seconds_left": row.seconds_left,
        "last_heartbeat": heartbeat.time if heartbeat else None,
        "job": job_id or None,
        "host": claim_record.host if claim_record else None,
        "location": row.location,
        "advice": row.advice,
    }


def _find_jobs(store: Store, plan: Plan, slurm: Slurm) -> dict[str, Job]:
    """Return the job of each run; none if nothing was submitted, or there is no Slurm here."""
    sweep_folder = store.get_sweep(plan.sweep_id)
    if not sweep_folder.submissions_path.exists():
        return {}
    try:
        _ = slurm.config
        return Submissions(sweep_folder, slurm).map_runs_to_jobs()
    except RetryLater:
        return dict.fromkeys(plan.required_evaluations(), UNKNOWN_JOB)
    except UserError:
        return {}
