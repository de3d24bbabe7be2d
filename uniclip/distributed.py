"""The process group of a batch: initialization and collectives.

Every loss follows one rule: each process computes its contribution to the loss, and the
contributions sum to the loss of the whole batch. Gradients of contributions sum likewise, so
parameters take the sum (not the mean) of the processes' gradients, and `all_gather` needs no
factor: its backward pass sums. What a loss gathers travels together, once, and its gradients travel
back once (`all_gather_samples`).

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
from torch import Tensor
from torch.nn import functional as F

from uniclip.config.device import AUTO
from uniclip.errors import UserError

ENVIRONMENT_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Set for each process by torchrun and by submitit's TorchDistributedEnvironment."""
STEP_TIMEOUT = timedelta(minutes=30)
"""Time that a process waits for others within a step before it raises an error."""
RANK_ZERO_TIMEOUT = timedelta(hours=24)
"""Time that it waits for rank 0, which may open data, write, validate or evaluate meanwhile."""


class ProcessGroup:
    """The processes that share a batch; they may have different numbers of rows.

    Args:
        rank: Rank of this process.
        world_size: Number of processes.
        gather_with_grad: False = the published form of SLIP (Mu et al., ECCV 2022), whose CLIP loss
            gathers constants: an embedding has a gradient as an anchor only, not as a candidate
            with which anchors of this or another process are compared. The value is exact; the
            gradient is not that of any loss of the batch. Without effect in a single process.
        sample_counts: Number of samples of each process, by rank; None = unknown: processes then
            exchange numbers of rows before they gather rows.
    """

    def __init__(
        self,
        rank: int = 0,
        world_size: int = 1,
        *,
        gather_with_grad: bool = True,
        sample_counts: Sequence[int] | None = None,
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.gather_with_grad = gather_with_grad or world_size == 1
        self.sample_counts = sample_counts

    def all_gather(self, rows: Tensor) -> Tensor:
        """Gather rows (m, ...) of every process, in the order of ranks, to (M, ...).

        Differentiable: the backward pass sums the gradients that all processes have with respect to
        the rows of this one.
        """
        if self.world_size == 1:
            return rows
        return _gather(self, self.all_gather_counts(len(rows)), rows)[0]

    def all_gather_samples(self, *tensors: Tensor) -> tuple[slice, tuple[Tensor, ...]]:
        """Gather tensors of m rows each as `all_gather` does, all in one exchange.

        On every process the tensors have equally many rows, and with `sample_counts` the same
        number of rows for each sample; no numbers of rows are then exchanged. Tensors on the CPU
        beside those of a GPU are exchanged on the CPU, so that the host need not wait for the GPU.

        Returns:
            The slice of this process's rows, and the gathered tensors.
        """
        if self.world_size == 1:
            return slice(0, len(tensors[0])), tensors
        counts = self.count_rows(len(tensors[0]))
        start = sum(counts[: self.rank])
        return slice(start, start + counts[self.rank]), _gather(self, counts, *tensors)

    def count_rows(self, row_count: int) -> list[int]:
        """Return the number of rows of each process, by rank, of tensors whose rows follow samples.

        Without `sample_counts` it is a collective, and any numbers of rows are allowed.
        """
        if self.world_size == 1 or self.sample_counts is None:
            return self.all_gather_counts(row_count)
        rows_per_sample, remainder = divmod(row_count, self.sample_counts[self.rank])
        assert remainder == 0, (row_count, self.sample_counts)
        return [rows_per_sample * n for n in self.sample_counts]

    def detach_remote(self, gathered: Tensor) -> Tensor:
        """Return gathered rows as candidates: detached unless `gather_with_grad`."""
        return gathered if self.gather_with_grad else gathered.detach()

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
        if self.world_size == 1:
            return values.sum() / max(len(values), 1)
        total = self.all_reduce_sum(torch.full((), float(len(values)), device=values.device))
        return values.sum() / total.clamp(min=1)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Sum `values` over processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

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
_gradients: dist.ProcessGroup | None = None
"""The group in which gradients are summed, so that their exchanges need no fixed order relative to
those of losses and batch norm."""
_is_local_only = False
_sample_counts: Sequence[int] | None = None


def choose_device(device: str) -> str:
    """Return `runtime.device`; for "auto" what torch has here, "cuda" or "cpu"."""
    if device != AUTO:
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


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
    device = choose_device(device)
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
    global _between_steps, _gradients
    group = dist.new_group(backend="gloo", timeout=RANK_ZERO_TIMEOUT)
    gradient_group = dist.new_group(timeout=STEP_TIMEOUT)
    assert isinstance(group, dist.ProcessGroup)
    assert isinstance(gradient_group, dist.ProcessGroup)
    _between_steps, _gradients = group, gradient_group
    return get_process_group()


def get_gradient_group() -> dist.ProcessGroup | None:
    """Return the group in which gradients are summed; None = the default group of torch."""
    return _gradients


def destroy_process_group() -> None:
    """Destroy the process group, if there is one."""
    global _between_steps, _gradients
    if dist.is_initialized():
        dist.destroy_process_group()
        _between_steps = _gradients = None


@contextmanager
def local_only() -> Iterator[None]:
    """Within this context `get_process_group` returns `SINGLE_PROCESS`."""
    global _is_local_only
    previous, _is_local_only = _is_local_only, True
    try:
        yield
    finally:
        _is_local_only = previous


@contextmanager
def known_sample_counts(counts: Sequence[int]) -> Iterator[None]:
    """Within this context `get_process_group` knows the number of samples of each process."""
    global _sample_counts
    previous, _sample_counts = _sample_counts, counts
    try:
        yield
    finally:
        _sample_counts = previous


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
        return ProcessGroup(
            dist.get_rank(),
            dist.get_world_size(),
            gather_with_grad=gather_with_grad,
            sample_counts=_sample_counts,
        )
    return SINGLE_PROCESS


def _get_collective_device() -> torch.device:
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def _gather(group: ProcessGroup, counts: list[int], *tensors: Tensor) -> tuple[Tensor, ...]:
    exchanges = [_get_exchange(tensor) for tensor in tensors]
    gathered = {}
    for exchange in dict.fromkeys(exchanges):
        members = (t for t, other in zip(tensors, exchanges) if other is exchange)
        rows = _AllGather.apply(group, exchange, counts, *members)  # type: ignore[no-untyped-call]
        gathered[exchange] = iter(rows)
    return tuple(next(gathered[exchange]) for exchange in exchanges)


def _get_exchange(tensor: Tensor) -> dist.ProcessGroup | None:
    """Return the group in which a tensor is exchanged; None = the default group of torch."""
    return _between_steps if tensor.device.type == "cpu" and dist.get_backend() != "gloo" else None


class _AllGather(torch.autograd.Function):
    """Rows of several tensors, packed as bytes; gradients of all of them are reduced together."""

    @staticmethod
    def forward(
        ctx: Any,
        group: ProcessGroup,
        exchange: dist.ProcessGroup | None,
        counts: list[int],
        *tensors: Tensor,
    ) -> Any:
        ctx.process_group, ctx.counts = group, counts
        as_matrices = [_flatten_rows(tensor) for tensor in tensors]
        packed = torch.cat([matrix.contiguous().view(torch.uint8) for matrix in as_matrices], 1)
        padded = packed.new_zeros(max(counts), packed.shape[1])
        padded[: len(packed)] = packed
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=exchange)
        columns = torch.split(
            torch.cat([part[:n] for part, n in zip(parts, counts)]),
            [matrix.shape[1] * matrix.element_size() for matrix in as_matrices],
            1,
        )
        gathered = tuple(
            bytes_of_rows.contiguous().view(tensor.dtype).view(-1, *tensor.shape[1:])
            for bytes_of_rows, tensor in zip(columns, tensors)
        )
        ctx.mark_non_differentiable(*(t for t in gathered if not t.is_floating_point()))
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needs_gradient = ctx.needs_input_grad[3:]
        wanted = [g for g, needed in zip(gradients, needs_gradient) if needed]
        as_matrices = [_flatten_rows(gradient) for gradient in wanted]
        local_rows = _reduce_scatter_rows(torch.cat(as_matrices, 1), ctx.counts, ctx.process_group)
        columns = torch.split(local_rows, [matrix.shape[1] for matrix in as_matrices], 1)
        totals = iter([c.reshape(-1, *g.shape[1:]) for c, g in zip(columns, wanted)])
        return None, None, None, *(next(totals) if needed else None for needed in needs_gradient)


def _flatten_rows(tensor: Tensor) -> Tensor:
    """Return (m, ...) as (m, k)."""
    return tensor.flatten(1) if tensor.ndim > 1 else tensor[:, None]


def _reduce_scatter_rows(rows: Tensor, counts: list[int], group: ProcessGroup) -> Tensor:
    """Return the sum over processes of the rows (M, k) that belong to this process, (m, k)."""
    parts: Sequence[Tensor] = torch.split(rows, counts)
    if max(counts) > min(counts):
        parts = [F.pad(part, (0, 0, 0, max(counts) - len(part))) for part in parts]
    total = torch.empty_like(parts[0])
    try:
        dist.reduce_scatter(total, [part.contiguous() for part in parts])
    except (RuntimeError, NotImplementedError) as error:
        if "support" not in str(error):  # gloo of torch < 2.10 cannot
            raise
        total = group.all_reduce_sum(torch.stack(list(parts)))[group.rank]
    return total[: counts[group.rank]]
