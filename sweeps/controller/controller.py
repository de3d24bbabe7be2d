"""A controller: writes the plan to the store and keeps workers busy until every cell is finished.

It keeps no state that is not in the store. If it is killed at any moment and started again, or
started twice, the sweep ends with the same results.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ablations.plan.plan import ResolvedPlan
from sweeps.claims import claim
from sweeps.claims.status import JobEndLookup, RunState, inspect_runs
from sweeps.config.schema import (
    DebugLauncherConfig,
    SlurmLauncherConfig,
    SweepConfig,
)
from sweeps.controller.changed_data import ChangedDataGuard
from sweeps.controller.denied_runs import describe_denied_runs, find_denied_runs
from sweeps.controller.launcher_factory import (
    build_debug_launcher,
    build_local_launcher,
    build_slurm_launcher,
    count_workers,
)
from sweeps.controller.plan_merge import merge_with_stored_plan
from sweeps.controller.reconcile import Actions, add_retries, merge_policies, reconcile
from sweeps.costs import estimate, limit, probe
from sweeps.costs.audit_scope import AuditKey, compute_audit_key, find_refusal, has_audit
from sweeps.doctor.preflight import check_sweep
from sweeps.launchers.base import Launcher
from sweeps.monitor.display import Display
from sweeps.slurm import FOLLOW_UP_VARIABLE, Slurm, in_follow_up
from uniclip.errors import RetryLater, UserError
from uniclip.store import Plan, RetryPolicy, RunStatus, Store, SweepFolder

if TYPE_CHECKING:
    from sweeps.launchers.slurm import SlurmLauncher


class Detached(Exception):
    """The sweep is not finished, and this command does not wait for it: its jobs are submitted."""

    def __str__(self) -> str:
        return "the sweep continues without this command: python sweep.py status shows its progress"


@dataclass(kw_only=True)
class SweepController:
    """Runs the cells of one plan to their end."""

    store: Store
    resolved_plan: ResolvedPlan
    settings: SweepConfig
    display: Display
    follow_up_argv: tuple[str, ...] = ()
    """Command line of the follow-up job on a cluster."""
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    """Attempts that are retried or declared dead. With `only_runs` the plan is a part of the stored
    plan, which is left as it is."""
    shared_limit_check: Callable[[], bool] | None = None
    """Replaces `limit.enforce_gpu_hours_limit` if the limit covers more than this sweep."""
    _checked_plan_version: tuple[int, ...] = field(default=(), init=False)
    """Version of the stored plan that was last seen to contain the cells of this plan."""
    _audit_seen: bool = field(default=False, init=False)
    denied_runs: tuple[str, ...] = field(default=(), init=False)
    """Open runs that are left out, since their folders belong to another user."""

    @property
    def plan(self) -> Plan:
        """The plan that is run, merged with the stored one by `prepare`."""
        return self.resolved_plan.plan

    @property
    def is_partial(self) -> bool:
        """Whether only some runs of the stored plan are run."""
        return bool(self.policy.only_runs)

    def run(self) -> bool:
        """Run the cells that are not finished.

        KeyboardInterrupt leaves every run in a state from which it continues.

        Returns:
            Whether nothing is left to run; False if submitted jobs run the rest.

        Raises:
            UserError: a check of `sweeps.doctor.preflight` found a problem, or the runs would take
                more than `max_gpu_hours`.
        """
        actions = self.prepare()
        if actions.is_finished:
            return True
        try:
            is_complete = self._run_control_loop(actions.submit)
        except BaseException:
            self.display.close()
            self.launcher.stop()
            raise
        self.display.close()
        return is_complete

    def prepare(self) -> Actions:
        """Write plan and specs to the store, and move aside the results that are replaced.

        Nothing is written if a check finds a problem or the runs would exceed `max_gpu_hours`, and
        nothing to the runs if none is to be executed.

        Returns:
            What there is to do, as it was before this call wrote anything.

        Raises:
            UserError: see `run`.
        """
        if not self.is_partial:
            self.resolved_plan = merge_with_stored_plan(self.resolved_plan, self.store)
        states = self.inspect_runs()
        self._extend_policy(states)
        actions = reconcile(
            states,
            self.policy,
            cancelled_attempts=self._sweep_folder.read_cancelled() if in_follow_up() else (),
            should_restart=self.settings.should_restart,
        )
        self._leave_out_denied_runs(actions.submit)
        actions = actions.without(self.denied_runs)
        if not actions.is_finished:
            self._require_launcher()
        if actions.submit:
            self._run_preflight(actions.submit)
            if not in_follow_up():
                probe.delete_failed_audit(self._sweep_folder, self.plan)
        self._print_header(states, actions.submit)
        if actions.submit:
            self._check_limit(actions)
            self._write_specs(states, actions.restart)
        if not self.is_partial:
            self._store_plan(is_required=not actions.is_finished)
        return actions

    def run_audit(self) -> None:
        """Audit and measure every arm where cells would run, without running a cell."""
        self._require_launcher()
        self._run_preflight(tuple(self.plan.required_evaluations()))
        if self._slurm_launcher is None:
            probe.run_probe(self.store, self.resolved_plan, self.settings.launcher.world_size)
        else:
            probe.write_specs_and_plan(self.store, self.resolved_plan)
            self._slurm_launcher.submit_audit(self.plan.cells[0].run_id)

    def inspect_runs(self) -> dict[str, RunState]:
        """Return the state of every run of the plan."""
        return inspect_runs(self.store, self.plan.required_evaluations(), self.job_end_lookup)

    def find_actions(self, states: Mapping[str, RunState]) -> Actions:
        """Return what is to be done now that plan and specs are written."""
        actions = reconcile(
            states, self.policy, cancelled_attempts=self._sweep_folder.read_cancelled()
        )
        return actions.without(self.denied_runs)

    def count_workers(self) -> int:
        """Return how many runs are executed in parallel."""
        return count_workers(self.settings, self.plan)

    @cached_property
    def job_end_lookup(self) -> JobEndLookup:
        """Looks up in Slurm how the job of an attempt ended."""
        return Slurm().find_end_reason

    @cached_property
    def launcher(self) -> Launcher:
        """Starts workers on this machine, or submits jobs to Slurm."""
        return self._slurm_launcher or self._build_local_launcher()

    # -- preparing --

    def _require_launcher(self) -> None:
        """Raise `UserError` if Slurm is needed and not available, before anything is written."""
        if isinstance(self.settings.launcher, SlurmLauncherConfig):
            _ = Slurm().config

    def _extend_policy(self, states: Mapping[str, RunState]) -> None:
        """Add the retries of the settings and, in a follow-up job, those of the original command.

        The original command's retries are repeated because Slurm may have accepted only a part. A
        follow-up job retries no run that refused its data: those that it sees itself may be the
        planned ones while other nodes lack them, and it would submit such runs for ever.
        """
        self.policy = add_retries(
            self.policy,
            states,
            self.settings.should_run,
            continues_refused=not in_follow_up(),
        )
        if not in_follow_up():
            return
        if intent := self._sweep_folder.read_intent(os.environ[FOLLOW_UP_VARIABLE]):
            self.policy = merge_policies(self.policy, intent.retry_policy)

    def _leave_out_denied_runs(self, runs: Sequence[str]) -> None:
        """Find the runs whose folders this user may not write, and say whose they are in a line."""
        denied_paths = find_denied_runs(self.store, runs)
        self.denied_runs = tuple(denied_paths)
        if denied_paths:
            self.display.print_line(describe_denied_runs(self.store, denied_paths))

    def _run_preflight(self, runs: tuple[str, ...]) -> None:
        """Make the doctor's cheap checks; a follow-up job relies on those of the first command."""
        if in_follow_up():
            self.store.require_writable()
        else:
            check_sweep(
                self.settings, self.store, self.resolved_plan, runs, self.display.print_line
            )

    def _store_plan(self, *, is_required: bool) -> None:
        """Write the plan, and forget the cells that were cancelled.

        If the store cannot be written and nothing is left to execute, its plan is kept.
        """
        try:
            self._sweep_folder.write_plan(self.plan)
            if not in_follow_up():
                self._sweep_folder.clear_cancelled()
        except OSError as error:
            if is_required or self._sweep_folder.read_plan() is None:
                raise
            self.display.print_line(
                f"note: {self.store.describe_write_error(error)}; its plan is kept"
            )

    def _print_header(self, states: Mapping[str, RunState], runs: Sequence[str]) -> None:
        plan = self.plan
        is_whole = len(plan.cells) == len(plan.arms) * len(plan.seeds)
        grid = f"{len(plan.arms)} arms x {len(plan.seeds)} seeds = " if is_whole else ""
        num_complete = sum(s.status == RunStatus.COMPLETE for s in states.values())
        self.display.print_line(
            f"{plan.sweep_id}: {'' if self.is_partial else grid}{len(plan.cells)} cells "
            f"({len(states)} runs); {len(runs)} to run, {num_complete} already complete"
        )
        if runs and not self._is_audited():
            self.display.print_line("audit: training each arm for a few steps ...")

    def _check_limit(self, actions: Actions) -> None:
        """Raise `UserError` if the runs would exceed `max_gpu_hours`, as far as that is known."""
        if not self._enforce_limit(actions.submit) and actions.restart:
            raise UserError(
                "max_gpu_hours: nothing was measured yet, so no result is moved aside; "
                "run plan --probe first, then this command again"
            )

    def _write_specs(self, states: Mapping[str, RunState], restart: Sequence[str]) -> None:
        for run_id, state in states.items():
            run = self.store.get_run(run_id)
            if run_id in restart:
                claim.restart_run(self.store, run, state)
            if state.status != RunStatus.UNREADABLE and run_id not in self.denied_runs:
                run.write_spec(self.resolved_plan.specs[run_id])

    # -- running --

    def _run_control_loop(self, planned_runs: Sequence[str]) -> bool:
        """Have workers execute what is open until nothing is open or running.

        Args:
            planned_runs: the runs that were open at first, for the estimate.

        Returns:
            Whether everything has ended; False if the launcher does not wait for that.
        """
        estimate_printed = limit_checked = False
        self.display.use_measurements(self.store, self.count_workers())
        if self._slurm_launcher is not None:
            self.display.idle_message = "jobs wait in the queue"
        while True:
            states = self.inspect_runs()
            limit_checked = limit_checked or self._enforce_limit(planned_runs)
            if self._is_audited():
                if (refusal := find_refusal(self._sweep_folder, self.plan)) is not None:
                    raise UserError(refusal)
                if not estimate_printed:
                    self._print_estimate(planned_runs)
                    estimate_printed = True
                self.display.show_states(self.plan, states)
            else:
                self.display.show_audit(self.plan)
            actions = self.find_actions(states)
            try:
                is_on_hold = self._changed_data_guard.is_on_hold(self.plan, states)
                if actions.is_finished and not self.launcher.is_active():
                    return True
                self._ensure_plan_current()
                if not is_on_hold:
                    self.launcher.submit(actions.submit, states)
            except RetryLater as error:
                if not self.launcher.blocking:
                    raise
                self.display.print_line(str(error))
            if not self.launcher.blocking:
                return False
            time.sleep(self.launcher.poll_seconds)

    def _ensure_plan_current(self) -> None:
        """Write the plan again if another controller has replaced it by one without its cells.

        Workers execute the cells of the stored plan.
        """
        plan_version = self._sweep_folder.get_plan_version()
        if self.is_partial or plan_version == self._checked_plan_version:
            return
        stored_plan = self._sweep_folder.read_plan()
        if stored_plan is None or set(self.plan.cells) - set(stored_plan.cells):
            self.resolved_plan = merge_with_stored_plan(self.resolved_plan, self.store)
            self._sweep_folder.write_plan(self.plan)
        self._checked_plan_version = plan_version

    def _enforce_limit(self, runs: Sequence[str]) -> bool:
        """Return whether `max_gpu_hours` could be checked; raise `UserError` if it is exceeded."""
        if self.shared_limit_check is not None:
            return self.shared_limit_check()
        return limit.enforce_gpu_hours_limit(
            self.store,
            self.resolved_plan,
            Counter(runs),
            max_gpu_hours=self.settings.max_gpu_hours,
            launcher=self.settings.launcher,
        )

    def _print_estimate(self, runs: Sequence[str]) -> None:
        """Print the result of the audit and the estimated cost of these runs."""
        self.display.print_audit(self._sweep_folder.read_audit_checks())
        world_size = self.settings.launcher.world_size
        cost_estimates = estimate.estimate_costs(self.store, self.plan, runs, world_size)
        gpus_per_run = limit.count_gpus_per_run(self.settings.launcher, self.plan.device)
        estimate.record_estimates(
            self._sweep_folder, self.plan.cells, runs, cost_estimates, gpus_per_run
        )
        estimate_text = estimate.describe_total_cost(
            self.plan.cells, runs, cost_estimates, self.count_workers(), gpus_per_run
        )
        self.display.print_line(f"estimate: {estimate_text}")

    # -- audit and launchers --

    @cached_property
    def _changed_data_guard(self) -> ChangedDataGuard:
        return ChangedDataGuard(store=self.store)

    @property
    def _sweep_folder(self) -> SweepFolder:
        return self.store.get_sweep(self.plan.sweep_id)

    @cached_property
    def _audit_key(self) -> AuditKey:
        return compute_audit_key(self.plan, self.settings.launcher.world_size)

    def _is_audited(self) -> bool:
        """Return whether the arms were audited with this code on this type of device.

        This stays true even if a controller of a different code version replaces the audit.
        """
        self._audit_seen = self._audit_seen or has_audit(self._sweep_folder, self._audit_key)
        return self._audit_seen

    def _build_local_launcher(self) -> Launcher:
        def find_open_audit() -> AuditKey | None:
            return None if self._is_audited() else self._audit_key

        if isinstance(self.settings.launcher, DebugLauncherConfig):
            return build_debug_launcher(self.store, self.plan, self.policy, find_open_audit)
        return build_local_launcher(
            self.store,
            self.plan,
            self.policy,
            self.count_workers(),
            find_open_audit,
            self.settings.launcher.processes_per_node,
        )

    @cached_property
    def _slurm_launcher(self) -> SlurmLauncher | None:
        """Submits jobs to a cluster; None if cells run on this machine."""
        if not isinstance(self.settings.launcher, SlurmLauncherConfig):
            return None
        return build_slurm_launcher(
            self.store,
            self.plan,
            self.policy,
            self.settings,
            self.follow_up_argv,
            self.display.print_line,
        )
