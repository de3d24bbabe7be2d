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
from sweeps.cli.slurm_job import FOLLOW_UP_VARIABLE, in_follow_up
from sweeps.config.request import SlurmLauncherConfig, SweepConfig, describe_gpu_mismatch
from sweeps.costs import estimate, limit, probe
from sweeps.costs.audit_scope import AuditKey, has_audit, compute_audit_key
from sweeps.launchers import code_snapshot
from sweeps.launchers.base import Launcher
from sweeps.monitor.display import Display
from sweeps.slurm import Slurm
from uniclip.errors import RetryLater, UserError
from uniclip.store import Plan, Store, SweepFolder

if TYPE_CHECKING:
    from sweeps.launchers.slurm import SlurmLauncher


@dataclass(kw_only=True)
class SweepController:
    """One sweep, from its plan to the end of its last cell."""

    store: Store
    planned: ResolvedPlan
    settings: SweepConfig
    display: Display
    words: tuple[str, ...] = ()
    """The overrides of the command line, for who follows up on a cluster."""
    again: tuple[tuple[str, int], ...] = ()
    forced: tuple[tuple[str, int], ...] = ()
    part: bool = False
    """The plan is part of one that stands, which is left as it is; nothing else is conducted."""
    hold: Callable[[], bool] | None = None
    """In the place of `budget.hold`, where the limit is one of more than this sweep."""
    _written: tuple[int, ...] = field(default=(), init=False)
    """The plan's file when our cells were last seen in it."""
    _was_audited: bool = field(default=False, init=False)

    @property
    def plan(self) -> Plan:
        """The plan that is conducted."""
        return self.planned.plan

    def run(self) -> bool:
        """Run what is missing; whether all that can be done is done (else others are at it).

        KeyboardInterrupt leaves everything resumable.

        Raises:
            UserError: there is nobody to run it, or it would take more than `max_gpu_hours`.
        """
        self._reach()
        states, runnable_runs = self.prepare()
        if not runnable_runs and not any(s.kind == "running" for s in states.values()):
            return True
        try:
            is_complete = self._keep_busy(runnable_runs)
        except BaseException:
            self.display.close()
            self.crew.stop()
            raise
        self.display.close()
        return is_complete

    def _reach(self) -> None:
        """`UserError` if there is no Slurm to submit to: before anything is written down."""
        launcher_config = self.settings.launcher
        if isinstance(launcher_config, SlurmLauncherConfig):
            _ = Slurm().facts
            unused_gpus_note = describe_gpu_mismatch(launcher_config, self.plan.base["runtime"]["device"])
            if unused_gpus_note and not in_follow_up():
                self.display.line(f"note: {unused_gpus_note}")

    def prepare(self) -> tuple[dict[str, RunState], list[str]]:
        """Write down plan and specs, and move aside what is to be run afresh; the states of the
        runs, and those that are to be run. What would take too much is refused before that."""
        self.store.require_writable()
        if not self.part:
            self.planned = merge_with_stored_plan(self.planned, self.store)
        states = self.states()
        self._heed(states)
        to_run = self._to_run(states)
        self._introduce(states, to_run)
        self._hold(states, to_run)
        for run_id, state in states.items():
            run = self.store.run(run_id)
            if self.settings.renews(state):
                claim.restart_run(self.store, run, state)
            run.publish_spec(self.planned.specs[run_id])
        if not self.part:
            self._folder.write_plan(self.plan)
            if not in_follow_up():
                self._folder.forget_cancelled()
        return states, to_run

    def _heed(self, states: dict[str, RunState]) -> None:
        """What is to go on though it failed: as the settings say, and, for who follows up, what a
        person asked for and the queue did not take yet."""
        unfinished_runs = [r for r, s in states.items() if s.kind in claim.TERMINAL_UNFINISHED]
        requested_runs = [r for r in unfinished_runs if self.settings.takes(states[r])]
        self.again = (*self.again, *((r, states[r].attempt) for r in requested_runs))
        if not in_follow_up():
            probe.delete_failed_audit(self._folder)
        elif intent := self._folder.intent(os.environ[FOLLOW_UP_VARIABLE]):
            self.again = (*self.again, *intent.again)
            self.forced = (*self.forced, *intent.forced)

    def _to_run(self, states: dict[str, RunState]) -> list[str]:
        """What will be open when all is written down."""
        restarted_runs = {r for r, s in states.items() if self.settings.renews(s)}
        cancelled_attempts = self._folder.cancelled() if in_follow_up() else set()
        selected_runs = restarted_runs | set(self._open(states, cancelled_attempts))
        return [r for r in states if r in selected_runs]

    def _introduce(self, states: dict[str, RunState], to_run: list[str]) -> None:
        num_arms, num_seeds, num_cells = len(self.plan.arms), len(self.plan.seeds), len(self.plan.cells)
        grid_text = "" if self.part else f"{num_arms} arms x {num_seeds} seeds = "
        self.display.line(
            f"{self.plan.sweep}: {grid_text}{num_cells} cells ({len(states)} runs); {len(to_run)} to run, "
            f"{sum(s.kind == 'complete' for s in states.values())} already complete"
        )
        if to_run and not self._audited():
            self.display.line("audit: every arm takes a few steps, each component is checked ...")

    def _hold(self, states: dict[str, RunState], to_run: list[str]) -> None:
        """Refuse what would take more than `max_gpu_hours`, as far as that is known by now."""
        limit_checked = self._held(to_run)
        if not limit_checked and any(self.settings.renews(s) for s in states.values()):
            raise UserError(
                "max_gpu_hours: nothing was measured yet, so no result is moved aside; "
                "plan --probe first, then this again"
            )

    def prove(self) -> None:
        """Have every arm proven and measured where cells would run, and no cell run."""
        self._reach()
        if self._queue is None:
            probe.run_probe(self.store, self.planned)
        else:
            probe.write_specs_and_plan(self.store, self.planned)
            self._queue.prove(self.plan.cells[0].run)

    def states(self) -> dict[str, RunState]:
        """The state of every run of the plan."""
        inspect_run, job_end_lookup = claim.inspect_run, self.witness
        return {r: inspect_run(self.store.run(r), e, job_end_lookup) for r, e in self.plan.wanted().items()}

    def slots(self) -> int:
        """How many workers run side by side."""
        return self.settings.slots(self.plan.base["train"]["threads"])

    @cached_property
    def witness(self) -> claim.JobEndLookup:
        """Slurm's word on its jobs."""
        return Slurm().ending

    @cached_property
    def crew(self) -> Launcher:
        """Who works, as the launcher has it."""
        if self._queue is not None:
            return self._queue
        from sweeps.launchers.local import LocalLauncher
        from sweeps.launchers.worker import WorkerJob

        sweep_folder, device = self._folder, self.plan.base["runtime"]["device"]

        def slot(runs_audit: bool) -> WorkerJob:
            pending_audit_key = None if self._audited() else self._meant
            store_root, runs = str(self.store.root), tuple(self.planned.specs) if self.part else ()
            return WorkerJob(store_root, self.plan.sweep, self.again, self.forced, runs_audit, pending_audit_key, runs)

        return LocalLauncher(sweep_folder.slots, device, self.slots(), slot)

    @cached_property
    def _queue(self) -> SlurmLauncher | None:
        """The crew on a cluster; None on this machine."""
        launcher_config = self.settings.launcher
        if not isinstance(launcher_config, SlurmLauncherConfig):
            return None
        from sweeps.launchers.slurm import SubmitOptions, SlurmLauncher  # here: nobody else waits for submitit

        options = SubmitOptions(
            store=self.store,
            sweep=self.plan.sweep,
            launcher=launcher_config,
            threads=self.plan.base["train"]["threads"],
            device=self.plan.base["runtime"]["device"],
            words=self.words,
            again=self.again,
            forced=self.forced,
            stays=self.settings.wait,
        )
        return SlurmLauncher(options, code_snapshot.create_snapshot(self.store), self.display.line)

    @property
    def _folder(self) -> SweepFolder:
        return self.store.sweep(self.plan.sweep)

    def _keep_busy(self, to_run: list[str]) -> bool:
        """Put hands to what is open until nothing is open or running; whether it came to that.

        to_run: what was open at first, for the estimate.
        """
        estimate_printed = limit_checked = False
        while True:
            states = self.states()
            limit_checked = limit_checked or self._held(to_run)
            if self._audited():
                estimate_printed = estimate_printed or self._announce(to_run)
                self.display.show(self.plan, states)
            runnable_runs = self._open(states, self._folder.cancelled())
            any_running = any(s.kind == "running" for s in states.values())
            try:
                if not runnable_runs and not any_running and not self.crew.busy():
                    return True
                self._stand()
                self.crew.put(runnable_runs, states)
            except RetryLater as error:
                if not self.crew.stays:
                    raise
                self.display.line(str(error))
            if not self.crew.stays:
                return False
            time.sleep(self.crew.poll_seconds)

    def _stand(self) -> None:
        """Our cells stand in the plan, also where somebody else wrote theirs at the same moment:
        workers take what the plan holds."""
        plan_version = self._folder.plan_written()
        if self.part or plan_version == self._written:
            return
        stored_plan = self._folder.plan()
        if stored_plan is None or set(self.plan.cells) - set(stored_plan.cells):
            self.planned = merge_with_stored_plan(self.planned, self.store)
            self._folder.write_plan(self.plan)
        self._written = plan_version

    def _held(self, to_run: list[str]) -> bool:
        """Whether `max_gpu_hours` could be judged by now; `UserError` if these runs exceed it."""
        if self.hold is not None:
            return self.hold()
        return limit.enforce_gpu_hours_limit(self.store, self.planned, Counter(to_run), self.settings)

    def _announce(self, to_run: list[str]) -> bool:
        """Say how the audit came out, and how long these runs should take."""
        self.display.audit(self._folder.findings())
        cost_estimates = estimate.estimate_costs(self.store, self.plan, exclude=to_run)
        gpus_per_run = limit.count_gpus_per_run(self.settings.launcher, self.plan.base["runtime"]["device"])
        estimate.record_estimates(self.store, self.plan, to_run, cost_estimates, gpus_per_run)
        estimate_text = estimate.describe_total_cost(self.plan, to_run, cost_estimates, self.slots(), gpus_per_run)
        self.display.line(f"estimate: {estimate_text}")
        return True

    @cached_property
    def _meant(self) -> AuditKey:
        return compute_audit_key(self.plan)

    def _audited(self) -> bool:
        """Whether the arms are audited as we mean them; then they stay so for us, whatever audit
        another controller, of other code, may put in its place."""
        self._was_audited = self._was_audited or has_audit(self._folder, self._meant)
        return self._was_audited

    def _open(self, states: dict[str, RunState], cancelled_attempts: Container[tuple[str, int]]) -> list[str]:
        return [
            run
            for run, s in states.items()
            if (s.open and (run, s.attempt) not in cancelled_attempts)
            or ((run, s.attempt) in self.again and s.kind in claim.TERMINAL_UNFINISHED)
            or ((run, s.attempt) in self.forced and s.kind in ("lost", "running"))
        ]


