"""A controller: writes the plan down, keeps slots busy until no cell is open, then has it reported.

It holds nothing that the store does not say: killed at any moment and started again, or started
twice, it ends in the same table.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ablations.plan.plan import ResolvedPlan
from sweeps.claims import claim
from sweeps.claims.claim import RunState
from sweeps.config.request import SweepRequest
from sweeps.config.schema import SlurmLauncherConfig, SweepConfig, describe_gpu_mismatch
from sweeps.costs import estimate, limit, probe
from sweeps.costs.audit_scope import AuditKey, compute_audit_key, has_audit
from sweeps.launchers import code_snapshot
from sweeps.launchers.base import Launcher
from sweeps.monitor.display import Display
from sweeps.monitor.status import CellRow, build_rows, describe_counts
from sweeps.slurm import FOLLOW_UP_VARIABLE, Slurm, in_follow_up
from uniclip.errors import RetryLater, UserError
from uniclip.store import Plan, Store, SweepFolder

if TYPE_CHECKING:
    from sweeps.launchers.slurm import SlurmLauncher


class Detached(Exception):
    """The sweep is not finished, and this command does not wait for it: its jobs are submitted."""

    def __str__(self) -> str:
        return "the sweep continues without this command: python sweep.py status shows its progress"


@dataclass(kw_only=True)
class SweepController:
    """One sweep, from its plan to the end of its last cell."""

    store: Store
    resolved_plan: ResolvedPlan
    settings: SweepConfig
    display: Display
    follow_up_argv: tuple[str, ...] = ()
    """The overrides of the command line, for who follows up on a cluster."""
    retry_attempts: tuple[tuple[str, int], ...] = ()
    force_attempts: tuple[tuple[str, int], ...] = ()
    is_partial: bool = False
    """The plan is part of one that stands, which is left as it is; nothing else is conducted."""
    shared_limit_check: Callable[[], bool] | None = None
    """In the place of `budget.hold`, where the limit is one of more than this sweep."""
    _plan_version: tuple[int, ...] = field(default=(), init=False)
    """The plan's file when our cells were last seen in it."""
    _audit_seen: bool = field(default=False, init=False)

    @property
    def plan(self) -> Plan:
        """The plan that is conducted."""
        return self.resolved_plan.plan

    def run(self) -> bool:
        """Run what is missing; whether all that can be done is done (else others are at it).

        KeyboardInterrupt leaves everything resumable.

        Raises:
            UserError: there is nobody to run it, or it would take more than `max_gpu_hours`.
        """
        self._require_launcher()
        states, runnable_runs = self.prepare()
        if not runnable_runs and not any(s.status == "running" for s in states.values()):
            return True
        try:
            is_complete = self._run_control_loop(runnable_runs)
        except BaseException:
            self.display.close()
            self.launcher.stop()
            raise
        self.display.close()
        return is_complete

    def _require_launcher(self) -> None:
        """`UserError` if there is no Slurm to submit to: before anything is written down."""
        launcher_config = self.settings.launcher
        if isinstance(launcher_config, SlurmLauncherConfig):
            _ = Slurm().config
            unused_gpus_note = describe_gpu_mismatch(
                launcher_config, self.plan.base_config["runtime"]["device"]
            )
            if unused_gpus_note and not in_follow_up():
                self.display.print_line(f"note: {unused_gpus_note}")

    def prepare(self) -> tuple[dict[str, RunState], list[str]]:
        """Write down plan and specs, and move aside what is to be run afresh; the states of the
        runs, and those that are to be run. What would take too much is refused before that."""
        self.store.require_writable()
        if not self.is_partial:
            self.resolved_plan = merge_with_stored_plan(self.resolved_plan, self.store)
        states = self.inspect_runs()
        self._collect_retries(states)
        to_run = self._select_runs(states)
        self._print_header(states, to_run)
        self._check_limit(states, to_run)
        for run_id, state in states.items():
            run = self.store.get_run(run_id)
            if self.settings.should_restart(state):
                claim.restart_run(self.store, run, state)
            run.write_spec(self.resolved_plan.specs[run_id])
        if not self.is_partial:
            self._sweep_folder.write_plan(self.plan)
            if not in_follow_up():
                self._sweep_folder.clear_cancelled()
        return states, to_run

    def _collect_retries(self, states: dict[str, RunState]) -> None:
        """What is to go on though it failed: as the settings say, and, for who follows up, what a
        person asked for and the queue did not take yet."""
        unfinished_runs = [r for r, s in states.items() if s.status in claim.TERMINAL_UNFINISHED]
        requested_runs = [r for r in unfinished_runs if self.settings.should_run(states[r])]
        self.retry_attempts = (
            *self.retry_attempts,
            *((r, states[r].attempt) for r in requested_runs),
        )
        if not in_follow_up():
            probe.delete_failed_audit(self._sweep_folder)
        elif intent := self._sweep_folder.read_intent(os.environ[FOLLOW_UP_VARIABLE]):
            self.retry_attempts = (*self.retry_attempts, *intent.retry_attempts)
            self.force_attempts = (*self.force_attempts, *intent.force_attempts)

    def _select_runs(self, states: dict[str, RunState]) -> list[str]:
        """What will be open when all is written down."""
        restarted_runs = {r for r, s in states.items() if self.settings.should_restart(s)}
        cancelled_attempts = self._sweep_folder.read_cancelled() if in_follow_up() else set()
        selected_runs = restarted_runs | set(self._find_runnable_runs(states, cancelled_attempts))
        return [r for r in states if r in selected_runs]

    def _print_header(self, states: dict[str, RunState], to_run: list[str]) -> None:
        num_arms, num_seeds, num_cells = (
            len(self.plan.arms),
            len(self.plan.seeds),
            len(self.plan.cells),
        )
        grid_text = "" if self.is_partial else f"{num_arms} arms x {num_seeds} seeds = "
        self.display.print_line(
            f"{self.plan.sweep_id}: {grid_text}{num_cells} cells ({len(states)} runs); {len(to_run)} to run, "
            f"{sum(s.status == 'complete' for s in states.values())} already complete"
        )
        if to_run and not self._check_audited():
            self.display.print_line(
                "audit: every arm takes a few steps, each component is checked ..."
            )

    def _check_limit(self, states: dict[str, RunState], to_run: list[str]) -> None:
        """Refuse what would take more than `max_gpu_hours`, as far as that is known by now."""
        limit_checked = self._enforce_limit(to_run)
        if not limit_checked and any(self.settings.should_restart(s) for s in states.values()):
            raise UserError(
                "max_gpu_hours: nothing was measured yet, so no result is moved aside; "
                "plan --probe first, then this again"
            )

    def run_audit(self) -> None:
        """Have every arm proven and measured where cells would run, and no cell run."""
        self._require_launcher()
        if self._slurm_launcher is None:
            probe.run_probe(self.store, self.resolved_plan)
        else:
            probe.write_specs_and_plan(self.store, self.resolved_plan)
            self._slurm_launcher.submit_audit(self.plan.cells[0].run_id)

    def inspect_runs(self) -> dict[str, RunState]:
        """The state of every run of the plan."""
        inspect_run, job_end_lookup = claim.inspect_run, self.job_end_lookup
        return {
            r: inspect_run(self.store.get_run(r), e, job_end_lookup)
            for r, e in self.plan.required_evaluations().items()
        }

    def count_workers(self) -> int:
        """How many workers run side by side."""
        return self.settings.max_parallel_runs(self.plan.base_config["train"]["num_threads"])

    @cached_property
    def job_end_lookup(self) -> claim.JobEndLookup:
        """Slurm's word on its jobs."""
        return Slurm().find_end_reason

    @cached_property
    def launcher(self) -> Launcher:
        """Who works, as the launcher has it."""
        if self._slurm_launcher is not None:
            return self._slurm_launcher
        from sweeps.launchers.local import LocalLauncher
        from sweeps.launchers.worker import WorkerJob

        sweep_folder, device = self._sweep_folder, self.plan.base_config["runtime"]["device"]

        def build_worker_job(runs_audit: bool) -> WorkerJob:
            pending_audit_key = None if self._check_audited() else self._audit_key
            store_root, runs = (
                str(self.store.root),
                tuple(self.resolved_plan.specs) if self.is_partial else (),
            )
            return WorkerJob(
                store_root,
                self.plan.sweep_id,
                self.retry_attempts,
                self.force_attempts,
                runs_audit,
                pending_audit_key,
                runs,
            )

        return LocalLauncher(
            sweep_folder.slots_path, device, self.count_workers(), build_worker_job
        )

    @cached_property
    def _slurm_launcher(self) -> SlurmLauncher | None:
        """The crew on a cluster; None on this machine."""
        launcher_config = self.settings.launcher
        if not isinstance(launcher_config, SlurmLauncherConfig):
            return None
        from sweeps.launchers.slurm import (
            SlurmLauncher,
            SubmitOptions,
        )  # here: nobody else waits for submitit

        options = SubmitOptions(
            store=self.store,
            sweep=self.plan.sweep_id,
            launcher_config=launcher_config,
            threads=self.plan.base_config["train"]["num_threads"],
            device=self.plan.base_config["runtime"]["device"],
            follow_up_argv=self.follow_up_argv,
            retry_attempts=self.retry_attempts,
            force_attempts=self.force_attempts,
            blocking=self.settings.wait,
        )
        return SlurmLauncher(
            options, code_snapshot.create_snapshot(self.store), self.display.print_line
        )

    @property
    def _sweep_folder(self) -> SweepFolder:
        return self.store.get_sweep(self.plan.sweep_id)

    def _run_control_loop(self, to_run: list[str]) -> bool:
        """Put hands to what is open until nothing is open or running; whether it came to that.

        to_run: what was open at first, for the estimate.
        """
        estimate_printed = limit_checked = False
        while True:
            states = self.inspect_runs()
            limit_checked = limit_checked or self._enforce_limit(to_run)
            if self._check_audited():
                estimate_printed = estimate_printed or self._print_estimate(to_run)
                self.display.show_states(self.plan, states)
            runnable_runs = self._find_runnable_runs(states, self._sweep_folder.read_cancelled())
            any_running = any(s.status == "running" for s in states.values())
            try:
                if not runnable_runs and not any_running and not self.launcher.is_active():
                    return True
                self._ensure_plan_current()
                self.launcher.submit(runnable_runs, states)
            except RetryLater as error:
                if not self.launcher.blocking:
                    raise
                self.display.print_line(str(error))
            if not self.launcher.blocking:
                return False
            time.sleep(self.launcher.poll_seconds)

    def _ensure_plan_current(self) -> None:
        """Our cells stand in the plan, also where somebody else wrote theirs at the same moment:
        workers take what the plan holds."""
        plan_version = self._sweep_folder.get_plan_version()
        if self.is_partial or plan_version == self._plan_version:
            return
        stored_plan = self._sweep_folder.read_plan()
        if stored_plan is None or set(self.plan.cells) - set(stored_plan.cells):
            self.resolved_plan = merge_with_stored_plan(self.resolved_plan, self.store)
            self._sweep_folder.write_plan(self.plan)
        self._plan_version = plan_version

    def _enforce_limit(self, to_run: list[str]) -> bool:
        """Whether `max_gpu_hours` could be judged by now; `UserError` if these runs exceed it."""
        if self.shared_limit_check is not None:
            return self.shared_limit_check()
        return limit.enforce_gpu_hours_limit(
            self.store, self.resolved_plan, Counter(to_run), self.settings
        )

    def _print_estimate(self, to_run: list[str]) -> bool:
        """Say how the audit came out, and how long these runs should take."""
        self.display.print_audit(self._sweep_folder.read_audit_checks())
        cost_estimates = estimate.estimate_costs(self.store, self.plan, exclude=to_run)
        gpus_per_run = limit.count_gpus_per_run(
            self.settings.launcher, self.plan.base_config["runtime"]["device"]
        )
        estimate.record_estimates(self.store, self.plan, to_run, cost_estimates, gpus_per_run)
        estimate_text = estimate.describe_total_cost(
            self.plan, to_run, cost_estimates, self.count_workers(), gpus_per_run
        )
        self.display.print_line(f"estimate: {estimate_text}")
        return True

    @cached_property
    def _audit_key(self) -> AuditKey:
        return compute_audit_key(self.plan)

    def _check_audited(self) -> bool:
        """Whether the arms are audited as we mean them; then they stay so for us, whatever audit
        another controller, of other code, may put in its place."""
        self._audit_seen = self._audit_seen or has_audit(self._sweep_folder, self._audit_key)
        return self._audit_seen

    def _find_runnable_runs(
        self, states: dict[str, RunState], cancelled_attempts: Container[tuple[str, int]]
    ) -> list[str]:
        return [
            run
            for run, s in states.items()
            if (s.is_runnable and (run, s.attempt) not in cancelled_attempts)
            or ((run, s.attempt) in self.retry_attempts and s.status in claim.TERMINAL_UNFINISHED)
            or ((run, s.attempt) in self.force_attempts and s.status in ("lost", "running"))
        ]


