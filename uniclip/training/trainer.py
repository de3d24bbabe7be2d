"""The training loop: from a configuration to a model, resumable after any step bit for bit.

The weights are a function of the configuration: batches are a function of (configuration, step),
torch's generators are seeded at each step, and a resume needs a step number and the states.
Logging, validation and checkpoints do not change a bit of the weights.

The processes of a run (`uniclip.distributed`) call `train_model` together. Each takes its rows of
the same batches, and after each step all have the same parameters: those of one process with the
whole batch, up to the order of summation. Only rank 0 validates and writes.

Metrics are read every few steps (`divergence`); what depends on them (records, checkpoints, the
end of training) happens at those steps only.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from torch import Tensor

from uniclip import data, distributed, numerics
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig, TrainConfig
from uniclip.data.batch import Batch
from uniclip.data.loader import TrainingBatches
from uniclip.data.split import Split
from uniclip.data.text.build import build_tokenizer
from uniclip.errors import UserError
from uniclip.store import AttemptFolder
from uniclip.training.batch_feed import BatchFeed
from uniclip.training.metrics_log import MetricsLogger
from uniclip.training.state import StepMetrics, TrainState
from uniclip.training.training_step import StepFlags, TakenStep, read_steps, take_step
from uniclip.training.unreadable_images import find_new, update_known

TrainEndKind = Literal["trained", "diverged", "stopped", "paused", "superseded"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The result of training."""

    kind: TrainEndKind
    """Trained to the end, diverged, stopped on request, paused at runtime.stop_fraction, or
    superseded by a newer attempt."""
    step: int
    """Steps taken (if diverged: before the step that failed)."""
    pretrained: PretrainedModel
    """The final model, not the best one; with train.ema_decay the average."""
    best_step: int | None
    """Step of the best validation, the earliest if several are equal; None without validation."""
    best_state: dict[str, Tensor] | None
    """The weights at that step, with the keys of `tensor_file.bundle_modules`."""
    seconds: float
    """Seconds of training that led to these weights, over all attempts, without validations and
    checkpoints."""
    history: list[dict[str, Any]]
    """The metrics of this attempt, as in metrics.jsonl (`uniclip.training.metrics_log`)."""


