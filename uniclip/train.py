"""Training: from a configuration to a model, resumable after any step with the same bits.

The weights are a function of the configuration: batches are a function of (configuration, step),
torch's generators are seeded anew at each step, and a resume needs a step number and the states.
What is logged, validated or checkpointed on the way changes no bit of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from uniclip import data, numerics, optimizer
from uniclip.batch import Batch
from uniclip.config import RunConfig
from uniclip.data import tokenizer
from uniclip.data.loader import Batches
from uniclip.journal import Journal
from uniclip.model.pretrained import Pretrained
from uniclip.rng import key
from uniclip.state import State
from uniclip.store import AttemptFolder

Kind = Literal["trained", "diverged", "stopped", "halted", "overtaken"]
RANK = 0
"""Of this process among the `numerics.WORLD_SIZE` that share the run."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What training came to."""

    kind: Kind
    """Trained to the end, diverged, stopped at a step, halted where runtime.halt says, or overtaken
    by a newer attempt."""
    step: int
    """Steps taken (of a diverged run: before the one that failed)."""
    pretrained: Pretrained
    """The model as it is now, not as it was at its best."""
    best_step: int | None
    """The step of the best validation; None without one. Of equals, the earliest."""
    best_state: dict[str, Tensor] | None
    """The weights at that step, named as in `checkpoint.bundle`."""
    seconds: float
    """Training behind these weights, over all attempts; without validations and checkpoints."""
    history: list[dict[str, Any]]
    """The records of this attempt, as in metrics.jsonl (`uniclip.journal`)."""


def fit(
    config: RunConfig,
    *,
    attempt: AttemptFolder | None = None,
    validate: Callable[[Pretrained], float] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train `config`, from the newest checkpoint of the attempt's run if there is one.

    attempt: where records and checkpoints go; None keeps the records in memory.
    validate: the score to maximise, every train.validate_every steps and after the last.
    stop: asked after each step; when true, a checkpoint is written and training ends.

    Raises:
        UserError: the data, the device or the disk do not allow it.
    """
    numerics.apply(config)
    journal = Journal(config, attempt)
    journal.beat(0, "opening")
    batches, state = open_training(config)
    if attempt is not None:
        state.resume(attempt)
    lap = time.perf_counter()
    end = config.last_step
    for batch in batches.stream(state.counters.step, end):
        numbers = advance(state, batch)
        if not math.isfinite(numbers["grad_norm"]):
            journal.diverged(state, numbers)
            return _fitted("diverged", state, journal)
        state.count(time.perf_counter() - lap, clipped=numbers["grad_norm"] > config.train.clip)
        journal.trained(state, numbers)
        if validate is not None and _is_due(state.counters.step, config):
            journal.beat(state.counters.step, "validating", always=True)
            journal.validated(state, *state.judge(validate))
        journal.beat(state.counters.step, "training")
        ending = journal.pause(state, stop) if state.counters.step < end else None
        if ending is not None:
            return _fitted(ending, state, journal)
        lap = time.perf_counter()
    if end < config.train.steps:
        return _fitted(journal.halt(state), state, journal)
    journal.finished(state)
    return _fitted("trained", state, journal)


def advance(state: State, batch: Batch) -> dict[str, Any]:
    """Take one step on `batch`: its loss, parts, grad_norm (before clipping) and rate.

    A step diverges when its loss is not finite or above train.diverged_above, or its gradient is
    not finite. Then grad_norm is not finite, and the parameters are as they were.
    """
    config, train, step = state.config, state.config.train, state.counters.step
    torch.manual_seed(key(config.seed, config.stream, "step", step, RANK))
    rate = optimizer.rate(step, train)
    optimizer.set_rate(state.optimizer, rate)
    state.optimizer.zero_grad(set_to_none=True)
    parts = state.method.parts(state.in_training, batch.to(state.device))
    total = state.method.loss(parts)
    loss, norm = total.item(), math.nan
    if math.isfinite(loss) and loss <= train.diverged_above:
        total.backward()
        norm = nn.utils.clip_grad_norm_(state.modules.parameters(), train.clip).item()
    if math.isfinite(norm):
        state.optimizer.step()
        state.method.clamp()
    values = {name: part.item() for name, part in parts.items()}
    return {"loss": loss, "parts": values, "grad_norm": norm, "rate": rate}


def open_training(config: RunConfig) -> tuple[Batches, State]:
    """The batches of a training, and its state before the first step."""
    split = data.open_split(config.data, "train")
    captions = [caption for of_one in split.captions for caption in of_one]
    words = tokenizer.build(config.model.text, captions)
    return Batches(config, split, words), State(config, words)


def _is_due(step: int, config: RunConfig) -> bool:
    return step % config.train.validate_every == 0 or step == config.train.steps


def _fitted(kind: Kind, state: State, journal: Journal) -> Fitted:
    return Fitted(
        kind=kind,
        step=state.counters.step,
        pretrained=state.pretrained,
        best_step=state.counters.best_step,
        best_state=state.best,
        seconds=state.counters.seconds,
        history=journal.history,
    )