def build_controller(
    sweep_request: SweepRequest, resolved_plan: ResolvedPlan, display: Display | None = None
) -> SweepController:
    """Return the controller of a whole plan, with the settings of a request."""
    return SweepController(
        store=sweep_request.store,
        resolved_plan=resolved_plan,
        settings=sweep_request.settings,
        display=display or Display(),
        follow_up_argv=sweep_request.follow_up_argv,
    )


def run_cells(controller: SweepController) -> list[CellRow]:
    """Run what is missing, print what failed, and return the status of every cell.

    The plan that was run, which may hold more seeds than the requested one, is `controller.plan`.

    Raises:
        Detached: jobs are submitted, and nothing waits for them.
    """
    is_complete, display = controller.run(), controller.display
    rows = build_rows(controller.store, controller.plan)
    display.print_line(describe_counts(rows))
    if not is_complete:
        raise Detached
    for row in rows:
        if row.state.status in ("failed", "lost"):
            display.print_line(
                f"{row.cell} {row.state.status}: {row.state.reason} (fix: {row.advice})"
            )
    for line in controller.plan.skipped:
        display.print_line(line)
    return rows


def merge_with_stored_plan(resolved_plan: ResolvedPlan, store: Store) -> ResolvedPlan:
    """The plan with the seeds that its sweep has begun: it is extended by seeds, never shrunk.

    A seed of which no cell was ever submitted or claimed is no loss: it was refused, or only looked
    at with a probe, and who asks for fewer seeds means it.
    """
    sweep_folder = store.get_sweep(resolved_plan.plan.sweep_id)
    stored_plan = sweep_folder.read_plan()
    if stored_plan is None or not set(stored_plan.seeds) - set(resolved_plan.plan.seeds):
        return resolved_plan
    planned_cells = {(c.arm, c.seed) for c in resolved_plan.plan.cells}
    arm_names = {a.name for a in resolved_plan.plan.arms}
    earlier_cells = [
        c for c in stored_plan.cells if (c.arm, c.seed) not in planned_cells and c.arm in arm_names
    ]
    earlier_cells = [c for c in earlier_cells if store.get_run(c.run_id).has_spec()]
    intents = (i for i in sweep_folder.read_intents() if i.kind == "run")
    submitted_runs = {
        run for intent in intents for element in intent.array_tasks for run in element
    }
    started_seeds = {
        c.seed
        for c in earlier_cells
        if c.run_id in submitted_runs or store.get_run(c.run_id).list_attempts()
    }
    earlier_cells = [c for c in earlier_cells if c.seed in started_seeds]
    seeds = tuple(sorted({*resolved_plan.plan.seeds, *started_seeds}))
    arm_order = {name: i for i, name in enumerate(a.name for a in resolved_plan.plan.arms)}
    cells = sorted(
        [*resolved_plan.plan.cells, *earlier_cells], key=lambda c: (c.seed, arm_order[c.arm])
    )
    return replace(
        resolved_plan,
        plan=replace(resolved_plan.plan, seeds=seeds, cells=tuple(cells)),
        specs={
            **resolved_plan.specs,
            **{c.run_id: store.get_run(c.run_id).read_spec() for c in earlier_cells},
        },
    )
