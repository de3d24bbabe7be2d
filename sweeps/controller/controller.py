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

from ablations.plan.plan import Planned
from sweeps.claims import claim
from sweeps.claims.claim import State
from sweeps.cli.slurm_job import FOLLOWS, in_follow_up
from sweeps.config.request import SlurmLauncher, SweepConfig, unused_gpus
from sweeps.costs import estimate, limit, probe
from sweeps.costs.audit_scope import Basis, audited, basis
from sweeps.launchers import code_snapshot
from sweeps.launchers.base import Crew
from sweeps.monitor.display import Display
from sweeps.slurm import Slurm
from uniclip.errors import NotNow, UserError
from uniclip.store import Plan, Store, SweepFolder

if TYPE_CHECKING:
    from sweeps.launchers.slurm import Queue


@dataclass(kw_only=True)
class Conduct:
    """One sweep, from its plan to the end of its last cell."""

    store: Store
    planned: Planned
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
        states, opened = self.prepare()
        if not opened and not any(s.kind == "running" for s in states.values()):
            return True
        try:
            done = self._keep_busy(opened)
        except BaseException:
            self.display.close()
            self.crew.stop()
            raise
        self.display.close()
        return done

    def _reach(self) -> None:
        """`UserError` if there is no Slurm to submit to: before anything is written down."""
        launcher = self.settings.launcher
        if isinstance(launcher, SlurmLauncher):
            _ = Slurm().facts
            idle = unused_gpus(launcher, self.plan.base["runtime"]["device"])
            if idle and not in_follow_up():
                self.display.line(f"note: {idle}")

    def prepare(self) -> tuple[dict[str, State], list[str]]:
        """Write down plan and specs, and move aside what is to be run afresh; the states of the
        runs, and those that are to be run. What would take too much is refused before that."""
        self.store.require_writable()
        if not self.part:
            self.planned = united(self.planned, self.store)
        states = self.states()
        self._heed(states)
        to_run = self._to_run(states)
        self._introduce(states, to_run)
        self._hold(states, to_run)
        for run_id, state in states.items():
            run = self.store.run(run_id)
            if self.settings.renews(state):
                claim.renew(self.store, run, state)
            run.publish_spec(self.planned.specs[run_id])
        if not self.part:
            self._folder.write_plan(self.plan)
            if not in_follow_up():
                self._folder.forget_cancelled()
        return states, to_run

    def _heed(self, states: dict[str, State]) -> None:
        """What is to go on though it failed: as the settings say, and, for who follows up, what a
        person asked for and the queue did not take yet."""
        failed = [r for r, s in states.items() if s.kind in claim.AT_REST]
        asked = [r for r in failed if self.settings.takes(states[r])]
        self.again = (*self.again, *((r, states[r].attempt) for r in asked))
        if not in_follow_up():
            probe.forget_failed(self._folder)
        elif intent := self._folder.intent(os.environ[FOLLOWS]):
            self.again = (*self.again, *intent.again)
            self.forced = (*self.forced, *intent.forced)

    def _to_run(self, states: dict[str, State]) -> list[str]:
        """What will be open when all is written down."""
        renewed = {r for r, s in states.items() if self.settings.renews(s)}
        cancelled = self._folder.cancelled() if in_follow_up() else set()
        wanted = renewed | set(self._open(states, cancelled))
        return [r for r in states if r in wanted]

    def _introduce(self, states: dict[str, State], to_run: list[str]) -> None:
        arms, seeds, cells = len(self.plan.arms), len(self.plan.seeds), len(self.plan.cells)
        whole = "" if self.part else f"{arms} arms x {seeds} seeds = "
        self.display.line(
            f"{self.plan.sweep}: {whole}{cells} cells ({len(states)} runs); {len(to_run)} to run, "
            f"{sum(s.kind == 'complete' for s in states.values())} already complete"
        )
        if to_run and not self._audited():
            self.display.line("audit: every arm takes a few steps, each component is checked ...")

    def _hold(self, states: dict[str, State], to_run: list[str]) -> None:
        """Refuse what would take more than `max_gpu_hours`, as far as that is known by now."""
        held = self._held(to_run)
        if not held and any(self.settings.renews(s) for s in states.values()):
            raise UserError(
                "max_gpu_hours: nothing was measured yet, so no result is moved aside; "
                "plan --probe first, then this again"
            )

    def prove(self) -> None:
        """Have every arm proven and measured where cells would run, and no cell run."""
        self._reach()
        if self._queue is None:
            probe.here(self.store, self.planned)
        else:
            probe.prepare(self.store, self.planned)
            self._queue.prove(self.plan.cells[0].run)

    def states(self) -> dict[str, State]:
        """The state of every run of the plan."""
        look, witness = claim.look, self.witness
        return {r: look(self.store.run(r), e, witness) for r, e in self.plan.wanted().items()}

    def slots(self) -> int:
        """How many workers run side by side."""
        return self.settings.slots(self.plan.base["train"]["threads"])

    @cached_property
    def witness(self) -> claim.Witness:
        """Slurm's word on its jobs."""
        return Slurm().ending

    @cached_property
    def crew(self) -> Crew:
        """Who works, as the launcher has it."""
        if self._queue is not None:
            return self._queue
        from sweeps.launchers.local import Slots
        from sweeps.launchers.worker import Slot

        folder, device = self._folder, self.plan.base["runtime"]["device"]

        def slot(proves: bool) -> Slot:
            meant = None if self._audited() else self._meant
            place, runs = str(self.store.root), tuple(self.planned.specs) if self.part else ()
            return Slot(place, self.plan.sweep, self.again, self.forced, proves, meant, runs)

        return Slots(folder.slots, device, self.slots(), slot)

    @cached_property
    def _queue(self) -> Queue | None:
        """The crew on a cluster; None on this machine."""
        launcher = self.settings.launcher
        if not isinstance(launcher, SlurmLauncher):
            return None
        from sweeps.launchers.slurm import Order, Queue  # here: nobody else waits for submitit

        order = Order(
            store=self.store,
            sweep=self.plan.sweep,
            launcher=launcher,
            threads=self.plan.base["train"]["threads"],
            device=self.plan.base["runtime"]["device"],
            words=self.words,
            again=self.again,
            forced=self.forced,
            stays=self.settings.wait,
        )
        return Queue(order, code_snapshot.take(self.store), self.display.line)

    @property
    def _folder(self) -> SweepFolder:
        return self.store.sweep(self.plan.sweep)

    def _keep_busy(self, to_run: list[str]) -> bool:
        """Put hands to what is open until nothing is open or running; whether it came to that.

        to_run: what was open at first, for the estimate.
        """
        announced = held = False
        while True:
            states = self.states()
            held = held or self._held(to_run)
            if self._audited():
                announced = announced or self._announce(to_run)
                self.display.show(self.plan, states)
            opened = self._open(states, self._folder.cancelled())
            running = any(s.kind == "running" for s in states.values())
            try:
                if not opened and not running and not self.crew.busy():
                    return True
                self._stand()
                self.crew.put(opened, states)
            except NotNow as why:
                if not self.crew.stays:
                    raise
                self.display.line(str(why))
            if not self.crew.stays:
                return False
            time.sleep(self.crew.poll_seconds)

    def _stand(self) -> None:
        """Our cells stand in the plan, also where somebody else wrote theirs at the same moment:
        workers take what the plan holds."""
        written = self._folder.plan_written()
        if self.part or written == self._written:
            return
        there = self._folder.plan()
        if there is None or set(self.plan.cells) - set(there.cells):
            self.planned = united(self.planned, self.store)
            self._folder.write_plan(self.plan)
        self._written = written

    def _held(self, to_run: list[str]) -> bool:
        """Whether `max_gpu_hours` could be judged by now; `UserError` if these runs exceed it."""
        if self.hold is not None:
            return self.hold()
        return limit.hold(self.store, self.planned, Counter(to_run), self.settings)

    def _announce(self, to_run: list[str]) -> bool:
        """Say how the audit came out, and how long these runs should take."""
        self.display.audit(self._folder.findings())
        known = estimate.prices(self.store, self.plan, apart=to_run)
        devices = limit.devices(self.settings.launcher, self.plan.base["runtime"]["device"])
        estimate.foretell(self.store, self.plan, to_run, known, devices)
        words = estimate.estimate(self.plan, to_run, known, self.slots(), devices)
        self.display.line(f"estimate: {words}")
        return True

    @cached_property
    def _meant(self) -> Basis:
        return basis(self.plan)

    def _audited(self) -> bool:
        """Whether the arms are audited as we mean them; then they stay so for us, whatever audit
        another controller, of other code, may put in its place."""
        self._was_audited = self._was_audited or audited(self._folder, self._meant)
        return self._was_audited

    def _open(self, states: dict[str, State], cancelled: Container[tuple[str, int]]) -> list[str]:
        return [
            run
            for run, s in states.items()
            if (s.open and (run, s.attempt) not in cancelled)
            or ((run, s.attempt) in self.again and s.kind in claim.AT_REST)
            or ((run, s.attempt) in self.forced and s.kind in ("lost", "running"))
        ]


