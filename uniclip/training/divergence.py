"""Divergence is noticed on the device, so that the host need not read every step's numbers.

To read a number of a GPU the host waits until everything before it is computed, and the GPU then
waits for the host. So the numbers of some steps stay on the device. The first step that diverges
sets a flag there, under which no later step changes the state: the optimizer skips its update, as
for the overflows of mixed precision, and running statistics and queues are put back. When the host
reads the numbers, it finds the state as that step left it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from uniclip.config import RunConfig

READ_INTERVALS = {"cpu": 1}
"""Type of a device -> steps whose numbers are read together; on a CPU to read costs nothing."""
DEFAULT_READ_INTERVAL = 5
"""For other devices: a request to stop and a divergence are noticed up to four steps later."""


class DivergenceLatch:
    """Whether a step has diverged, on the device, and what keeps later steps without effect.

    Args:
        modules: The model and the method.
        optimizer: Their optimizer.
        config: The run.
        device: Where training computes.

    Attributes:
        is_set: () float32 on the device: 1 once a step has diverged, else 0.
        must_read_norm: Whether the host must read the norm before it updates the weights: for an
            optimizer that cannot skip a step by a number of the device, and for averaged weights.
        read_interval: Number of steps after which the host must read their metrics.
    """

    def __init__(
        self,
        modules: nn.ModuleDict,
        optimizer: torch.optim.Optimizer,
        config: RunConfig,
        device: torch.device,
    ) -> None:
        self.is_set = torch.zeros((), device=device)
        can_skip = getattr(optimizer, "_step_supports_amp_scaling", False)  # as GradScaler asks
        if can_skip:
            optimizer.found_inf = self.is_set  # type: ignore[attr-defined]
        self.must_read_norm = not can_skip or config.train.ema_decay is not None
        must_read = self.must_read_norm or config.runtime.checkpoint_seconds == 0
        self.read_interval = (
            1 if must_read else READ_INTERVALS.get(device.type, DEFAULT_READ_INTERVAL)
        )
        self._threshold = config.train.divergence_threshold
        parameter_names = {name for name, _ in modules.named_parameters()}
        self._buffers = [
            buffer
            for name, buffer in modules.state_dict(keep_vars=True).items()
            if name not in parameter_names and self.read_interval > 1
        ]

    def is_read_due(self, step: int, config: RunConfig) -> bool:
        """Return whether the host must read after so many steps; equal on all processes."""
        train = config.train
        return (
            step in (1, config.last_step, train.steps)
            or step % self.read_interval == 0
            or step % config.runtime.log_every == 0
            or step % train.validate_every == 0
        )

    @torch.no_grad()
    def update(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        """Set the latch if a step has diverged; return the norm () to report, then not finite.

        Args:
            loss: () the loss of the whole batch.
            grad_norm: () the norm of its gradient.
        """
        is_valid = torch.isfinite(loss) & (loss <= self._threshold) & (self.is_set == 0)
        grad_norm = torch.where(is_valid, grad_norm, math.nan)
        self.is_set.copy_(~torch.isfinite(grad_norm))
        return grad_norm

    @contextmanager
    def preserve_buffers(self) -> Iterator[None]:
        """Context of both passes of a step; if the latch was set before, buffers are put back."""
        was_set = self.is_set.bool()
        previous = [buffer.clone() for buffer in self._buffers]
        yield
        with torch.no_grad():
            for buffer, value in zip(self._buffers, previous):
                buffer.copy_(torch.where(was_set, value, buffer))
