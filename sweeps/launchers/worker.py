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
from sweeps.costs.audit_scope import FAILED, Basis, audited, proven
from sweeps.slurm import Slurm
from uniclip.config import RUN_ONLY, plugins
from uniclip.identity import config_of
from uniclip.io.atomic import append, as_json, no_room, replace
from uniclip.store import AttemptFolder, Audit, Finding, Plan, RunFolder, Store

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
WAIT_SECONDS = 0.1
ROOM_SECONDS = 30.0
"""How long a worker waits for room after the disk was full, before it takes the next cell."""


class Stop:
    """A flag that signals set; the training loop looks at it between steps."""

    def __init__(self) -> None:
        self.asked = False
        self.why: Callable[[], str | None] = lambda: None
        """Who asked, for the attempt's last word."""

    def __call__(self) -> bool:
        return self.asked

    def listen(self) -> None:
        """Let the signals that ask a worker to stop set the flag, and do nothing else."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._ask)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # as we may have been started

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


@dataclass(kw_only=True)
class Worker:
    """One process that claims runs of a plan and executes them."""

    store: Store
    plan: Plan
    stop: Stop
    again: tuple[tuple[str, int], ...] = ()
    """(run, attempt) that failed or halted and is to go on."""
    forced: tuple[tuple[str, int], ...] = ()
    """(run, attempt) that the user declared dead."""
    claimed: Callable[[str], Any] = lambda run: None
    """Told of each run that was claimed, before it is executed."""

    @cached_property
    def entry(self) -> Any:
        """The module that executes cells; importing it may take seconds."""
        return importlib.import_module(self.plan.entry)

    def run_only(self, run: str) -> dict[str, Any]:
        """How a run of the plan is executed and judged."""
        return run_only(self.plan, next(c.arm for c in self.plan.cells if c.run == run))

    @cached_property
    def witness(self) -> claim.Witness:
        """Slurm's word on attempts of its jobs."""
        return Slurm().ending

    def take(self, run_id: str) -> str | None:
        """Claim a run and execute it; how that ended, or None if it could not be claimed."""
        run, evaluations = self.store.run(run_id), self.plan.wanted().get(run_id)
        if evaluations is None:
            return None  # the plan was written anew since, and this run is no more in it
        attempt = self._claim(run, claim.look(run, evaluations, self.witness))
        if attempt is None:
            return None
        self.claimed(run_id)
        how = self.run_only(run_id)
        work = partial(self.entry.execute, run, how, attempt, evaluations, self.stop)
        kind = execute(run, attempt, work, self.stop)
        if kind == "interrupted" and not self.stop():
            self._wait_for_room()
        return kind

    def _wait_for_room(self) -> None:
        """At once the next attempt would end in the same way, and spend the budget of such ends."""
        deadline = time.monotonic() + ROOM_SECONDS
        while time.monotonic() < deadline and not self.stop():
            time.sleep(WAIT_SECONDS)

    def _claim(self, run: RunFolder, state: claim.State) -> AttemptFolder | None:
        asked = (run.id, state.attempt) in (*self.again, *self.forced)
        if not (state.open or asked):
            return None
        return claim.claim(
            self.store,
            run,
            state,
            partial(self.entry.numerics, run, self.run_only(run.id)),
            again=self.again,
            forced=self.forced,
            prepare=partial(RunFolder.publish_spec, spec=run.spec()),
        )


