"""Cells in the process of the command, one after another, under a debugger.

As with submitit's DebugExecutor, output goes to the terminal, `breakpoint()` works, and pdb opens
where a cell fails (ipdb with PYTHONBREAKPOINT=ipdb.set_trace, none with PYTHONBREAKPOINT=0).
"""

from __future__ import annotations

import importlib
import os
import traceback
from bdb import BdbQuit
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import TracebackType

from sweeps.claims.status import RunState
from sweeps.costs.audit_run import run_audit
from sweeps.costs.audit_scope import AuditKey
from sweeps.launchers.attempt_execution import StopFlag, delete_checkpoints
from sweeps.launchers.worker import Worker
from uniclip.errors import UserError, describe_error
from uniclip.store import AttemptFolder, ExitKind, Plan, RetryPolicy, RunFolder, Store


class DebugLauncher:
    """Executes the audit and each open run in this process."""

    blocking = True
    poll_seconds = 0.0

    def __init__(
        self,
        store: Store,
        plan: Plan,
        policy: RetryPolicy,
        find_open_audit: Callable[[], AuditKey | None],
    ) -> None:
        """Create a launcher.

        Args:
            store: the store of the sweep.
            plan: the plan that is run.
            policy: attempts that are retried or declared dead.
            find_open_audit: returns the audit that is still to be made, or None.
        """
        self.store, self.plan, self.policy = store, plan, policy
        self.find_open_audit = find_open_audit

    @cached_property
    def worker(self) -> Worker:
        """Claims the runs and executes them."""
        return Worker(
            store=self.store,
            plan=self.plan,
            stop=StopFlag(),
            policy=self.policy,
            execute_attempt=execute_in_debugger,
        )

    def submit(self, runnable_runs: Sequence[str], states: Mapping[str, RunState]) -> None:
        """Make the audit if it is open, or else execute the first open run.

        Raises:
            UserError: the run failed.
            KeyboardInterrupt: the user quit the debugger.
        """
        audit_key = self.find_open_audit()
        if runnable_runs and audit_key is not None:
            run_audit(self.store, self.plan, audit_key)
        elif runnable_runs:
            self.worker.claim_and_execute(runnable_runs[0])

    def is_active(self) -> bool:
        """Return False: when `submit` returns, nothing is running."""
        return False

    def stop(self) -> None:
        """Do nothing: nothing is running."""


def execute_in_debugger(
    run: RunFolder, attempt: AttemptFolder, execute_cell: Callable[[], ExitKind], stop: StopFlag
) -> ExitKind:
    """Execute a claimed attempt, write its exit record, and return how it ended.

    If it fails, the debugger opens. The attempt is recorded as interrupted: the same command runs
    the cell again.

    Raises:
        UserError: it failed.
        KeyboardInterrupt: the user quit the debugger, or pressed Ctrl-C.
    """
    try:
        exit_kind = execute_cell()
    except (KeyboardInterrupt, BdbQuit):
        attempt.write_end("interrupted")
        raise KeyboardInterrupt from None
    except Exception as error:
        traceback.print_exc()
        attempt.path.mkdir(parents=True, exist_ok=True)
        with attempt.log_path.open("a", encoding="utf-8") as log:
            log.write("launcher=debug: the output of the cell went to the terminal\n")
            traceback.print_exc(file=log)
        try:
            open_post_mortem(error.__traceback__)
        finally:
            attempt.write_end("interrupted", describe_error(error))
        raise UserError(
            f"run {run.id} failed: {describe_error(error)}; the same command runs it again"
        ) from None
    attempt.write_end(exit_kind)
    if run.read_outcome() is not None:
        delete_checkpoints(run)
    return exit_kind


def open_post_mortem(trace: TracebackType | None) -> None:
    """Open the debugger that PYTHONBREAKPOINT names, by default pdb, where an error was raised."""
    hook = os.environ.get("PYTHONBREAKPOINT", "")
    if hook == "0":
        return
    debugger = importlib.import_module("ipdb" if hook.startswith("ipdb") else "pdb")
    debugger.post_mortem(trace)