def train_model(
    config: RunConfig,
    *,
    attempt: AttemptFolder | None = None,
    validate: Callable[[PretrainedModel], float] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    """Train a model, from the newest checkpoint of the attempt's run if there is one.

    Args:
        config: The run.
        attempt: Folder for records and checkpoints; None keeps the records in memory. With several
            processes only rank 0 has one; all processes resume from the checkpoint that it finds.
        validate: Returns the score to maximize; called every train.validate_every steps and after
            the last (on rank 0).
        stop: Called at each step whose metrics are read (on a CPU all), with several processes
            before its end; if it returns True on any process, a checkpoint is written after the
            step and training ends on all.

    Raises:
        UserError: Data are missing, the device is not available, or the disk is full.
    """
    numerics.apply(config.train.num_threads, config.train.numerics)
    numerics.reset_peak_memory(numerics.get_device(config.runtime.device))
    metrics_logger = MetricsLogger(config, attempt)
    try:
        result = _train(config, attempt, validate, stop, metrics_logger)
    except BaseException:
        with suppress(Exception):  # the first error is the one to report
            metrics_logger.close()
        raise
    _close(metrics_logger, result.kind)
    return result


def _close(metrics_logger: MetricsLogger, kind: TrainEndKind) -> None:
    """Wait for the last checkpoint; print its error if training ended and needs it no more."""
    try:
        metrics_logger.close()
    except (OSError, UserError) as error:
        if kind not in ("trained", "diverged"):
            raise
        with suppress(OSError):
            print(f"training has ended without this: {error}", file=sys.stderr, flush=True)


def _train(
    config: RunConfig,
    attempt: AttemptFolder | None,
    validate: Callable[[PretrainedModel], float] | None,
    stop: Callable[[], bool],
    metrics_logger: MetricsLogger,
) -> TrainResult:
    """Train as `train_model` says."""
    metrics_logger.write_heartbeat(0, "opening")
    batches, state = setup_training(config)
    metrics_logger.num_skipped = batches.split.num_skipped
    state.resume(attempt)
    metrics_logger.log_initialization(state)
    last_step = config.last_step
    feed = BatchFeed(batches, state.counters.step, last_step, state.device)
    flags, unread, unreadable = StepFlags(), list[TakenStep](), set[int]()
    step_start = time.perf_counter()
    for batch in feed:
        step = state.counters.step + len(unread) + 1
        is_last, is_read = step == last_step, state.latch.is_read_due(step, config)
        if batches.split.has_image_files:
            unreadable.update(find_new(batch, state.counters.unreadable_samples))
        flags = _set_flags(flags, unreadable, stop, is_last) if is_read else flags
        unread.append(take_step(state, batch, step - 1, flags if is_read else None))
        unread[-1].waited_seconds = feed.waited_seconds
        if not is_read:
            step_start = _measure_seconds(unread[-1], step_start)
            continue
        metrics = read_steps(unread)
        _record_unreadable_images(unreadable, flags, batches.split, state, metrics_logger)
        _measure_seconds(unread[-1], step_start)
        if (diverged_step := _record_steps(state, unread, metrics)) is not None:
            metrics_logger.log_divergence(state, diverged_step)
            return _build_result("diverged", state, metrics_logger)
        unread.clear()
        metrics_logger.log_step(state, metrics[-1])
        if validate is not None and _is_validation_due(step, config.train):
            metrics_logger.write_heartbeat(step, "validating")
            metrics_logger.log_validation(state, *state.validate(validate))
        if _is_validation_due(step, config.train):
            distributed.get_process_group().all_reduce_max(0)  # rank 0 may validate for hours
        metrics_logger.write_heartbeat(step, "training")
        early_end = None if is_last else _check_early_end(metrics_logger, state, flags, stop)
        if early_end is not None:
            return _build_result(early_end, state, metrics_logger)
        step_start = time.perf_counter()
    if last_step < config.train.steps:
        return _build_result(metrics_logger.checkpoint_and_exit(state), state, metrics_logger)
    if distributed.get_process_group().rank == 0:
        metrics_logger.log_completion(state)
    return _build_result("trained", state, metrics_logger)


def training_step(state: TrainState, batch: Batch) -> StepMetrics:
    """Take the next step on `batch` and return its metrics; see `training_step.take_step`."""
    return read_steps([take_step(state, batch, state.counters.step)])[0]


def setup_training(config: RunConfig) -> tuple[TrainingBatches, TrainState]:
    """Return the batches of training, and its state before the first step."""
    split = data.open_split(config.data, "train")
    process_group = distributed.get_process_group()
    captions = chain.from_iterable(split.captions)  # which are read only to train a tokenizer
    trained_tokenizer = build_tokenizer(config.model.text, captions)
    batches = TrainingBatches(config, split, trained_tokenizer, process_group)
    state = TrainState(config, trained_tokenizer)
    if config.train.patch_drop_rate > 0:
        batches.num_patches = state.embedder.image_encoder.enable_patch_dropout()
    return batches, state


def _measure_seconds(taken: TakenStep, start: float) -> float:
    """Note the wall seconds of a step; return the time."""
    now = time.perf_counter()
    taken.seconds = now - start
    return now


def _record_steps(
    state: TrainState, steps: Sequence[TakenStep], metrics: Sequence[StepMetrics]
) -> StepMetrics | None:
    """Count steps up to the first that diverged; return its metrics, or None if none has."""
    for taken, step_metrics in zip(steps, metrics):
        if not math.isfinite(step_metrics.grad_norm):
            return step_metrics
        state.record_step(
            taken.seconds,
            clipped=step_metrics.grad_norm > state.config.train.grad_clip_norm,
            waited_seconds=taken.waited_seconds,
        )
    return None


def _set_flags(
    previous: StepFlags, unreadable: Collection[int], stop: Callable[[], bool], is_last: bool
) -> StepFlags:
    """Return the flags of this process for a step whose metrics are read.

    With several processes `stop` is called here, so that no exchange of its own is needed.
    unreadable: New samples whose image cannot be read, since metrics were read.
    """
    is_alone = distributed.get_process_group().world_size == 1
    return StepFlags(
        new_unreadable=len(unreadable),
        stop_requested=0 if is_alone or is_last else int(stop()),
        superseded=previous.superseded,
    )


def _record_unreadable_images(
    unreadable: set[int],
    flags: StepFlags,
    split: Split,
    state: TrainState,
    metrics_logger: MetricsLogger,
) -> None:
    """Count and log the images that batches lack; `UserError` if there are more than allowed.

    unreadable: New ones of this process; empty afterwards.
    """
    process_group, known = distributed.get_process_group(), state.counters.unreadable_samples
    new_samples = (
        update_known(known, unreadable, split, process_group, state.device)
        if flags.new_unreadable
        else []
    )
    unreadable.clear()
    if process_group.rank == 0:
        metrics_logger.log_unreadable(map(split.describe_unreadable, new_samples), len(known))


def _check_early_end(
    metrics_logger: MetricsLogger, state: TrainState, flags: StepFlags, stop: Callable[[], bool]
) -> Literal["stopped", "superseded"] | None:
    """Return why training must end at this step, or None; ends on all processes at one step.

    With several processes rank 0 tells the others in the next step that it was superseded.
    """
    process_group = distributed.get_process_group()
    if flags.superseded:
        return "superseded"
    is_alone = process_group.world_size == 1
    stop_requested = stop() if is_alone else flags.stop_requested > 0
    if process_group.rank > 0:
        return "stopped" if stop_requested else None
    local_end = metrics_logger.maybe_checkpoint(state, stop_requested)
    flags.superseded = int(local_end == "superseded")
    return local_end if is_alone or stop_requested else None


def _is_validation_due(step: int, train: TrainConfig) -> bool:
    return step % train.validate_every == 0 or step == train.steps


def _build_result(
    kind: TrainEndKind, state: TrainState, metrics_logger: MetricsLogger
) -> TrainResult:
    return TrainResult(
        kind=kind,
        step=state.counters.step,
        pretrained=state.pretrained,
        best_step=state.counters.best_step,
        best_state=state.best_weights,
        seconds=state.counters.seconds,
        history=metrics_logger.history,
    )
