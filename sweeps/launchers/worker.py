"""A worker: claims runs of a sweep one after another and executes them, until it is stopped.

What is pickled for a worker is a path, a sweep id and a retry policy. The worker reads each run's
configuration from its `spec.json`, and how to execute it from the sweep's `plan.json`. If a run
fails, the worker records the error and continues with the next run.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sweeps.claims.claim import claim_run, may_claim
from sweeps.claims.status import JobEndLookup, RunState, inspect_run
from sweeps.costs.audit_run import run_audit
from sweeps.costs.audit_scope import AuditKey, find_refusal, has_audit
from sweeps.launchers.attempt_execution import (
    ExecuteAttempt,
    StopFlag,
    execute_attempt,
    execute_attempt_with,
    redirect_output,
)
from sweeps.launchers.cell_executor import (
    CellExecutor,
    load_distributed_executor,
    load_executor,
)
from sweeps.rank_processes import RankProcesses
from sweeps.slurm import Slurm
from uniclip import data
from uniclip.config import plugins
from uniclip.errors import UserError
from uniclip.store import (
    AttemptFolder,
    EndReason,
    ExitKind,
    Outcome,
    Plan,
    RetryPolicy,
    RunFolder,
    Store,
    permissions,
)

POLL_SECONDS = 0.1
DISK_FULL_WAIT_SECONDS = 30.0
"""Time that a worker waits for free space after the disk was full, before it takes another run."""


@dataclass(kw_only=True)
class Worker:
    """One process that claims runs of a plan and executes them."""

    store: Store
    plan: Plan
    stop: StopFlag
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    """Attempts that are retried or declared dead."""
    on_claim: Callable[[str], object] = lambda run: None
    """Called with the id of each run that was claimed, before it is executed."""
    execute_attempt: ExecuteAttempt = field(default_factory=lambda: execute_attempt)
    """Executes a claimed attempt, writes its exit record and returns how it ended."""
    has_refused_data: bool = field(default=False, init=False)
    """Whether the training data of a run were not those of the plan: no further run is claimed."""

    _known_contents: dict[str, set[str]] = field(default_factory=dict, init=False)

    @cached_property
    def executor(self) -> CellExecutor:
        """The module that executes cells; importing it may take seconds."""
        return load_executor(self.plan.executor)

    @cached_property
    def job_end_lookup(self) -> JobEndLookup:
        """Looks up in Slurm how the job of an attempt ended."""
        return Slurm().find_end_reason

    def run_only_values(self, run_id: str) -> dict[str, Any]:
        """Return the configuration sections that state how a run is executed and evaluated."""
        return self.plan.run_only_values(next(c.arm for c in self.plan.cells if c.run_id == run_id))

    def claim_and_execute(self, run_id: str) -> ExitKind | None:
        """Claim a run and execute it.

        Returns:
            How the attempt ended; None if the run could not be claimed, or is no longer in the
            plan.
        """
        run, evaluations = self.store.get_run(run_id), self.plan.required_evaluations().get(run_id)
        if evaluations is None or self.has_refused_data:
            return None
        attempt = self._claim(run, inspect_run(run, evaluations, self.job_end_lookup))
        if attempt is None:
            return None
        self.on_claim(run_id)
        execute_cell = partial(
            self.executor.execute,
            run,
            self.run_only_values(run_id),
            attempt,
            evaluations,
            self.stop,
        )
        with data.expect_contents(self._collect_known_contents()):
            exit_kind = self.execute_attempt(run, attempt, execute_cell, self.stop)
        if exit_kind == "failed" and run.read_outcome() is None:
            attempt_end = attempt.read_end()
            self.has_refused_data = (
                attempt_end is not None and attempt_end.reason is EndReason.DATA_CHANGED
            )
        if exit_kind == "interrupted" and not self.stop():
            self._wait_for_disk_space()
        return exit_kind

    def _collect_known_contents(self) -> Mapping[str, set[str]]:
        """Return the digests of the data that the finished runs of the plan were trained on."""
        for run_id in self._open_run_ids.copy():
            with suppress(UserError, PermissionError):  # a damaged file of another run
                outcome = self.store.get_run(run_id).read_outcome()
                if outcome is not None:
                    self._open_run_ids.discard(run_id)
                    add_contents(self._known_contents, outcome)
        return self._known_contents

    @cached_property
    def _open_run_ids(self) -> set[str]:
        """The runs whose outcome has not been read by this worker."""
        return {cell.run_id for cell in self.plan.cells}

    def _wait_for_disk_space(self) -> None:
        """Wait, since the next attempt would end in the same way and count toward its limit."""
        deadline = time.monotonic() + DISK_FULL_WAIT_SECONDS
        while time.monotonic() < deadline and not self.stop():
            time.sleep(POLL_SECONDS)

    def _claim(self, run: RunFolder, state: RunState) -> AttemptFolder | None:
        if not may_claim(run.id, state, self.policy):
            return None
        try:
            return claim_run(
                self.store,
                run,
                state,
                partial(self.executor.resolve_numerics_class, run, self.run_only_values(run.id)),
                policy=self.policy,
                prepare_run=partial(RunFolder.write_spec, spec=run.read_spec()),
            )
        except FileNotFoundError as error:
            if Path(error.filename or "").parent != run.path:
                raise
            return None  # another process is moving the run aside, to start it again
        except PermissionError:
            denied_path = run.find_unwritable()
            if denied_path is None:
                raise
            denial = permissions.describe_denial(denied_path)
            print(f"{run.id} is left to others: {denial}", file=sys.stderr)
            return None


@dataclass(frozen=True, kw_only=True)
class WorkerJob:
    """A worker process on this machine; it ends when no run can be claimed."""

    store_root: str
    sweep_id: str
    policy: RetryPolicy
    """Attempts to retry; the worker takes only `policy.only_runs`, if there are any."""
    runs_audit: bool = False
    """Whether this worker makes the audit; the others wait for it."""
    audit_key: AuditKey | None = None
    """The audit to make or to wait for; None if there is one."""
    num_processes: int = 1
    """Processes that execute a run together; this one is rank 0 and starts the others."""

    sets_devices: bool = False
    """Whether CUDA_VISIBLE_DEVICES is set to `visible_devices`, over the value of submitit."""
    visible_devices: str | None = None
    """The GPUs that this worker sees; None for all."""

    def __call__(self) -> None:
        stop = StopFlag()
        stop.install_signal_handlers()
        if self.sets_devices:
            self._set_visible_devices()
        if self.num_processes == 1:
            worker = self._build_worker(stop)
            self._make_audit(worker)
            self._execute_runs(worker)
            return
        ranks = RankProcesses(self.num_processes, partial(self._run_nonzero_rank, stop))
        ranks.run(partial(self._run_rank_zero, stop, ranks))

    def _run_rank_zero(self, stop: StopFlag, ranks: RankProcesses) -> None:
        """Do what a worker does; the other processes take part in every run that it claims."""
        worker = self._build_worker(stop)
        executor = load_distributed_executor(worker.plan.executor)
        executor.init_process_group(worker.plan.base_config)
        self._make_audit(worker)
        worker.on_claim = executor.broadcast_object
        worker.execute_attempt = partial(execute_attempt_with, ranks)
        self._execute_runs(worker)
        executor.broadcast_object(None)
        executor.destroy_process_group()

    def _run_nonzero_rank(self, stop: StopFlag) -> None:
        """Take part in the audit and in the runs that rank 0 claims."""
        worker = self._build_worker(stop)
        executor = load_distributed_executor(worker.plan.executor)
        executor.init_process_group(worker.plan.base_config)
        self._make_audit(worker)
        while (run_id := executor.broadcast_object()) is not None:
            run = worker.store.get_run(run_id)
            try:
                executor.run_nonzero_rank(run, worker.run_only_values(run_id), stop)
            except Exception as error:
                if not isinstance(error, UserError):  # which every process raises
                    with redirect_output(run.get_attempt(max(run.list_attempts())).log_path):
                        traceback.print_exc()
                raise
        executor.destroy_process_group()

    def _build_worker(self, stop: StopFlag) -> Worker:
        store = Store(self.store_root)
        store.share_with_group()
        plan = store.get_sweep(self.sweep_id).read_plan()
        assert plan is not None, "a plan is written before a worker is started"
        plugins.import_plugins(plan.plugins)
        return Worker(store=store, plan=plan, stop=stop, policy=self.policy)

    def _make_audit(self, worker: Worker) -> None:
        if self.runs_audit and self.audit_key is not None:
            run_audit(worker.store, worker.plan, self.audit_key, worker.stop)

    def _execute_runs(self, worker: Worker) -> None:
        """Execute runs until none can be claimed, once there is an audit."""
        stop, sweep_folder = worker.stop, worker.store.get_sweep(self.sweep_id)
        _ = worker.executor  # imported while another worker makes the audit
        while (
            self.audit_key is not None
            and not has_audit(sweep_folder, self.audit_key)
            and not stop()
        ):
            time.sleep(POLL_SECONDS)
        if find_refusal(sweep_folder, worker.plan) is not None:
            return
        while not stop() and self._try_every_run(worker):
            pass

    def _set_visible_devices(self) -> None:
        if self.visible_devices is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.visible_devices

    def _try_every_run(self, worker: Worker) -> bool:
        """Try to claim and execute every run once; return whether any was claimed.

        Raises:
            RuntimeError: a run of several processes failed, and the others still wait in it.
        """
        exit_kinds = []
        for run in self.policy.only_runs or worker.plan.required_evaluations():
            if not worker.stop():
                exit_kinds.append(worker.claim_and_execute(run))
                is_cut = exit_kinds[-1] == "interrupted" and not worker.stop()
                if self.num_processes > 1 and (exit_kinds[-1] == "failed" or is_cut):
                    raise RuntimeError(f"{run}: {exit_kinds[-1]}; its processes end with this one")
        return any(exit_kinds)


def add_contents(contents: dict[str, set[str]], outcome: Outcome) -> None:
    """Add the digests of the data that a run was trained on to those of other runs."""
    for key, value in outcome.data_content.items():
        contents.setdefault(key, set()).add(value)