def united(planned: Planned, store: Store) -> Planned:
    """The plan with the seeds that its sweep has begun: it is extended by seeds, never shrunk.

    A seed of which no cell was ever submitted or claimed is no loss: it was refused, or only looked
    at with a probe, and who asks for fewer seeds means it.
    """
    folder = store.sweep(planned.plan.sweep)
    before = folder.plan()
    if before is None or not set(before.seeds) - set(planned.plan.seeds):
        return planned
    known = {(c.arm, c.seed) for c in planned.plan.cells}
    arms = {a.name for a in planned.plan.arms}
    older = [c for c in before.cells if (c.arm, c.seed) not in known and c.arm in arms]
    older = [c for c in older if store.run(c.run).has_spec()]
    intents = (i for i in folder.intents() if i.kind == "run")
    submitted = {run for intent in intents for element in intent.elements for run in element}
    begun = {c.seed for c in older if c.run in submitted or store.run(c.run).attempts()}
    older = [c for c in older if c.seed in begun]
    seeds = tuple(sorted({*planned.plan.seeds, *begun}))
    order = {name: i for i, name in enumerate(a.name for a in planned.plan.arms)}
    cells = sorted([*planned.plan.cells, *older], key=lambda c: (c.seed, order[c.arm]))
    return replace(
        planned,
        plan=replace(planned.plan, seeds=seeds, cells=tuple(cells)),
        specs={**planned.specs, **{c.run: store.run(c.run).spec() for c in older}},
    )
