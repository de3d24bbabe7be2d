"""Processes that share one batch: how they meet, and what they exchange.

The rule of every loss here: each process computes its share of the loss, and the shares add up to
the loss of the whole batch. Gradients of shares add up too, so parameters take the sum (not the
mean) of the processes' gradients, and the gather below needs no factor: its way back sums.

    torch.distributed's DDP takes the mean: under it, multiply the share by the number of processes.

A job of several processes calls `join` once at its start, on each, and `leave` at its end. Rank 0
alone writes; meanwhile the others wait for it in `share` or `highest`. What one process does by
itself while the others wait (a validation, a witness) it does `apart`. A process that meets an
error must end: the others then end too, for their partner is gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from uniclip.errors import UserError

ENVIRONMENT_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun, and submitit's TorchDistributedEnvironment, tell each process."""
STEP_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for others that compute the same step, before it ends with an error."""
RANK_ZERO_TIMEOUT = timedelta(hours=24)
"""How long it waits for rank 0, which may open data, write, validate or evaluate meanwhile."""
BUCKET_SIZE = 2**24
"""Numbers that are added up at once."""


class ProcessGroup:
    """The processes that share a batch; they need not have equally many rows.

    Args:
        rank: which of them this one is.
        world: how many there are.
        remote_gradients: False = the published form of SLIP (Mu et al., ECCV 2022), whose CLIP loss
            gathers constants: an embedding learns as an anchor alone, not as what the anchors, of
            other processes or of its own, are compared with. The value is exact, the gradient is
            not that of any loss of the batch. Without effect in one process.
    """

    def __init__(
        self, rank: int = 0, world_size: int = 1, *, gather_with_grad: bool = True
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.gather_with_grad = gather_with_grad or world_size == 1

    def all_gather(self, rows: Tensor) -> Tensor:
        """Rows (m, ...) of every process, in the order of ranks, (M, ...); differentiable.

        Its way back adds up what all processes pull at the rows of this one.
        """
        if self.world_size == 1:
            return rows
        gathered: Tensor = _AllGather.apply(rows, self)  # type: ignore[no-untyped-call]
        return gathered

    def detach_remote(self, gathered: Tensor) -> Tensor:
        """Gathered rows as what anchors are compared with: constants without remote gradients."""
        return gathered if self.gather_with_grad else gathered.detach()

    def local_slice(self, row_count: int) -> slice:
        """Where this process's `rows` stand among those gathered."""
        if self.world_size == 1:
            return slice(0, row_count)
        counts = self.all_gather_counts(row_count)
        start = sum(counts[: self.rank])
        return slice(start, start + row_count)

    def all_gather_counts(self, row_count: int) -> list[int]:
        """How many rows each process has."""
        if self.world_size == 1:
            return [row_count]
        local_count = torch.tensor([row_count], device=_get_collective_device())
        all_counts = [torch.zeros_like(local_count) for _ in range(self.world_size)]
        dist.all_gather(all_counts, local_count)
        return [int(n) for n in all_counts]

    def all_reduce_sum_int(self, number: int) -> int:
        """The sum of what each process gives; to be called by all."""
        return sum(self.all_gather_counts(number))

    def mean_contribution(self, values: Tensor) -> Tensor:
        """This process's share of the mean over the values (m,) of all processes; 0 of none."""
        total = sum(self.all_gather_counts(len(values))) if self.world_size > 1 else len(values)
        return values.sum() / max(total, 1)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """The sum over processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def all_reduce_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give each of `parameters` the sum of its gradients over processes.

        No factor: shares add up. A parameter that no process used keeps none; one that some did not
        use has a gradient on all.
        """
        if self.world_size == 1:
            return
        has_gradient = [p.grad is not None for p in parameters]
        counts = self.all_reduce_sum(
            torch.tensor(has_gradient, dtype=torch.int32, device=_get_collective_device())
        )
        gradients = []
        for parameter, count in zip(parameters, counts.tolist()):
            if count > 0 and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad is not None:
                gradients.append(parameter.grad)
        for bucket in _split_into_buckets(gradients):
            flat_gradients = self.all_reduce_sum(torch.cat([g.flatten() for g in bucket]))
            for gradient, total in zip(bucket, flat_gradients.split([g.numel() for g in bucket])):
                gradient.copy_(total.view(gradient.shape))

    def broadcast_object(self, value: Any = None) -> Any:
        """Rank 0's `value`, which JSON can hold, on every process; to be called by all."""
        if self.world_size == 1:
            return value
        payload = json.dumps(value).encode() if self.rank == 0 else b""
        size = torch.tensor([len(payload)])
        dist.broadcast(size, 0, group=_between_steps)
        buffer = torch.zeros(int(size), dtype=torch.uint8)
        if self.rank == 0:
            buffer.copy_(torch.frombuffer(bytearray(payload), dtype=torch.uint8))
        dist.broadcast(buffer, 0, group=_between_steps)
        return json.loads(bytes(buffer.tolist()))

    def all_reduce_max(self, number: int) -> int:
        """The highest `number` that a process gives; to be called by all."""
        if self.world_size == 1:
            return number
        tensor = torch.tensor([number])
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=_between_steps)
        return int(tensor)

    def all_reduce_logsumexp(self, logs: Tensor) -> Tensor:
        """log sum e^logs over processes."""
        if self.world_size == 1:
            return logs
        max_logs = logs.clone()
        dist.all_reduce(max_logs, dist.ReduceOp.MAX)
        return self.all_reduce_sum((logs - max_logs).exp()).log() + max_logs


