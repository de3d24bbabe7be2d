"""Batch norm with the statistics of the whole batch, over any number of processes.

In one process it is torch's batch norm. Over several, sums are exchanged in the forward and in the
backward pass. torch's SyncBatchNorm does the same with fewer kernels but takes no CPU tensors, so
it is used on GPUs only.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from uniclip import distributed


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over rows (B, C) or maps (B, C, ...) of all processes; parameters as in torch."""

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.ndim >= 2, input.shape

    def forward(self, input: Tensor) -> Tensor:
        process_group = distributed.get_process_group()
        if process_group.world_size == 1 or not self.training:
            return super().forward(input)
        return self._forward_synchronized(input)

    def _forward_synchronized(self, input: Tensor) -> Tensor:
        """Return the input normalized by the statistics of all processes.

        For a bfloat16 input, sums, the number of rows and the normalization are computed in float32
        and the result is cast back, as torch's batch norm does under autocast.
        """
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        reduced_dims, shape = [0, *range(2, values.ndim)], (1, -1, *(1,) * (values.ndim - 2))
        count = values.new_tensor([values.numel() / values.shape[1]])
        sums_and_count = _all_reduce_sum(torch.cat([values.sum(reduced_dims), count]))
        mean, total_count = sums_and_count[:-1] / sums_and_count[-1], sums_and_count[-1].detach()
        centred = values - mean.view(shape)
        variance = _all_reduce_sum(centred.square().sum(reduced_dims)) / total_count
        self._update_running_stats(
            mean.detach(), (variance * total_count / (total_count - 1).clamp(min=1)).detach()
        )
        normalized = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        return normalized.to(input.dtype)

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance, self.momentum or 0.0)


class BatchNormAct(BatchNorm):
    """`BatchNorm` followed by the dropout and the activation of timm's BatchNormAct2d."""

    def __init__(self, batch_norm: BatchNormAct2d) -> None:
        super().__init__(
            batch_norm.num_features, batch_norm.eps, batch_norm.momentum, batch_norm.affine
        )
        self.drop, self.act = batch_norm.drop, batch_norm.act

    def forward(self, input: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


def synchronize_batch_norm(module: nn.Module, device: torch.device) -> None:
    """Replace each batch norm in `module` by one over all processes.

    Parameters, buffers and their names stay the same.
    """
    if device.type == "cuda":
        convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, BatchNorm):
            if isinstance(child, BatchNormAct2d):
                replacement: BatchNorm = BatchNormAct(child)
            else:
                replacement = BatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            replacement._parameters, replacement._buffers = child._parameters, child._buffers
            setattr(module, name, replacement.train(child.training))
        else:
            synchronize_batch_norm(child, device)


def uses_batch_statistics(module: nn.Module) -> bool:
    """Return whether `module`, in its current mode, computes statistics over the batch."""
    batch_norm_types = (nn.modules.batchnorm._BatchNorm,)
    return any(isinstance(m, batch_norm_types) and m.training for m in module.modules())


def _all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum over processes; differentiable."""
    total: Tensor = _AllReduceSum.apply(values)  # type: ignore[no-untyped-call]
    return total


class _AllReduceSum(torch.autograd.Function):
    """The sum over processes; the backward pass sums the gradients of all processes."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
