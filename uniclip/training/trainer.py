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
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig
from uniclip.data.batch import Batch
from uniclip.data.loader import TrainingBatches
from uniclip.data.text import tokenizer
from uniclip.store import AttemptFolder
from uniclip.training import optimizer
from uniclip.training.grad_cache import CachedEmbeddings
from uniclip.training.metrics_log import MetricsLogger
from uniclip.training.state import TrainState

TrainEndKind = Literal["trained", "diverged", "stopped", "paused", "superseded"]
EARLY_ENDS: tuple[Literal["stopped", "superseded"] | None, ...] = (None, "stopped", "superseded")
"""Why training may end after a step; of what several processes say, the last here counts."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What training came to."""

    kind: TrainEndKind
    """Trained to the end, diverged, stopped at a step, paused where runtime.stop_fraction says, or
    overtaken by a newer attempt."""
    step: int
    """Steps taken (of a diverged run: before the one that failed)."""
    pretrained: PretrainedModel
    """The model as it is now, not as it was at its best."""
    best_step: int | None
    """The step of the best validation; None without one. Of equals, the earliest."""
    best_state: dict[str, Tensor] | None
    """The weights at that step, named as in `checkpoint.bundle`."""
    seconds: float
    """Training behind these weights, over all attempts; without validations and checkpoints."""
    history: list[dict[str, Any]]
    """The records of this attempt, as in metrics.jsonl (`uniclip.training.metrics_log`)."""


def train_model(
    config: RunConfig,
    *,
    attempt: AttemptFolder | None = None,
    validate: Callable[[PretrainedModel], float] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
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
    numerics.reset_peak_memory(numerics.get_device(config))
    metrics_logger = MetricsLogger(config, attempt)
    metrics_logger.write_heartbeat(0, "opening")
    batches, state = setup_training(config)
    state.resume(attempt)
    metrics_logger.log_initialization(state)
    step_start = time.perf_counter()
    last_step = config.last_step
    for batch in batches.iterate_batches(state.counters.step, last_step):
        step_metrics = training_step(state, batch)
        if not math.isfinite(step_metrics["grad_norm"]):
            metrics_logger.log_divergence(state, step_metrics)
            return _build_result("diverged", state, metrics_logger)
        state.record_step(
            time.perf_counter() - step_start,
            clipped=step_metrics["grad_norm"] > config.train.grad_clip_norm,
        )
        metrics_logger.log_step(state, step_metrics)
        if validate is not None and _is_validation_due(state.counters.step, config):
            metrics_logger.write_heartbeat(state.counters.step, "validating", force=True)
            metrics_logger.log_validation(state, *state.validate(validate))
        metrics_logger.write_heartbeat(state.counters.step, "training")
        early_end = (
            _check_early_end(metrics_logger, state, stop)
            if state.counters.step < last_step
            else None
        )
        if early_end is not None:
            return _build_result(early_end, state, metrics_logger)
        step_start = time.perf_counter()
    if last_step < config.train.steps:
        return _build_result(metrics_logger.checkpoint_and_exit(state), state, metrics_logger)
    if distributed.get_process_group().rank == 0:
        metrics_logger.log_completion(state)
    return _build_result("trained", state, metrics_logger)


def training_step(state: TrainState, batch: Batch) -> dict[str, Any]:
    """Take one step on `batch`: its loss, parts, grad_norm (before clipping) and rate.

    Over several processes `batch` is this one's share, and all that is returned is of the whole.
    A step diverges when its loss is not finite or above train.divergence_threshold, or its gradient is
    not finite. Then grad_norm is not finite, and the parameters are as they were.
    """
    config, train_config, step = state.config, state.config.train, state.counters.step
    process_group, method = distributed.get_process_group(), state.method
    learning_rate = optimizer.compute_learning_rate(step, train_config)
    optimizer.set_learning_rate(state.optimizer, learning_rate)
    state.optimizer.zero_grad(set_to_none=True)
    batch = method.prepare_batch(batch.to(state.device))
    rng_key = (config.seed, config.stream, "step", step, process_group.rank)
    embeddings = CachedEmbeddings(
        method,
        state.training_embedder,
        batch,
        num_chunks=train_config.grad_cache_chunks,
        rng_key=rng_key,
    )
    loss_terms = method.compute_terms_from_embeddings(embeddings.tensors, batch)
    local_loss = method.sum_loss_terms(loss_terms)
    local_losses = torch.stack([local_loss, *loss_terms.values()]).detach()
    loss, *term_values = process_group.all_reduce_sum(local_losses).tolist()
    grad_norm = math.nan
    if math.isfinite(loss) and loss <= train_config.divergence_threshold:
        embeddings.backward(local_loss)
        process_group.all_reduce_gradients(list(state.modules.parameters()))
        grad_norm = nn.utils.clip_grad_norm_(
            state.modules.parameters(), train_config.grad_clip_norm
        ).item()
    if math.isfinite(grad_norm):
        state.optimizer.step()
        method.clamp()
    return {
        "loss": loss,
        "loss_terms": dict(zip(loss_terms, term_values)),
        "grad_norm": grad_norm,
        "lr": learning_rate,
    }


def setup_training(config: RunConfig) -> tuple[TrainingBatches, TrainState]:
    """The batches of a training, and its state before the first step."""
    split = data.open_split(config.data, "train")
    captions = [caption for sample_captions in split.captions for caption in sample_captions]
    trained_tokenizer = tokenizer.build_tokenizer(config.model.text, captions)
    return TrainingBatches(
        config, split, trained_tokenizer, distributed.get_process_group()
    ), TrainState(config, trained_tokenizer)


def _check_early_end(
    metrics_logger: MetricsLogger, state: TrainState, stop: Callable[[], bool]
) -> Literal["stopped", "superseded"] | None:
    """Why training must end here, if so: all processes find the same."""
    process_group = distributed.get_process_group()
    stop_requested = process_group.all_reduce_max(int(stop())) > 0
    local_end = (
        metrics_logger.maybe_checkpoint(state, stop_requested) if process_group.rank == 0 else None
    )
    return EARLY_ENDS[process_group.all_reduce_max(EARLY_ENDS.index(local_end))]


def _is_validation_due(step: int, config: RunConfig) -> bool:
    return step % config.train.validate_every == 0 or step == config.train.steps


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