SINGLE_PROCESS = ProcessGroup()
"""One process: nothing is exchanged."""


_between_steps: Any = None
"""The group in which processes wait for rank 0: gloo's, with its longer patience."""
_apart = False


def init_process_group(device: str) -> ProcessGroup:
    """Meet the processes of this job, as `VARIABLES` tell; `ALONE` without RANK and WORLD_SIZE.

    device: `runtime.device`; "cuda" = GPU LOCAL_RANK of this machine, and NCCL; else gloo.

    Raises:
        UserError: some of `VARIABLES` are missing, or there is no such device.
    """
    environment = {name: os.environ[name] for name in ENVIRONMENT_VARIABLES if name in os.environ}
    if (
        "RANK" not in environment
        and "WORLD_SIZE" not in environment
        or environment.get("WORLD_SIZE") == "1"
    ):
        return SINGLE_PROCESS
    missing_variables = [name for name in ENVIRONMENT_VARIABLES if name not in environment]
    if missing_variables:
        raise UserError(
            f"{' and '.join(missing_variables)} not set, though RANK or WORLD_SIZE is: start the processes "
            "with torchrun or Slurm, or unset both to run alone"
        )
    on_gpu = device.startswith("cuda")
    if on_gpu and (device != "cuda" or not torch.cuda.is_available()):
        raise UserError(
            f"runtime.device={device!r} cannot be shared by processes here: cuda takes a GPU for "
            "each, cpu always works"
        )
    if on_gpu:
        torch.cuda.set_device(int(environment["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=STEP_TIMEOUT)
    global _between_steps
    _between_steps = dist.new_group(backend="gloo", timeout=RANK_ZERO_TIMEOUT)
    return get_process_group()


def destroy_process_group() -> None:
    """Part from the processes that `join` met, if it met any."""
    global _between_steps
    if dist.is_initialized():
        dist.destroy_process_group()
        _between_steps = None


@contextmanager
def local_only() -> Iterator[None]:
    """What this process does meanwhile, it does as if there were no others."""
    global _apart
    previous, _apart = _apart, True
    try:
        yield
    finally:
        _apart = previous


def get_process_group(gather_with_grad: bool = True) -> ProcessGroup:
    """The processes that were joined, but for who is `apart`; as `Processes` has it."""
    if not _apart and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        world_size = dist.get_world_size()
        return ProcessGroup(dist.get_rank(), world_size, gather_with_grad=gather_with_grad)
    return SINGLE_PROCESS


def _split_into_buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """`tensors` in order, cut where `BUCKET` is exceeded or the type changes."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        numbers = sum(t.numel() for t in bucket) + tensor.numel()
        if bucket and (numbers > BUCKET_SIZE or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _get_collective_device() -> torch.device:
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: ProcessGroup) -> Tensor:
        ctx.process_group, ctx.counts = group, group.all_gather_counts(len(rows))
        max_count = max(ctx.counts)
        padded = rows.new_zeros(max_count, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in ctx.counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, ctx.counts)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = ctx.process_group.all_reduce_sum(gradient.contiguous())
        start = sum(ctx.counts[: ctx.process_group.rank])
        return total[start : start + ctx.counts[ctx.process_group.rank]], None