@dataclass(frozen=True)
class Slot:
    """A job on this machine: it lives until no cell can be claimed."""

    store: str
    sweep: str
    again: tuple[tuple[str, int], ...] = ()
    forced: tuple[tuple[str, int], ...] = ()
    proves: bool = False
    """Whether it makes the audit; other slots wait for it."""
    meant: Basis | None = None
    """The audit to make or to wait for; None: there is one."""
    runs: tuple[str, ...] = ()
    """It takes only these; none: any of the plan."""

    def __call__(self) -> None:
        stop = Stop()
        stop.listen()
        store = Store(self.store)
        folder = store.sweep(self.sweep)
        plan = folder.plan()
        assert plan is not None, "a plan is written before a slot is started"
        plugins.use(plan.plugins)
        if self.proves and self.meant is not None:
            prove(store, plan, self.meant)
        worker = Worker(store=store, plan=plan, stop=stop, again=self.again, forced=self.forced)
        _ = worker.entry  # its imports are paid while the audit is made elsewhere
        while self.meant is not None and not audited(folder, self.meant) and not stop():
            time.sleep(WAIT_SECONDS)
        while not stop() and self._pass(worker):
            pass

    def _pass(self, worker: Worker) -> bool:
        """One look at every run; whether any of them could be claimed."""
        runs = self.runs or worker.plan.wanted()
        taken = [worker.take(run) for run in runs if not worker.stop()]
        return any(taken)


def execute(run: RunFolder, attempt: AttemptFolder, work: Callable[[], str], stop: Stop) -> str:
    """One attempt from its claim to its last word; how it ended."""
    with _logged_to(attempt.log):
        try:
            kind, word = work(), None
        except Exception as error:
            traceback.print_exc()
            kind, word = _broken(error)
        if kind == "interrupted" and word is None:
            word = stop.why()
        with suppress(OSError):  # no room even for that: then its silence is its last word
            attempt.end(kind, word)
    if run.outcome() is not None:
        _forget_checkpoints(run)
    return kind


def _broken(error: Exception) -> tuple[str, str]:
    """Kind and word of an attempt that raised: a full disk is no fault of the run's."""
    if no_room(error):
        return "interrupted", "no room on the disk"
    return "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def run_only(plan: Plan, arm: str) -> dict[str, Any]:
    """How the runs of an arm are executed and judged: what no spec says."""
    values = {**plan.base, **plan.arm(arm).delta}
    return {name: values[name] for name in RUN_ONLY if name in values}


def prove(store: Store, plan: Plan, meant: Basis) -> None:
    """A few steps of every arm: its witnesses are checked and its speed is taken, once.

    meant: the device to take them on; that, and of what code it was, is written down.

    Of several processes each calls this.
    """
    from ablations.audit import audit
    from uniclip import distributed

    folder, others = store.sweep(plan.sweep), distributed.current()
    if not others.share(not proven(folder, meant)):
        return
    plan = meant.placed(plan)
    specs = {c.arm: store.run(c.run).spec() for c in reversed(plan.cells)}
    configs = {a.name: config_of(specs[a.name], run_only(plan, a.name)) for a in plan.arms}
    if others.rank > 0:
        audit.assist(plan, configs)
        return
    try:
        proof = audit.prove(plan, configs)
    except Exception as error:
        # Bad data, say: each cell then fails by itself, and the next start proves again.
        traceback.print_exc()
        said = " ".join(str(error).split())[:300]
        failed = Finding(arm=plan.reference, check=FAILED, holds=False, detail=said)
        proof = audit.Proof(findings=[failed], probes=[])
    for probe in proof.probes:
        append(folder.probes, {**probe, "training": meant.training})
    made = Audit(findings=tuple(proof.findings), training=meant.training, device=meant.kind)
    replace(folder.audit, as_json(made))
    if others.world > 1 and not proof.probes:
        raise RuntimeError("the audit could not be made")  # the others stand in the middle of it


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """What this process prints goes to `path` meanwhile, prints of C libraries included."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = [os.dup(1), os.dup(2)]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in zip((1, 2), before):
            os.dup2(old, number)
            os.close(old)
        os.close(log)


def _forget_checkpoints(run: RunFolder) -> None:
    """An outcome is final: what could only have continued the training is of no more use."""
    for number in run.attempts():
        for path in run.attempt(number).checkpoints.glob("*.safetensors"):
            path.unlink(missing_ok=True)
