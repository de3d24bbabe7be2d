"""Training: from a configuration to a model, resumable after any step with the same bits.

The weights are a function of the configuration: batches are a function of (configuration, step),
torch's generators are seeded anew at each step, and a resume needs a step number and the states.
What is logged, validated or checkpointed on the way changes no bit of them.

Several processes that share a run (`uniclip.distributed`) call `fit` together. Each takes its rows of
the same batches, and after each step all hold the same parameters: those of one process with the
whole batch, up to the order in which numbers are added. Rank 0 alone validates and writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from uniclip import data, distributed, numerics
from uniclip.checkpoints.pretrained import Pretrained
from uniclip.config import RunConfig
from uniclip.data.batch import Batch
from uniclip.data.loader import Batches
from uniclip.data.text import tokenizer
from uniclip.store import AttemptFolder
from uniclip.training import optimizer
from uniclip.training.grad_cache import Embedded
from uniclip.training.metrics_log import Journal
from uniclip.training.state import State

Kind = Literal["trained", "diverged", "stopped", "halted", "overtaken"]
ENDINGS: tuple[Literal["stopped", "overtaken"] | None, ...] = (None, "stopped", "overtaken")
"""Why training may end after a step; of what several processes say, the last here counts."""


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
    """The records of this attempt, as in metrics.jsonl (`uniclip.training.metrics_log`)."""


def fit(
    config: RunConfig,
    *,
    attempt: AttemptFolder | None = None,
    validate: Callable[[Pretrained], float] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Fitted:
    """Train `config`, from the newest checkpoint of the attempt's run if there is one.

    attempt: where records and checkpoints go; None keeps the records in memory. Of several
        processes rank 0 alone has one, and the checkpoint that it finds is taken up by all.
    validate: the score to maximise, every train.validate_every steps and after the last (rank 0).
    stop: asked after each step; when any process says so, a checkpoint is written and training
        ends on all.

    Raises:
        UserError: the data, the device or the disk do not allow it.
    """
    numerics.apply(config)
    numerics.forget_peak_memory(numerics.device(config))
    journal = Journal(config, attempt)
    journal.beat(0, "opening")
    batches, state = open_training(config)
    state.resume(attempt)
    journal.began(state)
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
        ending = _ending(journal, state, stop) if state.counters.step < end else None
        if ending is not None:
            return _fitted(ending, state, journal)
        lap = time.perf_counter()
    if end < config.train.steps:
        return _fitted(journal.halt(state), state, journal)
    if distributed.current().rank == 0:
        journal.finished(state)
    return _fitted("trained", state, journal)


def advance(state: State, batch: Batch) -> dict[str, Any]:
    """Take one step on `batch`: its loss, parts, grad_norm (before clipping) and rate.

    Over several processes `batch` is this one's share, and all that is returned is of the whole.
    A step diverges when its loss is not finite or above train.diverged_above, or its gradient is
    not finite. Then grad_norm is not finite, and the parameters are as they were.
    """
    config, train, step = state.config, state.config.train, state.counters.step
    others, method = distributed.current(), state.method
    rate = optimizer.rate(step, train)
    optimizer.set_rate(state.optimizer, rate)
    state.optimizer.zero_grad(set_to_none=True)
    batch = method.prepare(batch.to(state.device))
    draws = (config.seed, config.stream, "step", step, others.rank)
    embedded = Embedded(method, state.in_training, batch, chunks=train.accumulate, draws=draws)
    parts = method.losses(embedded.values, batch)
    share = method.loss(parts)
    shares = torch.stack([share, *parts.values()]).detach()
    loss, *values = others.add_up(shares).tolist()
    norm = math.nan
    if math.isfinite(loss) and loss <= train.diverged_above:
        embedded.backward(share)
        others.add_up_gradients(list(state.modules.parameters()))
        norm = nn.utils.clip_grad_norm_(state.modules.parameters(), train.clip).item()
    if math.isfinite(norm):
        state.optimizer.step()
        method.clamp()
    return {"loss": loss, "parts": dict(zip(parts, values)), "grad_norm": norm, "rate": rate}


def open_training(config: RunConfig) -> tuple[Batches, State]:
    """The batches of a training, and its state before the first step."""
    split = data.open_split(config.data, "train")
    captions = [caption for of_one in split.captions for caption in of_one]
    words = tokenizer.build(config.model.text, captions)
    return Batches(config, split, words, distributed.current()), State(config, words)


def _ending(
    journal: Journal, state: State, stop: Callable[[], bool]
) -> Literal["stopped", "overtaken"] | None:
    """Why training must end here, if so: all processes find the same."""
    others = distributed.current()
    asked = others.highest(int(stop())) > 0
    found = journal.pause(state, asked) if others.rank == 0 else None
    return ENDINGS[others.highest(ENDINGS.index(found))]


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
