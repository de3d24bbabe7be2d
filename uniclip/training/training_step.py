"""A training step, and its metrics, which the host reads for several steps together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from uniclip import distributed, numerics
from uniclip.data.batch import Batch
from uniclip.data.sampling import count_local_samples
from uniclip.distributed import ProcessGroup
from uniclip.training import optimizer
from uniclip.training.grad_cache import CachedEmbeddings
from uniclip.training.state import StepMetrics, TrainState


@dataclass(kw_only=True)
class StepFlags:
    """What a process tells the others with its loss terms; once read, sums over processes."""

    new_unreadable: int = 0
    """Images of these batches that cannot be read and were not known to be so."""
    stop_requested: int = 0
    """Whether training shall end after this step."""
    superseded: int = 0
    """Whether rank 0 has found that a newer attempt has replaced this one."""


@dataclass(kw_only=True)
class TakenStep:
    """A step whose metrics the host has not read."""

    values: Tensor
    """(2 + T + F,) on the device: loss, T loss terms, the sums of F flags, norm of the gradient."""
    term_names: tuple[str, ...]
    flags: StepFlags | None
    """The flags that travelled with the loss, if any."""
    lr: float
    seconds: float = 0.0
    """Wall seconds of the host."""
    waited_seconds: float = 0.0
    """Those of this attempt for which training waited for batches, up to this step."""


def take_step(
    state: TrainState, batch: Batch, step: int, flags: StepFlags | None = None
) -> TakenStep:
    """Take step 0 .. train.steps - 1 on `batch`; its metrics stay on the device.

    With several processes `batch` holds the rows of this process, and the metrics are those of the
    whole batch. A step diverges if its loss is not finite or above train.divergence_threshold, or
    its gradient is not finite; grad_norm is then not finite, and the parameters do not change.
    Steps after it change nothing; their grad_norm is not finite either.
    """
    train_config, process_group = state.config.train, distributed.get_process_group()
    learning_rate = optimizer.compute_learning_rate(step, train_config)
    optimizer.set_learning_rate(state.optimizer, learning_rate)
    state.optimizer.zero_grad(set_to_none=True)
    with state.latch.preserve_buffers():
        embeddings, local_loss, loss_terms = _compute_loss(state, batch, step)
        local_losses = torch.stack([local_loss, *loss_terms.values()]).detach()
        sums = _sum_losses(local_losses, flags, process_group)
        is_overlapped = train_config.grad_cache_chunks == 1
        with state.gradient_reducer.sum_gradients(is_overlapped=is_overlapped):
            embeddings.backward(local_loss)
    norm = nn.utils.clip_grad_norm_(state.modules.parameters(), train_config.grad_clip_norm)
    norm = state.latch.update(sums[0], norm)
    if not state.latch.must_read_norm or math.isfinite(norm.item()):
        state.before_update()
        state.optimizer.step()
        state.method.clamp()
        state.update_average()
    return TakenStep(
        values=torch.cat([sums, norm.to(sums)[None]]),
        term_names=tuple(loss_terms),
        flags=flags,
        lr=learning_rate,
    )


def read_steps(steps: Sequence[TakenStep]) -> list[StepMetrics]:
    """Return the metrics of steps in order, in one transfer; their flags become sums."""
    numbers = iter(torch.cat([step.values for step in steps]).tolist())
    metrics = []
    for step in steps:
        loss, *values, grad_norm = (next(numbers) for _ in range(len(step.values)))
        num_terms = len(step.term_names)
        if len(values) > num_terms:
            for name, total in zip(asdict(step.flags or StepFlags()), values[num_terms:]):
                setattr(step.flags, name, round(total))
        loss_terms = dict(zip(step.term_names, values))
        metrics.append(
            StepMetrics(loss=loss, loss_terms=loss_terms, grad_norm=grad_norm, lr=step.lr)
        )
    return metrics


def _compute_loss(
    state: TrainState, batch: Batch, step: int
) -> tuple[CachedEmbeddings, Tensor, dict[str, Tensor]]:
    """Return the embeddings of a batch, this process's part of the loss, (), and of its terms."""
    config, train_config, method = state.config, state.config.train, state.method
    process_group = distributed.get_process_group()
    rng_key = (config.seed, config.stream, "step", step, process_group.rank)
    sample_counts = count_local_samples(train_config.batch_size, process_group.world_size)
    with distributed.known_sample_counts(sample_counts):
        batch = method.prepare_batch(batch.to(state.device))
        embeddings = CachedEmbeddings(
            method,
            state.training_embedder,
            batch,
            num_chunks=train_config.grad_cache_chunks,
            rng_key=rng_key,
        )
        with numerics.loss_context(train_config.precision, state.device):
            loss_terms = method.compute_terms_from_embeddings(embeddings.tensors, batch)
            return embeddings, method.sum_loss_terms(loss_terms), loss_terms


def _sum_losses(
    local_losses: Tensor, flags: StepFlags | None, process_group: ProcessGroup
) -> Tensor:
    """Return sums of losses over processes; the flags travel with them, in one exchange."""
    if flags is not None and process_group.world_size > 1:
        numbers = torch.tensor(list(asdict(flags).values()), dtype=local_losses.dtype)
        numbers = numbers.to(local_losses.device, non_blocking=True)
        local_losses = torch.cat([local_losses, numbers])
    return process_group.all_reduce_sum(local_losses)