def merge_with_stored_plan(resolved_plan: ResolvedPlan, store: Store) -> ResolvedPlan:
    """The plan with the seeds that its sweep has begun: it is extended by seeds, never shrunk.

    A seed of which no cell was ever submitted or claimed is no loss: it was refused, or only looked
    at with a probe, and who asks for fewer seeds means it.
    """
    sweep_folder = store.sweep(resolved_plan.plan.sweep)
    stored_plan = sweep_folder.plan()
    if stored_plan is None or not set(stored_plan.seeds) - set(resolved_plan.plan.seeds):
        return resolved_plan
    planned_cells = {(c.arm, c.seed) for c in resolved_plan.plan.cells}
    arm_names = {a.name for a in resolved_plan.plan.arms}
    earlier_cells = [c for c in stored_plan.cells if (c.arm, c.seed) not in planned_cells and c.arm in arm_names]
    earlier_cells = [c for c in earlier_cells if store.run(c.run).has_spec()]
    intents = (i for i in sweep_folder.intents() if i.kind == "run")
    submitted_runs = {run for intent in intents for element in intent.elements for run in element}
    started_seeds = {c.seed for c in earlier_cells if c.run in submitted_runs or store.run(c.run).attempts()}
    earlier_cells = [c for c in earlier_cells if c.seed in started_seeds]
    seeds = tuple(sorted({*resolved_plan.plan.seeds, *started_seeds}))
    arm_order = {name: i for i, name in enumerate(a.name for a in resolved_plan.plan.arms)}
    cells = sorted([*resolved_plan.plan.cells, *earlier_cells], key=lambda c: (c.seed, arm_order[c.arm]))
    return replace(
        resolved_plan,
        plan=replace(resolved_plan.plan, seeds=seeds, cells=tuple(cells)),
        specs={**resolved_plan.specs, **{c.run: store.run(c.run).spec() for c in earlier_cells}},
    )
