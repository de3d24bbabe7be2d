"""What a training leaves behind while it runs: metrics, heartbeats, events and checkpoints.

While the disk is full training goes on: records wait in memory, and the next checkpoint that finds
room makes up for those that did not. Only an attempt that is to end needs the room there and then.

Metrics are JSON lines, told apart by `phase`:
    train       step, loss, parts, grad_norm (before clipping), clipped (share of steps so far),
                rate, samples and images (pictures times views) seen, seconds (behind the weights),
                spent (in this attempt, lost steps included), and the method's own report
    validation  step, score, best (whether it is the best so far), seconds
    engagement  step, engagement (loss without a component minus loss), moved (relative movement)
    cost        step, seconds_per_step, parameters, checkpoint_bytes, peak_memory_bytes (of this
                attempt's training)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Literal

from uniclip import numerics
from uniclip.checkpoints import warm_start
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.io.atomic import append, no_room
from uniclip.store import AttemptFolder
from uniclip.training import checkpoint
from uniclip.training.state import State

SECONDS_PER_BEAT = 1.0


class Journal:
    """Of one attempt; without an attempt, records are kept in memory and nothing is written."""

    def __init__(self, config: RunConfig, attempt: AttemptFolder | None) -> None:
        self.config, self.attempt = config, attempt
        self.history: list[dict[str, Any]] = []
        self._unwritten: list[dict[str, Any]] = []
        self._beaten: tuple[float, int] | None = None
        self._saved = time.monotonic()

    # -- records --

    def began(self, state: State) -> None:
        """Training is about to take a step; before the first, what `init` gave is told."""
        init = self.config.init
        if self.attempt is None or init is None or state.counters.step > 0:
            return
        said = warm_start.spoken(init, state.taken)
        with going_on():
            self.attempt.event("initialized", said=said)
            print(said, flush=True)

    def trained(self, state: State, numbers: dict[str, Any]) -> None:
        """A step was taken: a record every runtime.log_every steps, and of the first and last."""
        step, counters = state.counters.step, state.counters
        if step % self.config.runtime.log_every and step not in (1, self.config.train.steps):
            return
        samples = step * self.config.train.batch_size
        self._record(
            "train",
            step,
            **numbers,
            clipped=counters.clipped / step,
            samples=samples,
            images=samples * (self.config.views.weak + self.config.views.strong),
            seconds=counters.seconds,
            spent=state.spent,
            **state.method.report(),
        )

    def validated(self, state: State, score: float, best: bool) -> None:
        """A validation took place."""
        counters = state.counters
        self._record("validation", counters.step, score=score, best=best, seconds=counters.seconds)

    def finished(self, state: State) -> None:
        """Training went to its end: what its components did, and what it cost."""
        step = state.counters.step
        self._record("engagement", step, engagement=state.engagement(), moved=state.moved())
        self._cost(state)
        self._write_down()

    def _cost(self, state: State) -> None:
        step = state.counters.step
        self._record(
            "cost",
            step,
            seconds_per_step=state.counters.seconds / max(step, 1),
            spent=state.spent,
            parameters=state.parameters(),
            checkpoint_bytes=state.bytes(),
            peak_memory_bytes=numerics.peak_memory_bytes(state.device),
        )

    def diverged(self, state: State, numbers: dict[str, Any]) -> None:
        """The next step could not be taken (numbers as text: JSON has no NaN)."""
        if self.attempt is not None:
            said = {name: repr(numbers[name]) for name in ("loss", "grad_norm", "rate", "parts")}
            self.attempt.event("diverged", step=state.counters.step + 1, **said)
        self._cost(state)
        self._write_down()

    def beat(self, step: int, phase: str, *, always: bool = False) -> None:
        """A sign of life; at most one a second unless `always`."""
        now = time.monotonic()
        before, steps = self._beaten or (now, step)
        recent = self._beaten is not None and now - before < SECONDS_PER_BEAT
        if self.attempt is None or (recent and not always):
            return
        rate = (step - steps) / (now - before) if now > before else 0.0
        with going_on():
            self.attempt.beat(step=step, steps=self.config.train.steps, rate=rate, phase=phase)
        self._beaten = (now, step)

    def _record(self, phase: str, step: int, **fields: Any) -> None:
        record = {"step": step, "phase": phase, **fields}
        self.history.append(record)
        if self.attempt is not None:
            self._unwritten.append(record)
            with going_on():
                self._write_down()

    def _write_down(self) -> None:
        """Append the records that wait."""
        while self.attempt is not None and self._unwritten:
            append(self.attempt.metrics, self._unwritten[0])
            del self._unwritten[0]

    # -- checkpoints --

    def pause(self, state: State, asked: bool) -> Literal["stopped", "overtaken"] | None:
        """Write a checkpoint if one is due or `asked`; why training must end here, if so."""
        due = time.monotonic() - self._saved >= self.config.runtime.checkpoint_seconds
        if self.attempt is not None and (asked or due):
            if self.attempt.overtaken():
                return "overtaken"
            with nullcontext() if asked else going_on():
                self._write_down()
                checkpoint.write(self.attempt, state.counters.step, state.tensors(), state.facts())
            self._saved = time.monotonic()
        return "stopped" if asked else None

    def halt(self, state: State) -> Literal["halted", "overtaken"]:
        """Training ends here for now: write the checkpoint from which it can go on."""
        ending = self.pause(state, True)
        return "overtaken" if ending == "overtaken" else "halted"


@contextmanager
def going_on() -> Iterator[None]:
    """A full disk is told in the log and ends nothing; any other error does."""
    try:
        yield
    except (OSError, UserError) as error:
        if not no_room(error):
            raise
        with suppress(OSError):
            print(f"the disk is full, training goes on: {error}", file=sys.stderr, flush=True)
