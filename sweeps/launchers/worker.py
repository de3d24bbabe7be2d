"""A worker: takes cells of a sweep one after another, until none is left or it is told to stop.

Before the first cell every arm is proven: one worker does it while the others wait for it, so that
the imports of each process are paid once.

What is pickled is a path, a sweep id and a few names: the run is read from its `spec.json`, what is
run-only from the sweep's `plan.json`. A failed cell is written down and the next one is taken.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import FrameType
from typing import Any

from sweeps.claims import claim
from sweeps.costs.audit_scope import AUDIT_ERROR_CHECK, AuditKey, has_audit, has_valid_audit
from sweeps.slurm import Slurm
from uniclip.config import RUN_ONLY, plugins
from uniclip.identity import config_from_spec
from uniclip.io.atomic import append_jsonl, atomic_write, is_disk_full, to_json_bytes
from uniclip.store import AttemptFolder, AuditCheck, AuditRecord, Plan, RunFolder, Store

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
POLL_SECONDS = 0.1
DISK_FULL_WAIT_SECONDS = 30.0
"""How long a worker waits for room after the disk was full, before it takes the next cell."""


class StopFlag:
    """A flag that signals set; the training loop looks at it between steps."""

    def __init__(self) -> None:
        self.requested = False
        self.reason: Callable[[], str | None] = lambda: None
        """Who asked, for the attempt's last word."""

    def __call__(self) -> bool:
        return self.requested

    def install_signal_handlers(self) -> None:
        """Let the signals that ask a worker to stop set the flag, and do nothing else."""
        for signal_number in STOP_SIGNALS:
            signal.signal(signal_number, self._request_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # as we may have been started

    def _request_stop(self, signal_number: int, frame: FrameType | None) -> None:
        self.requested = True


@dataclass(kw_only=True)
class Worker:
    """One process that claims runs of a plan and executes them."""

    store: Store
    plan: Plan
    stop: StopFlag
    retry_attempts: tuple[tuple[str, int], ...] = ()
    """(run, attempt) that failed or halted and is to go on."""
    force_attempts: tuple[tuple[str, int], ...] = ()
    """(run, attempt) that the user declared dead."""
    on_claim: Callable[[str], Any] = lambda run: None
    """Told of each run that was claimed, before it is executed."""

    @cached_property
    def cell_module(self) -> Any:
        """The module that executes cells; importing it may take seconds."""
        return importlib.import_module(self.plan.executor)

    def select_run_only_values(self, run_id: str) -> dict[str, Any]:
        """How a run of the plan is executed and judged."""
        return select_run_only_values(
            self.plan, next(c.arm for c in self.plan.cells if c.run_id == run_id)
        )

    @cached_property
    def job_end_lookup(self) -> claim.JobEndLookup:
        """Slurm's word on attempts of its jobs."""
        return Slurm().find_end_reason

    def claim_and_execute(self, run_id: str) -> str | None:
        """Claim a run and execute it; how that ended, or None if it could not be claimed."""
        run, evaluations = self.store.get_run(run_id), self.plan.required_evaluations().get(run_id)
        if evaluations is None:
            return None  # the plan was written anew since, and this run is no more in it
        attempt = self._claim(run, claim.inspect_run(run, evaluations, self.job_end_lookup))
        if attempt is None:
            return None
        self.on_claim(run_id)
        run_only_values = self.select_run_only_values(run_id)
        execute_cell = partial(
            self.cell_module.execute, run, run_only_values, attempt, evaluations, self.stop
        )
        end_kind = execute_attempt(run, attempt, execute_cell, self.stop)
        if end_kind == "interrupted" and not self.stop():
            self._wait_for_disk_space()
        return end_kind

    def _wait_for_disk_space(self) -> None:
        """At once the next attempt would end in the same way, and spend the budget of such ends."""
        deadline = time.monotonic() + DISK_FULL_WAIT_SECONDS
        while time.monotonic() < deadline and not self.stop():
            time.sleep(POLL_SECONDS)

    def _claim(self, run: RunFolder, state: claim.RunState) -> AttemptFolder | None:
        is_requested = (run.id, state.attempt) in (*self.retry_attempts, *self.force_attempts)
        if not (state.is_runnable or is_requested):
            return None
        return claim.claim_run(
            self.store,
            run,
            state,
            partial(self.cell_module.numerics, run, self.select_run_only_values(run.id)),
            retry_attempts=self.retry_attempts,
            force_attempts=self.force_attempts,
            prepare_run=partial(RunFolder.write_spec, spec=run.read_spec()),
        )


@dataclass(frozen=True)
class WorkerJob:
    """A job on this machine: it lives until no cell can be claimed."""

    store_root: str
    sweep: str
    retry_attempts: tuple[tuple[str, int], ...] = ()
    force_attempts: tuple[tuple[str, int], ...] = ()
    runs_audit: bool = False
    """Whether it makes the audit; other slots wait for it."""
    audit_key: AuditKey | None = None
    """The audit to make or to wait for; None: there is one."""
    runs: tuple[str, ...] = ()
    """It takes only these; none: any of the plan."""

    def __call__(self) -> None:
        stop = StopFlag()
        stop.install_signal_handlers()
        store = Store(self.store_root)
        sweep_folder = store.get_sweep(self.sweep)
        plan = sweep_folder.read_plan()
        assert plan is not None, "a plan is written before a slot is started"
        plugins.import_plugins(plan.plugins)
        if self.runs_audit and self.audit_key is not None:
            run_audit(store, plan, self.audit_key)
        worker = Worker(
            store=store,
            plan=plan,
            stop=stop,
            retry_attempts=self.retry_attempts,
            force_attempts=self.force_attempts,
        )
        _ = worker.cell_module  # its imports are paid while the audit is made elsewhere
        while (
            self.audit_key is not None
            and not has_audit(sweep_folder, self.audit_key)
            and not stop()
        ):
            time.sleep(POLL_SECONDS)
        while not stop() and self._try_every_run(worker):
            pass

    def _try_every_run(self, worker: Worker) -> bool:
        """One look at every run; whether any of them could be claimed."""
        runs = self.runs or worker.plan.required_evaluations()
        end_kinds = [worker.claim_and_execute(run) for run in runs if not worker.stop()]
        return any(end_kinds)


def execute_attempt(
    run: RunFolder, attempt: AttemptFolder, execute_cell: Callable[[], str], stop: StopFlag
) -> str:
    """One attempt from its claim to its last word; how it ended."""
    with _redirect_output(attempt.log_path):
        try:
            end_kind, message = execute_cell(), None
        except Exception as error:
            traceback.print_exc()
            end_kind, message = _classify_error(error)
        if end_kind == "interrupted" and message is None:
            message = stop.reason()
        with suppress(OSError):  # no room even for that: then its silence is its last word
            attempt.write_end(end_kind, message)
    if run.read_outcome() is not None:
        _delete_checkpoints(run)
    return end_kind


def _classify_error(error: Exception) -> tuple[str, str]:
    """Kind and word of an attempt that raised: a full disk is no fault of the run's."""
    if is_disk_full(error):
        return "interrupted", "no room on the disk"
    return "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def select_run_only_values(plan: Plan, arm: str) -> dict[str, Any]:
    """How the runs of an arm are executed and judged: what no spec says."""
    values = {**plan.base_config, **plan.get_arm(arm).config_diff}
    return {name: values[name] for name in RUN_ONLY if name in values}


def run_audit(store: Store, plan: Plan, audit_key: AuditKey) -> None:
    """A few steps of every arm: its witnesses are checked and its speed is taken, once.

    meant: the device to take them on; that, and of what code it was, is written down.

    Of several processes each calls this.
    """
    from ablations.audit import audit
    from uniclip import distributed

    sweep_folder, process_group = store.get_sweep(plan.sweep_id), distributed.get_process_group()
    if not process_group.broadcast_object(not has_valid_audit(sweep_folder, audit_key)):
        return
    plan = audit_key.replace_plan_device(plan)
    specs = {c.arm: store.get_run(c.run_id).read_spec() for c in reversed(plan.cells)}
    configs = {
        a.name: config_from_spec(specs[a.name], select_run_only_values(plan, a.name))
        for a in plan.arms
    }
    if process_group.rank > 0:
        audit.run_nonzero_rank(plan, configs)
        return
    try:
        audit_result = audit.run_audit(plan, configs)
    except Exception as error:
        # Bad data, say: each cell then fails by itself, and the next start proves again.
        traceback.print_exc()
        message = " ".join(str(error).split())[:300]
        failed_check = AuditCheck(
            arm=plan.reference, name=AUDIT_ERROR_CHECK, passed=False, detail=message
        )
        audit_result = audit.AuditResult(checks=[failed_check], probes=[])
    for probe in audit_result.probes:
        append_jsonl(sweep_folder.probes_path, {**probe, "training": audit_key.training_hash})
    audit_record = AuditRecord(
        checks=tuple(audit_result.checks),
        training_hash=audit_key.training_hash,
        device_type=audit_key.device_type,
    )
    atomic_write(sweep_folder.audit_path, to_json_bytes(audit_record))
    if process_group.world_size > 1 and not audit_result.probes:
        raise RuntimeError("the audit could not be made")  # the others stand in the middle of it


@contextmanager
def _redirect_output(path: Path) -> Iterator[None]:
    """What this process prints goes to `path` meanwhile, prints of C libraries included."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved_descriptors = [os.dup(1), os.dup(2)]
    log_descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(log_descriptor, 1)
        os.dup2(log_descriptor, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved_descriptor in zip((1, 2), saved_descriptors):
            os.dup2(saved_descriptor, descriptor)
            os.close(saved_descriptor)
        os.close(log_descriptor)


def _delete_checkpoints(run: RunFolder) -> None:
    """An outcome is final: what could only have continued the training is of no more use."""
    for attempt_number in run.list_attempts():
        for path in run.get_attempt(attempt_number).checkpoints_path.glob("*.safetensors"):
            path.unlink(missing_ok=True)
