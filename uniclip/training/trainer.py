"""The training loop: from a configuration to a model, resumable after any step bit for bit.

The weights are a function of the configuration: batches are a function of (configuration, step),
torch's generators are seeded at each step, and a resume needs a step number and the states.
Logging, validation and checkpoints do not change a bit of the weights.

The processes of a run (`uniclip.distributed`) call `train_model` together. Each takes its rows of
the same batches, and after each step all have the same parameters: those of one process with the
whole batch, up to the order of summation. Only rank 0 validates and writes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn

from uniclip import data, distributed, numerics
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig, TrainConfig
from uniclip.data.batch import Batch
from uniclip.data.loader import TrainingBatches
from uniclip.data.sampling import count_local_samples
from uniclip.data.split import Split
from uniclip.data.text.build import build_tokenizer
from uniclip.distributed import ProcessGroup
from uniclip.errors import UserError
from uniclip.store import AttemptFolder
from uniclip.training import optimizer
from uniclip.training.batch_feed import BatchFeed
from uniclip.training.grad_cache import CachedEmbeddings
from uniclip.training.metrics_log import MetricsLogger
from uniclip.training.state import StepFlags, StepMetrics, TrainState
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
        stop: Called once a step, with several processes before its end; if it returns True on any
            process, a checkpoint is written after the step and training ends on all.

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
    state.resume(attempt)
    metrics_logger.log_initialization(state)
    step_start = time.perf_counter()
    last_step = config.last_step
    feed = BatchFeed(batches, state.counters.step, last_step, state.device)
    flags = StepFlags()
    for batch in feed:
        is_last = state.counters.step + 1 == last_step
        flags = _set_flags(flags, batch, batches.split, state, stop, is_last)
        step_metrics = training_step(state, batch, flags)
        _record_unreadable_images(batch, flags, batches.split, state, metrics_logger)
        if not math.isfinite(step_metrics.grad_norm):
            metrics_logger.log_divergence(state, step_metrics)
            return _build_result("diverged", state, metrics_logger)
        state.record_step(
            time.perf_counter() - step_start,
            clipped=step_metrics.grad_norm > config.train.grad_clip_norm,
            waited_seconds=feed.waited_seconds,
        )
        metrics_logger.log_step(state, step_metrics)
        if validate is not None and _is_validation_due(state.counters.step, config.train):
            metrics_logger.write_heartbeat(state.counters.step, "validating")
            metrics_logger.log_validation(state, *state.validate(validate))
        if _is_validation_due(state.counters.step, config.train):
            distributed.get_process_group().all_reduce_max(0)  # rank 0 may validate for hours
        metrics_logger.write_heartbeat(state.counters.step, "training")
        early_end = None if is_last else _check_early_end(metrics_logger, state, flags, stop)
        if early_end is not None:
            return _build_result(early_end, state, metrics_logger)
        step_start = time.perf_counter()
    if last_step < config.train.steps:
        return _build_result(metrics_logger.checkpoint_and_exit(state), state, metrics_logger)
    if distributed.get_process_group().rank == 0:
        metrics_logger.log_completion(state)
    return _build_result("trained", state, metrics_logger)


def training_step(state: TrainState, batch: Batch, flags: StepFlags | None = None) -> StepMetrics:
    """Take one step on `batch` and return its metrics; `flags` become sums over processes.

    With several processes `batch` holds the rows of this process, and the metrics are those of the
    whole batch. A step diverges if its loss is not finite or above train.divergence_threshold, or
    its gradient is not finite; grad_norm is then not finite, and the parameters do not change.
    """
    config, train_config, step = state.config, state.config.train, state.counters.step
    process_group, method = distributed.get_process_group(), state.method
    learning_rate = optimizer.compute_learning_rate(step, train_config)
    optimizer.set_learning_rate(state.optimizer, learning_rate)
    state.optimizer.zero_grad(set_to_none=True)
    rng_key = (config.seed, config.stream, "step", step, process_group.rank)
    num_chunks = train_config.grad_cache_chunks
    sample_counts = count_local_samples(train_config.batch_size, process_group.world_size)
    with distributed.known_sample_counts(sample_counts):
        batch = method.prepare_batch(batch.to(state.device))
        embeddings = CachedEmbeddings(
            method, state.training_embedder, batch, num_chunks=num_chunks, rng_key=rng_key
        )
        with numerics.loss_context(train_config.precision, state.device):
            loss_terms = method.compute_terms_from_embeddings(embeddings.tensors, batch)
            local_loss = method.sum_loss_terms(loss_terms)
    local_losses = torch.stack([local_loss, *loss_terms.values()]).detach()
    loss, *term_values = _sum_losses(local_losses, flags, process_group)
    grad_norm = math.nan
    if math.isfinite(loss) and loss <= train_config.divergence_threshold:
        with state.gradient_reducer.sum_gradients(is_overlapped=num_chunks == 1):
            embeddings.backward(local_loss)
        grad_norm = nn.utils.clip_grad_norm_(
            state.modules.parameters(), train_config.grad_clip_norm
        ).item()
    if math.isfinite(grad_norm):
        state.optimizer.step()
        method.clamp()
        state.update_average()
    return StepMetrics(
        loss=loss,
        loss_terms=dict(zip(loss_terms, term_values)),
        grad_norm=grad_norm,
        lr=learning_rate,
    )


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


def _sum_losses(
    local_losses: Tensor, flags: StepFlags | None, process_group: ProcessGroup
) -> list[float]:
    """Return sums of losses over processes; the flags travel with them, in one exchange."""
    numbers = {} if flags is None or process_group.world_size == 1 else asdict(flags)
    values = torch.cat([local_losses, local_losses.new_tensor(list(numbers.values()))])
    sums = process_group.all_reduce_sum(values).tolist()
    for name, total in zip(numbers, sums[len(local_losses) :]):
        setattr(flags, name, round(total))
    return sums[: len(local_losses)]


def _set_flags(
    previous: StepFlags,
    batch: Batch,
    split: Split,
    state: TrainState,
    stop: Callable[[], bool],
    is_last: bool,
) -> StepFlags:
    """Return the flags of this process for the step on `batch`.

    With several processes `stop` is called here, so that no exchange of its own is needed.
    """
    is_alone = distributed.get_process_group().world_size == 1
    known = state.counters.unreadable_samples
    return StepFlags(
        new_unreadable=len(find_new(batch, known)) if split.has_image_files else 0,
        stop_requested=0 if is_alone or is_last else int(stop()),
        superseded=previous.superseded,
    )


def _record_unreadable_images(
    batch: Batch,
    flags: StepFlags,
    split: Split,
    state: TrainState,
    metrics_logger: MetricsLogger,
) -> None:
    """Count and log the images that the batch lacks; `UserError` if there are more than allowed."""
    process_group, known = distributed.get_process_group(), state.counters.unreadable_samples
    new_samples = (
        update_known(known, batch, split, process_group, state.device)
        if flags.new_unreadable
        else []
    )
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
