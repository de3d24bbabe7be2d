"""Processes that share one batch: what they exchange so that the loss is that of the whole batch.

The rule of every loss here: each process computes its share of the loss, and the shares add up to
the loss of the whole batch. Gradients of shares add up too, so parameters take the sum (not the
mean) of the processes' gradients, and the gather below needs no factor: its way back sums.

    torch.distributed's DDP takes the mean: under it, multiply the share by the number of processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Processes:
    """The processes that share a batch; they need not have equally many rows.

    Args:
        rank: which of them this one is.
        world: how many there are.
        remote_gradients: False = the published form of SLIP (Mu et al., ECCV 2022), whose CLIP loss
            gathers constants: an embedding learns as an anchor alone, not as what the anchors, of
            other processes or of its own, are compared with. The value is exact, the gradient is
            not that of any loss of the batch. Without effect in one process.
    """

    def __init__(self, rank: int = 0, world: int = 1, *, remote_gradients: bool = True) -> None:
        self.rank, self.world = rank, world
        self.remote_gradients = remote_gradients or world == 1

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (m, ...) of every process, in the order of ranks, (M, ...); differentiable.

        Its way back adds up what all processes pull at the rows of this one.
        """
        if self.world == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self)  # type: ignore[no-untyped-call]
        return gathered

    def others(self, gathered: Tensor) -> Tensor:
        """Gathered rows as what anchors are compared with: constants without remote gradients."""
        return gathered if self.remote_gradients else gathered.detach()

    def own(self, rows: int) -> slice:
        """Where this process's `rows` stand among those gathered."""
        if self.world == 1:
            return slice(0, rows)
        counts = self.counts(rows)
        start = sum(counts[: self.rank])
        return slice(start, start + rows)

    def counts(self, rows: int) -> list[int]:
        """How many rows each process has."""
        if self.world == 1:
            return [rows]
        mine = torch.tensor([rows], device=_device())
        every = [torch.zeros_like(mine) for _ in range(self.world)]
        dist.all_gather(every, mine)
        return [int(n) for n in every]

    def mean_share(self, values: Tensor) -> Tensor:
        """This process's share of the mean over the values (m,) of all processes; 0 of none."""
        total = sum(self.counts(len(values))) if self.world > 1 else len(values)
        return values.sum() / max(total, 1)

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def log_add_up(self, logs: Tensor) -> Tensor:
        """log sum e^logs over processes."""
        if self.world == 1:
            return logs
        highest = logs.clone()
        dist.all_reduce(highest, dist.ReduceOp.MAX)
        return self.add_up((logs - highest).exp()).log() + highest


ALONE = Processes()
"""One process: nothing is exchanged."""


def current(remote_gradients: bool = True) -> Processes:
    """The processes of `torch.distributed`, if it was initialised; as `Processes` has it."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        world = dist.get_world_size()
        return Processes(dist.get_rank(), world, remote_gradients=remote_gradients)
    return ALONE


def _device() -> torch.device:
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes) -> Tensor:
        ctx.processes, ctx.counts = processes, processes.counts(len(rows))
        most = max(ctx.counts)
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in ctx.counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, ctx.counts)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = ctx.processes.add_up(gradient.contiguous())
        start = sum(ctx.counts[: ctx.processes.rank])
        return total[start : start + ctx.counts[ctx.processes.rank]], None
