"""The process group of a batch: initialization and collectives.

Every loss follows one rule: each process computes its contribution to the loss, and the
contributions sum to the loss of the whole batch. Gradients of contributions sum likewise, so
parameters take the sum (not the mean) of the processes' gradients, and `all_gather` needs no
factor: its backward pass sums.

    DistributedDataParallel takes the mean: with it, multiply the contribution by the world size.

Every process of a job calls `init_process_group` once at its start and `destroy_process_group` at
its end. Rank 0 alone writes; meanwhile the others wait for it in `broadcast_object` or
`all_reduce_max`. What one process computes while the others wait (a validation, a manipulation
check) is computed under `local_only`. A process that raises an error must exit; the others then
exit too, as their next collective fails.
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
"""Set for each process by torchrun and by submitit's TorchDistributedEnvironment."""
STEP_TIMEOUT = timedelta(minutes=30)
"""Time that a process waits for others within a step before it raises an error."""
RANK_ZERO_TIMEOUT = timedelta(hours=24)
"""Time that it waits for rank 0, which may open data, write, validate or evaluate meanwhile."""
BUCKET_SIZE = 2**24
"""Elements per all-reduce of gradients."""


class ProcessGroup:
    """The processes that share a batch; they may have different numbers of rows.

    Args:
        rank: Rank of this process.
        world_size: Number of processes.
        gather_with_grad: False = the published form of SLIP (Mu et al., ECCV 2022), whose CLIP loss
            gathers constants: an embedding has a gradient as an anchor only, not as a candidate
            with which anchors of this or another process are compared. The value is exact; the
            gradient is not that of any loss of the batch. Without effect in a single process.
    """

    def __init__(
        self, rank: int = 0, world_size: int = 1, *, gather_with_grad: bool = True
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.gather_with_grad = gather_with_grad or world_size == 1

    def all_gather(self, rows: Tensor) -> Tensor:
        """Gather rows (m, ...) of every process, in the order of ranks, to (M, ...).

        Differentiable: the backward pass sums the gradients that all processes have with respect to
        the rows of this one.
        """
        if self.world_size == 1:
            return rows
        gathered: Tensor = _AllGather.apply(rows, self)  # type: ignore[no-untyped-call]
        return gathered

    def detach_remote(self, gathered: Tensor) -> Tensor:
        """Return gathered rows as candidates: detached unless `gather_with_grad`."""
        return gathered if self.gather_with_grad else gathered.detach()

    def local_slice(self, row_count: int) -> slice:
        """Return the slice of this process's `row_count` rows among the gathered rows."""
        if self.world_size == 1:
            return slice(0, row_count)
        counts = self.all_gather_counts(row_count)
        start = sum(counts[: self.rank])
        return slice(start, start + row_count)

    def all_gather_counts(self, row_count: int) -> list[int]:
        """Return the number of rows of each process, by rank."""
        if self.world_size == 1:
            return [row_count]
        local_count = torch.tensor([row_count], device=_get_collective_device())
        all_counts = [torch.zeros_like(local_count) for _ in range(self.world_size)]
        dist.all_gather(all_counts, local_count)
        return [int(n) for n in all_counts]

    def all_reduce_sum_int(self, number: int) -> int:
        """Return the sum of `number` over processes; a collective."""
        return sum(self.all_gather_counts(number))

    def mean_contribution(self, values: Tensor) -> Tensor:
        """Return this process's contribution to the mean of the values (m,) of all processes.

        The contributions of all processes sum to the mean; without any values they are 0.
        """
        total = sum(self.all_gather_counts(len(values))) if self.world_size > 1 else len(values)
        return values.sum() / max(total, 1)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Sum `values` over processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def all_reduce_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace the gradient of each parameter by its sum over processes.

        A parameter without a gradient on every process keeps none; one with a gradient on some
        processes has it on all afterwards.
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
            totals = torch.split(flat_gradients, [g.numel() for g in bucket])
            for gradient, total in zip(bucket, totals):
                gradient.copy_(total.view(gradient.shape))

    def broadcast_object(self, value: Any = None) -> Any:
        """Return rank 0's `value`, a JSON value, on every process; a collective."""
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
        """Return the maximum of `number` over processes; a collective."""
        if self.world_size == 1:
            return number
        tensor = torch.tensor([number])
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=_between_steps)
        return int(tensor)

    def all_reduce_logsumexp(self, logs: Tensor) -> Tensor:
        """Return log(sum(exp(logs))) over processes, elementwise."""
        if self.world_size == 1:
            return logs
        max_logs = logs.clone()
        dist.all_reduce(max_logs, dist.ReduceOp.MAX)
        return self.all_reduce_sum((logs - max_logs).exp()).log() + max_logs


SINGLE_PROCESS = ProcessGroup()
"""The group of a single process: its collectives return their inputs."""


_between_steps: dist.ProcessGroup | None = None
"""The gloo group in which processes wait for rank 0, with the longer timeout."""
_is_local_only = False


def init_process_group(device: str) -> ProcessGroup:
    """Initialize the process group of this job from `ENVIRONMENT_VARIABLES`.

    Args:
        device: `runtime.device`; "cuda" selects GPU LOCAL_RANK of this machine and NCCL, any other
            device gloo.

    Returns:
        The group; `SINGLE_PROCESS` if neither RANK nor WORLD_SIZE is set, or WORLD_SIZE is 1.

    Raises:
        UserError: some variables are missing, or the device cannot be shared by processes.
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
            f"{' and '.join(missing_variables)} not set, though RANK or WORLD_SIZE is: start the "
            "processes with torchrun or Slurm, or unset both to run a single process"
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
    group = dist.new_group(backend="gloo", timeout=RANK_ZERO_TIMEOUT)
    assert isinstance(group, dist.ProcessGroup)
    _between_steps = group
    return get_process_group()


def destroy_process_group() -> None:
    """Destroy the process group, if there is one."""
    global _between_steps
    if dist.is_initialized():
        dist.destroy_process_group()
        _between_steps = None


@contextmanager
def local_only() -> Iterator[None]:
    """Within this context `get_process_group` returns `SINGLE_PROCESS`."""
    global _is_local_only
    previous, _is_local_only = _is_local_only, True
    try:
        yield
    finally:
        _is_local_only = previous


def get_process_group(gather_with_grad: bool = True) -> ProcessGroup:
    """Return the group of this job's processes, or `SINGLE_PROCESS` (also under `local_only`).

    gather_with_grad: As of `ProcessGroup`.
    """
    if (
        not _is_local_only
        and dist.is_available()
        and dist.is_initialized()
        and dist.get_world_size() > 1
    ):
        world_size = dist.get_world_size()
        return ProcessGroup(dist.get_rank(), world_size, gather_with_grad=gather_with_grad)
    return SINGLE_PROCESS


def _split_into_buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield `tensors` in order, in lists of one dtype and at most `BUCKET_SIZE` elements."""
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
