"""A controller: writes the plan down, keeps slots busy until no cell is open, then has it reported.

It holds nothing that the store does not say: killed at any moment and started again, or started
twice, it ends in the same table.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from ablations.plan import Planned
from sweeps import budget, claims, price, probe, snapshot
from sweeps.claims import State
from sweeps.display import Display
from sweeps.job import FOLLOWS, in_follow_up
from sweeps.launchers.crew import Crew
from sweeps.scheduler import Slurm
from sweeps.settings import SlurmLauncher, SweepConfig, unused_gpus
from uniclip.errors import NotNow
from uniclip.store import Plan, Store

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

    @property
    def plan(self) -> Plan:
        """The plan that is conducted."""
        return self.planned.plan

    def run(self) -> bool:
        """Run what is missing; whether all that can be done is done (else others are at it).

        KeyboardInterrupt leaves everything resumable.
        """
        self._reach()
        self.prepare()
        states = self.states()
        opened = self._open(states)
        cells, runs = len(self.plan.cells), len(states)
        whole = f"{len(self.plan.arms)} arms x {len(self.plan.seeds)} seeds = "
        self.display.line(
            f"{self.plan.sweep}: {'' if self.part else whole}"
            f"{cells} cells ({runs} runs); {len(opened)} to run, "
            f"{sum(s.kind == 'complete' for s in states.values())} already complete"
        )
        if not opened and not any(s.kind == "running" for s in states.values()):
            return True
        if not self.store.sweep(self.plan.sweep).audit.exists():
            self.display.line("audit: every arm takes a few steps, each component is checked ...")
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

    def prepare(self) -> None:
        """Write down plan and specs; move aside what is to be run afresh."""
        self.store.require_writable()
        if not self.part:
            self.planned = united(self.planned, self.store)
        wanted = self.plan.wanted()
        look, witness = claims.look, self.witness
        states = {r: look(self.store.run(r), wanted[r], witness) for r in self.planned.specs}
        for run_id, state in states.items():
            run = self.store.run(run_id)
            if self.settings.renews(state):
                claims.renew(self.store, run, state)
            run.publish_spec(self.planned.specs[run_id])
            if state.kind in claims.AT_REST and self.settings.takes(state):
                self.again = (*self.again, (run_id, state.attempt))
        folder = self.store.sweep(self.plan.sweep)
        if not self.part:
            folder.write_plan(self.plan)
        if not in_follow_up():
            if not self.part:
                folder.forget_cancelled()
            probe.forget_failed(folder)
        elif intent := folder.intent(os.environ[FOLLOWS]):
            # What a person asked for and the queue did not take yet.
            self.again = (*self.again, *intent.again)
            self.forced = (*self.forced, *intent.forced)

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
        look, witness = claims.look, self.witness
        return {r: look(self.store.run(r), e, witness) for r, e in self.plan.wanted().items()}

    def slots(self) -> int:
        """How many workers run side by side."""
        return self.settings.slots(self.plan.base["train"]["threads"])

    @cached_property
    def witness(self) -> claims.Witness:
        """Slurm's word on its jobs."""
        return Slurm().ending

    @cached_property
    def crew(self) -> Crew:
        """Who works, as the launcher has it."""
        if self._queue is not None:
            return self._queue
        from sweeps.launchers.local import Slots
        from sweeps.worker import Slot

        folder, device = self.store.sweep(self.plan.sweep), self.plan.base["runtime"]["device"]

        def slot(proves: bool) -> Slot:
            place, runs = str(self.store.root), tuple(self.planned.specs) if self.part else ()
            return Slot(place, self.plan.sweep, self.again, self.forced, proves, runs)

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
            words=self.words,
            again=self.again,
            forced=self.forced,
            stays=self.settings.wait,
        )
        return Queue(order, snapshot.take(self.store), self.display.line)

    def _keep_busy(self, to_run: list[str]) -> bool:
        """Put hands to what is open until nothing is open or running; whether it came to that.

        to_run: what was open at first, for the estimate.
        """
        announced = held = False
        while True:
            states = self.states()
            if self.store.sweep(self.plan.sweep).audit.exists():
                announced = announced or self._announce(to_run)
                self.display.show(self.plan, states)
            opened = self._open(states)
            running = any(s.kind == "running" for s in states.values())
            try:
                if not opened and not running and not self.crew.busy():
                    return True
                held = held or self._held(to_run)
                self.crew.put(opened, states)
            except NotNow as why:
                if not self.crew.stays:
                    raise
                self.display.line(str(why))
            if not self.crew.stays:
                return False
            time.sleep(self.crew.poll_seconds)

    def _held(self, to_run: list[str]) -> bool:
        """Whether `max_gpu_hours` could be judged by now; `UserError` if these runs exceed it."""
        if self.hold is not None:
            return self.hold()
        return budget.hold(self.store, self.planned, Counter(to_run), self.settings)

    def _announce(self, to_run: list[str]) -> bool:
        """Say how the audit came out, and how long these runs should take."""
        self.display.audit(self.store.sweep(self.plan.sweep).findings())
        known = price.prices(self.store, self.plan, apart=to_run)
        devices = budget.devices(self.settings.launcher, self.plan.base["runtime"]["device"])
        price.foretell(self.store, self.plan, to_run, known, devices)
        words = price.estimate(self.plan, to_run, known, self.slots(), devices)
        self.display.line(f"estimate: {words}")
        return True

    def _open(self, states: dict[str, State]) -> list[str]:
        cancelled = self.store.sweep(self.plan.sweep).cancelled()
        return [
            run
            for run, s in states.items()
            if (s.open and (run, s.attempt) not in cancelled)
            or ((run, s.attempt) in self.again and s.kind in claims.AT_REST)
            or ((run, s.attempt) in self.forced and s.kind in ("lost", "running"))
        ]


def united(planned: Planned, store: Store) -> Planned:
    """The plan with the seeds that its sweep has: it is extended by seeds, never shrunk."""
    before = store.sweep(planned.plan.sweep).plan()
    if before is None or not set(before.seeds) - set(planned.plan.seeds):
        return planned
    known = {(c.arm, c.seed) for c in planned.plan.cells}
    arms = {a.name for a in planned.plan.arms}
    older = [c for c in before.cells if (c.arm, c.seed) not in known and c.arm in arms]
    older = [c for c in older if store.run(c.run).has_spec()]
    seeds = tuple(sorted({*planned.plan.seeds, *(c.seed for c in older)}))
    order = {name: i for i, name in enumerate(a.name for a in planned.plan.arms)}
    cells = sorted([*planned.plan.cells, *older], key=lambda c: (c.seed, order[c.arm]))
    return replace(
        planned,
        plan=replace(planned.plan, seeds=seeds, cells=tuple(cells)),
        specs={**planned.specs, **{c.run: store.run(c.run).spec() for c in older}},
    )
