"""Batch norm whose statistics are those of the whole batch, on however many processes it lies.

In one process it is torch's own. Over several, sums are exchanged on the way there and on the way
back; torch's SyncBatchNorm does the same with fewer kernels, but refuses CPU tensors, so it is
taken on a GPU alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn

from uniclip import distributed


class BatchNorm(nn.BatchNorm1d):
    """Over rows (B, C) or maps (B, C, ...) of all processes; parameters as in torch."""

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.ndim >= 2, input.shape

    def forward(self, input: Tensor) -> Tensor:
        others = distributed.current()
        if others.world == 1 or not self.training:
            return super().forward(input)
        return self._over_processes(input)

    def _over_processes(self, input: Tensor) -> Tensor:
        """Sums, the count of rows among them, and the normalisation are taken in float32 of a
        bfloat16 input, and the result cast back, as torch's batch norm does under autocast."""
        rows = input.to(torch.promote_types(input.dtype, torch.float32))
        sides, shape = [0, *range(2, rows.ndim)], (1, -1, *(1,) * (rows.ndim - 2))
        count = rows.new_tensor([rows.numel() / rows.shape[1]])
        total = _Sum.apply(torch.cat([rows.sum(sides), count]))
        mean, n = total[:-1] / total[-1], total[-1].detach()
        centred = rows - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(sides)) / n
        self._remember(mean.detach(), (variance * n / (n - 1).clamp(min=1)).detach())
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance, self.momentum or 0.0)


class ActivatedBatchNorm(BatchNorm):
    """`BatchNorm`, then what timm's BatchNormAct2d has behind it."""

    def __init__(self, given: BatchNormAct2d) -> None:
        super().__init__(given.num_features, given.eps, given.momentum, given.affine)
        self.drop, self.act = given.drop, given.act

    def forward(self, input: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


def over_processes(module: nn.Module, where: torch.device) -> None:
    """Replace each batch norm inside `module` by one over processes; the parameters stay what
    they are, and keep their names."""
    if where.type == "cuda":
        convert_sync_batchnorm(module)
        return
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, BatchNorm):
            if isinstance(child, BatchNormAct2d):
                ours: BatchNorm = ActivatedBatchNorm(child)
            else:
                ours = BatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            ours._parameters, ours._buffers = child._parameters, child._buffers
            setattr(module, name, ours.train(child.training))
        else:
            over_processes(child, where)


def uses_batches(module: nn.Module) -> bool:
    """Whether `module` as it is now takes statistics over the batch."""
    norms = (nn.modules.batchnorm._BatchNorm,)
    return any(isinstance(m, norms) and m.training for m in module.modules())


class _Sum(torch.autograd.Function):
    """The sum over processes; what each pulls at it is added up too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
