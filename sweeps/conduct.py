"""A controller: writes the plan down, keeps slots busy until no cell is open, then has it reported.

It holds nothing that the store does not say: killed at any moment and started again, or started
twice, it ends in the same table.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ablations.plan import Planned
from sweeps import claims, price
from sweeps.claims import State
from sweeps.display import Display
from sweeps.launchers.local import LocalJobs
from sweeps.settings import SweepConfig
from sweeps.worker import Slot
from uniclip.errors import UserError
from uniclip.store import Plan, Store

POLL_SECONDS = 0.5
STOP_SECONDS = 60.0
FRUITLESS_STARTS = 3
"""So many slots in a row that ended without claiming anything, though something was open."""


@dataclass(kw_only=True)
class Conduct:
    """One sweep, from its plan to the end of its last cell."""

    store: Store
    planned: Planned
    settings: SweepConfig
    display: Display
    again: tuple[tuple[str, int], ...] = ()
    forced: tuple[tuple[str, int], ...] = ()
    jobs: dict[int, Any] = field(default_factory=dict)
    """The job in each slot."""
    starts: int = 0
    """Slots started since a cell was last claimed."""
    claimed: int = -1
    """Attempts that there were then."""

    @property
    def plan(self) -> Plan:
        """The plan that is conducted."""
        return self.planned.plan

    def run(self) -> None:
        """Run what is missing; KeyboardInterrupt leaves everything resumable."""
        self.prepare()
        states = self.states()
        opened = self._open(states)
        cells, runs = len(self.plan.cells), len(states)
        self.display.line(
            f"{self.plan.sweep}: {len(self.plan.arms)} arms x {len(self.plan.seeds)} seeds = "
            f"{cells} cells ({runs} runs); {len(opened)} to run, "
            f"{sum(s.kind == 'complete' for s in states.values())} already complete"
        )
        if not opened and not any(s.kind == "running" for s in states.values()):
            return
        if not self.store.sweep(self.plan.sweep).audit.exists():
            self.display.line("audit: every arm takes a few steps, each component is checked ...")
        try:
            self._keep_busy(opened)
        except BaseException:
            self.display.close()
            self._stop()
            raise
        self.display.close()

    def prepare(self) -> None:
        """Write down plan and specs; move aside what is to be run afresh."""
        self.store.require_writable()
        folder = self.store.sweep(self.plan.sweep)
        before = folder.plan()
        if before is not None and set(before.seeds) - set(self.plan.seeds):
            self.planned = _united(self.planned, before, self.store)
        wanted = self.plan.wanted()
        for run_id, spec in self.planned.specs.items():
            run = self.store.run(run_id)
            state = claims.look(run, wanted[run_id])
            if state.outcome is not None and self.settings.takes(state):
                claims.renew(self.store, run, state)
            run.publish_spec(spec)
            if state.kind in claims.AT_REST and self.settings.takes(state):
                self.again = (*self.again, (run_id, state.attempt))
        folder.write_plan(self.plan)

    def states(self) -> dict[str, State]:
        """The state of every run of the plan."""
        return {r: claims.look(self.store.run(r), e) for r, e in self.plan.wanted().items()}

    def slots(self) -> int:
        """How many workers run side by side."""
        return self.settings.slots(self.plan.base["train"]["threads"])

    def _keep_busy(self, to_run: list[str]) -> None:
        """Start slots as long as something is open; return when nothing is open or running.

        to_run: what was open at first, for the estimate.
        """
        launcher = self._launcher()
        announced = False
        while True:
            states = self.states()
            if self.store.sweep(self.plan.sweep).audit.exists():
                announced = announced or self._announce(to_run)
                self.display.show(self.plan, states)
            opened = self._open(states)
            live = [slot for slot, job in self.jobs.items() if not launcher.ended(job)]
            if not opened and not live and not any(s.kind == "running" for s in states.values()):
                return
            self._check_fruit(launcher, states)
            free = [slot for slot in range(self.slots()) if slot not in live]
            for slot in free[: len(opened)]:
                store, sweep = str(self.store.root), self.plan.sweep
                job = Slot(store, sweep, self.again, self.forced, proves=slot == 0)
                self.jobs[slot] = launcher.start(job, slot)
                self.starts += 1
            time.sleep(POLL_SECONDS)

    def _announce(self, to_run: list[str]) -> bool:
        """Say how the audit came out, and how long these runs should take."""
        self.display.audit(self.store.sweep(self.plan.sweep).audit)
        known = price.prices(self.store, self.plan)
        words = price.estimate(self.plan, to_run, known, self.slots())
        self.display.line(f"estimate: {words}")
        return True

    def _check_fruit(self, launcher: LocalJobs, states: dict[str, State]) -> None:
        """`UserError` when slots keep ending without an audit or a claim: that is no accident."""
        attempts = sum(s.attempt for s in states.values())
        if attempts > self.claimed:
            self.claimed, self.starts = attempts, 0
        if self.starts >= FRUITLESS_STARTS * self.slots() and self.jobs:
            log = launcher.log(self.jobs[0])
            raise UserError(f"workers end before they take a cell ({_last_line(log)}): read {log}")

    def _open(self, states: dict[str, State]) -> list[str]:
        return [
            run
            for run, s in states.items()
            if s.open
            or ((run, s.attempt) in self.again and s.kind in claims.AT_REST)
            or ((run, s.attempt) in self.forced and s.kind in ("lost", "running"))
        ]

    def _launcher(self) -> LocalJobs:
        folder = self.store.sweep(self.plan.sweep).slots
        return LocalJobs(folder, self.plan.base["runtime"]["device"])

    def _stop(self) -> None:
        """Ask our workers to stop at their next step, and wait until they have."""
        launcher = self._launcher()
        live = [job for job in self.jobs.values() if not launcher.ended(job)]
        for job in live:
            launcher.stop(job)
        deadline = time.time() + STOP_SECONDS
        while time.time() < deadline and not all(launcher.ended(job) for job in live):
            time.sleep(0.1)


def _united(planned: Planned, before: Plan, store: Store) -> Planned:
    """The plan with the seeds of an earlier one: a sweep is extended by seeds, never shrunk."""
    from dataclasses import replace

    known = {(c.arm, c.seed) for c in planned.plan.cells}
    arms = {a.name for a in planned.plan.arms}
    older = [c for c in before.cells if (c.arm, c.seed) not in known and c.arm in arms]
    older = [c for c in older if store.run(c.run).has_spec()]
    seeds = tuple(sorted({*planned.plan.seeds, *(c.seed for c in older)}))
    order = {name: i for i, name in enumerate(a.name for a in planned.plan.arms)}
    cells = sorted([*planned.plan.cells, *older], key=lambda c: (c.seed, order[c.arm]))
    return replace(planned, plan=replace(planned.plan, seeds=seeds, cells=tuple(cells)))


def _last_line(path: Any) -> str:
    words: Iterable[str] = path.read_text(errors="replace").splitlines() if path.exists() else []
    said = [w.strip() for w in words if w.strip()]
    return said[-1][:200] if said else "it said nothing"
