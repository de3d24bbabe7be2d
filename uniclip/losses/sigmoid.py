"""SigLIP's loss of N image-text pairs: each of the N * N pairs is classified on its own.

There is no sum over the candidates of an anchor, so that a score is needed once. With `chunk` the
value and the gradients of a tile of scores are computed together in the forward pass, and the
backward pass only multiplies them: 6 N^2 D floating-point operations in all (a third each for the
scores and for the gradients of both sides), in O(N * D + chunk * chunk) memory. With several
processes, each has the scores of its own images with all texts.

Letters: N pairs, D width, R pairs (rows) of this process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from uniclip.distributed import SINGLE_PROCESS, ProcessGroup
from uniclip.losses.image_text import check_not_empty, check_pair
from uniclip.losses.tiling import TILE_ASPECT, split_range

SOFTPLUS_THRESHOLD = 50.0
"""Score above which softplus is the score itself: they differ by less than float64 resolves."""


def siglip_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    *,
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return SigLIP's loss (Zhai et al., ICCV 2023), ().

        L = - 1/N sum_i sum_j log sigmoid(y_ij (s x_i t_j + b))

    with images x, texts t, the scale s and the bias b; y_ij is 1 for i = j, else -1.

    Args:
        image, text: (N, D) unit rows, float32 or float64; row i of one belongs to row i of the
            other.
        scale: s = 1/tau, a multiplier of the cosine (not its logarithm).
        bias: b, added to the scaled cosine.
        chunk: rows of a tile of the streamed form, O(N * D + chunk * chunk) memory; None = dense.
        process_group: the processes that hold the other rows of the batch. Its `gather_with_grad`
            has no effect: no side of a pair is the anchor of the other.

    Raises:
        ValueError: the shapes or dtypes differ, or N is 0.
    """
    check_pair(image, text)
    rows, (text,) = process_group.all_gather_samples(text)
    first_row = rows.start
    check_not_empty(text)
    scale, bias = (
        torch.as_tensor(number, dtype=image.dtype, device=image.device) for number in (scale, bias)
    )
    with torch.autocast(image.device.type, enabled=False):
        if chunk is None:
            logits = scale * image @ text.T + bias
            loss_sum = -F.logsigmoid(_sign_by_label(logits, first_row)).sum()
        else:
            loss_sum = _stream_loss_sum(image, text, scale, bias, first_row, chunk)
        return loss_sum / len(text)


def _sign_by_label(logits: Tensor, first_row: int) -> Tensor:
    """Return the logits (R, N) times y_ij; image i has the text `first_row` + i."""
    is_positive = torch.zeros_like(logits, dtype=torch.bool)
    is_positive.diagonal(first_row).fill_(True)
    return torch.where(is_positive, logits, -logits)


def _stream_loss_sum(
    image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, first_row: int, tile_rows: int
) -> Tensor:
    """Return the loss of images (R, D) with texts (N, D), not divided by N; no second derivative.

    first_row: The text of the first image.
    """
    apply_function = cast(
        Callable[..., Tensor],
        _StreamedSigmoidLoss.apply,  # type: ignore[no-untyped-call]
    )
    return apply_function(image, text, scale, bias, first_row, tile_rows)


class _StreamContext(FunctionCtx):
    """The context of `_StreamedSigmoidLoss`, typed."""

    saved_tensors: tuple[Tensor, ...]
    """The gradients with respect to images, texts, scale and bias."""
    needs_input_grad: tuple[bool, ...]


class _StreamedSigmoidLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _StreamContext,
        image: Tensor,
        text: Tensor,
        scale: Tensor,
        bias: Tensor,
        first_row: int,
        tile_rows: int,
    ) -> Tensor:
        needs_gradient = any(ctx.needs_input_grad)
        d_image, d_text, d_scale, d_bias = (torch.zeros_like(t) for t in (image, text, scale, bias))
        loss_sum = image.new_zeros(())
        for rows in split_range(0, len(image), tile_rows):
            for columns in split_range(0, len(text), TILE_ASPECT * tile_rows):
                # Negated for positives, so that a loss is softplus(score) for every pair.
                scores = torch.mm(image[rows], text[columns].T).mul_(scale).add_(bias)
                offset = first_row + rows.start - columns.start
                scores.diagonal(offset).neg_()
                loss_sum += F.softplus(scores, threshold=SOFTPLUS_THRESHOLD).sum()
                if needs_gradient:
                    score_grad = scores.sigmoid_()
                    score_grad.diagonal(offset).neg_()
                    d_image[rows].addmm_(score_grad, text[columns])
                    d_text[columns].addmm_(score_grad.T, image[rows])
                    d_bias += score_grad.sum()
        d_scale += torch.vdot(d_image.reshape(-1), image.reshape(-1))
        ctx.save_for_backward(d_image.mul_(scale), d_text.mul_(scale), d_scale, d_bias)
        return loss_sum

    @staticmethod
    @once_differentiable
    def backward(ctx: _StreamContext, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [
            gradient * d_loss if is_needed else None
            for gradient, is_needed in zip(ctx.saved_tensors, ctx.needs_input_grad)
        ]
        return *gradients, None, None
