"""The probe of an arm: its first training steps, from which checks and costs are taken."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ablations.audit import flops
from uniclip import distributed, numerics
from uniclip.config import RunConfig
from uniclip.data.batch import Batch
from uniclip.identity import to_hashable_config
from uniclip.io.hashing import digest
from uniclip.training.state import TrainState
from uniclip.training.trainer import setup_training, training_step

MIN_STEPS, MAX_STEPS = 4, 30
"""Bounds of the steps of a probe: a twentieth of those of the run. The checks look at the first
two; all but the first are timed."""


@dataclass(kw_only=True)
class ArmProbe:
    """An arm after its first training steps."""

    config: RunConfig
    state: TrainState
    batches: list[Batch]
    """The batches of the first two steps."""
    initial_weights: dict[str, Tensor]
    """The weights of the embedder before the first step."""
    report_after_two_steps: dict[str, float]
    """The learned scalars that the method reports after two steps."""
    step_seconds: list[float]
    """Wall seconds of every step but the first; the batch is made by this process."""
    batch_seconds: list[float]
    """Wall seconds of them in which the batch was made."""
    step_flops: int
    """Floating-point operations of a step (`ablations.audit.flops`), summed over all processes."""
    setup_seconds: float
    """Wall seconds to set up the training."""
    peak_memory_bytes: int
    """Peak memory during set-up and steps: of the device if it has its own, else of the process."""

    @property
    def num_steps(self) -> int:
        """Training steps that were done."""
        return len(self.step_seconds) + 1

    @property
    def weights_digest(self) -> str:
        """Digest of the weights that would be evaluated, and of the number of steps."""
        hasher = hashlib.blake2b(str(len(self.step_seconds)).encode(), digest_size=16)
        for name, value in self.state.evaluated_modules.state_dict().items():
            hasher.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            hasher.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return hasher.hexdigest()

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint after a validation, which also holds the best weights."""
        num_bytes = int(self.state.count_bytes())
        if self.state.best_weights is None:
            weights = self.state.modules.state_dict().values()
            num_bytes += sum(value.numel() * value.element_size() for value in weights)
        return num_bytes


def probe_arm(config: RunConfig) -> ArmProbe:
    """Set up a training and do its first steps."""
    numerics.apply(config.train.num_threads, config.train.numerics)
    numerics.reset_peak_memory(numerics.get_device(config.runtime.device))
    start = time.perf_counter()
    batches, state = setup_training(config)
    setup_seconds = time.perf_counter() - start
    initial_weights = {name: value.clone() for name, value in state.embedder.state_dict().items()}
    first_batches: list[Batch] = []
    step_seconds, batch_seconds = [], []
    report_after_two_steps, flop_counter = {}, flops.build_flop_counter()
    for step in range(min(MAX_STEPS, max(MIN_STEPS, config.train.steps // 20))):
        step_start = time.perf_counter()
        batch = batches.build_batch(step)
        batch_seconds.append(time.perf_counter() - step_start)
        batch = batch.to(state.device)
        with flop_counter if step == 0 else nullcontext():
            training_step(state, batch)
        step_seconds.append(time.perf_counter() - step_start)
        state.record_step(step_seconds[-1], clipped=False)
        if step < 2:
            first_batches.append(batch.to(torch.device("cpu")))
        if step == 1:
            report_after_two_steps = state.method.get_learned_scalars()
    process_group = distributed.get_process_group()
    return ArmProbe(
        config=config,
        state=state,
        batches=first_batches,
        initial_weights=initial_weights,
        report_after_two_steps=report_after_two_steps,
        step_seconds=step_seconds[1:],
        batch_seconds=batch_seconds[1:],
        step_flops=process_group.all_reduce_sum_int(flop_counter.get_total_flops()),
        setup_seconds=setup_seconds,
        peak_memory_bytes=numerics.get_peak_memory_bytes(state.device),
    )


def warm_up_caches(configs: Iterable[RunConfig]) -> None:
    """Do the work that is done once for all runs (imports, rendering of images).

    Without it, that work would be counted in the time of the first arm.
    """
    distinct_configs = {
        digest([to_hashable_config(c.data), to_hashable_config(c.model)]): c for c in configs
    }
    for config in distinct_configs.values():
        numerics.apply(config.train.num_threads, config.train.numerics)
        setup_training(config)
