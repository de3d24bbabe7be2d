"""Gradients of all processes are summed while the backward pass still computes others.

The parameters are divided into buckets, in the reverse order of the model, in which their gradients
are computed. As soon as all gradients of a bucket are there, its sum over processes starts, as in
torch's DistributedDataParallel (Li et al., VLDB 2020); here it is a sum, not a mean. Buckets are
started in one order on all processes, so the sums do not depend on timing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from uniclip import distributed

FIRST_BUCKET_SIZE = 2**18
"""Elements of the first bucket: small, so that the exchange starts early."""
BUCKET_SIZE = 2**22
"""Elements of the other buckets."""


class GradientReducer:
    """Sums the gradients of a model over the processes of the job.

    Args:
        parameters: All parameters, in the order of the model; the same on all processes.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        trainable = [p for p in parameters if p.requires_grad]
        self._is_single = distributed.get_process_group().world_size == 1
        self._buckets = [] if self._is_single else list(_divide_into_buckets(trainable[::-1]))
        self._is_overlapped = False
        self._num_missing: list[int] = []
        """Number of gradients that each bucket lacks."""
        self._works: list[tuple[Tensor, dist.Work]] = []
        """The buckets that are being summed, in order: gradients and flags, and the exchange."""
        for number, bucket in enumerate(self._buckets):
            for parameter in bucket:
                parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    partial(self._count_gradient, number)
                )

    @contextmanager
    def sum_gradients(self, *, is_overlapped: bool) -> Iterator[None]:
        """Context of a backward pass, after which gradients are sums over processes.

        A parameter without a gradient on every process keeps none; one with a gradient on some
        processes has it on all afterwards.

        Args:
            is_overlapped: Whether each parameter has its gradient once autograd has computed it;
                False = several backward passes add to it, and the exchange starts after the last.
        """
        if self._is_single:
            yield
            return
        self._is_overlapped, self._works = is_overlapped, []
        self._num_missing = [len(bucket) for bucket in self._buckets]
        try:
            yield
        finally:
            self._is_overlapped = False
        for bucket in self._buckets[len(self._works) :]:
            self._start_sum(bucket)
        for bucket, (values, work) in zip(self._buckets, self._works):
            work.wait()
            _store_sums(bucket, values)
        self._works = []

    def _count_gradient(self, number: int, parameter: nn.Parameter) -> None:
        """Note a gradient of a bucket; start the buckets that are complete and next in order."""
        if not self._is_overlapped:
            return
        self._num_missing[number] -= 1
        while len(self._works) < len(self._buckets) and not self._num_missing[len(self._works)]:
            self._start_sum(self._buckets[len(self._works)])

    @torch.no_grad()
    def _start_sum(self, bucket: list[nn.Parameter]) -> None:
        parts = [
            p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten().to(p.dtype)
            for p in bucket
        ]
        has_gradient = bucket[0].new_ones(len(bucket))
        if any(p.grad is None for p in bucket):  # else nothing is copied to the device
            has_gradient = bucket[0].new_tensor([p.grad is not None for p in bucket])
        values = torch.cat([*parts, has_gradient])
        work = dist.all_reduce(values, group=distributed.get_gradient_group(), async_op=True)
        assert work is not None
        self._works.append((values, work))


@torch.no_grad()
def _store_sums(bucket: list[nn.Parameter], values: Tensor) -> None:
    """Write the sums of a bucket into the gradients of its parameters."""
    *sums, counts = torch.split(values, [*(p.numel() for p in bucket), len(bucket)])
    if any(p.grad is None for p in bucket):
        for parameter, count in zip(bucket, counts.tolist()):
            if parameter.grad is None and count > 0:
                parameter.grad = torch.zeros_like(parameter)
    for parameter, total in zip(bucket, sums):
        if parameter.grad is not None:
            parameter.grad.copy_(total.view(parameter.shape))


def _divide_into_buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield the parameters in order, in lists of one dtype and limited size."""
    bucket: list[nn.Parameter] = []
    limit = FIRST_BUCKET_SIZE
    for parameter in parameters:
        size = sum(p.numel() for p in bucket) + parameter.numel()
        if bucket and (size > limit or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, limit = [], BUCKET_SIZE
        bucket.append(parameter)
    if bucket:
        yield bucket
