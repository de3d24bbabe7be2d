"""The streamed form of the losses: all pairs are compared, one tile of similarities at a time.

`stream_similarities` computes what the losses of `multi_positive.py` and `image_text.py` need of M
embeddings in O(M * D + tile * tile) memory: the cosines of each anchor with its positives, and for
each anchor and block of columns the logarithm of a sum of exponentials. The rest of the loss is the
same code as in the dense form.

Scores are symmetric, so only the tiles on and above the diagonal are computed: each adds to the
sums of its rows and of its columns. The backward pass computes each tile once more, which makes 4
M^2 D floating-point operations in all (M^2 D for the scores, twice, and 2 M^2 D for the gradient).

Exponentials are taken without a running maximum as long as no score can leave the range of the
dtype. Where one could (temperatures near 0.01 in float32), the scores of a domain pair are shifted
by one number; if that loses precision in any row, the forward pass is repeated with a running
maximum for each row.

Letters: M embeddings, D width, P largest number of positives of an anchor, B blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from uniclip.distributed import SINGLE_PROCESS, ProcessGroup
from uniclip.losses.tiling import BlockLayout, Tile, cut_tiles, group_by_rows, split_range
from uniclip.numerics import full_float32_products

MASKED = -1e30
"""A score that adds nothing to a sum of exponentials; finite, so that no gradient becomes NaN."""
MAX_EXPONENT = {torch.float32: 70.0, torch.float64: 600.0}
"""Exponents up to this size can be summed by the million and divided by each other."""
MIN_LOG_SUM = {torch.float32: -58.0, torch.float64: -560.0}
"""A sum of shifted exponentials above e^this has lost no significant term."""
POSITIVE_CHUNK_ROWS = 2048
"""Number of anchors whose positives are gathered at once."""


def stream_similarities(
    z: Tensor,
    scales: Tensor,
    block_layout: BlockLayout,
    tile_rows: int,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> tuple[Tensor, Tensor]:
    """Return cosines with the positives (M, P) and log sum_j e^(scale * z_i z_j) by block (B, M).

    Rows that are compared with nothing in a block have `MASKED` there. There are no second
    derivatives.

    Args:
        z: (M, D) rows of all processes, float32 or float64.
        scales: (3,) multipliers by domain pair.
        block_layout: the pairs that are compared.
        tile_rows: rows of a tile.
        process_group: each process computes its part of the tiles. The incoming gradient is nonzero
            for rows of this process only, and the returned gradient is this process's part.
    """
    apply_function = cast(
        Callable[..., tuple[Tensor, Tensor]],
        _StreamedSimilarities.apply,  # type: ignore[no-untyped-call]
    )
    return apply_function(z.contiguous(), scales, block_layout, tile_rows, process_group)


@dataclass(frozen=True, kw_only=True)
class _StreamPlan:
    """What the forward and the backward pass share."""

    block_layout: BlockLayout
    tiles: list[Tile]
    """The tiles of this process."""
    scale_values: list[float]
    """The multipliers 1/tau by domain pair."""
    exponent_shifts: list[float]
    """What is subtracted from the scores of each domain pair before exp."""
    uses_running_max: bool
    """Whether the sums were computed with a maximum for each row."""
    process_group: ProcessGroup


class _StreamContext(FunctionCtx):
    """The context of `_StreamedSimilarities`, typed."""

    plan: _StreamPlan
    saved_tensors: tuple[Tensor, Tensor]
    """z (M, D) and the log-sums (B, M)."""


class _StreamedSimilarities(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _StreamContext,
        z: Tensor,
        scales: Tensor,
        block_layout: BlockLayout,
        tile_rows: int,
        process_group: ProcessGroup,
    ) -> tuple[Tensor, Tensor]:
        tiles = cut_tiles(block_layout, tile_rows, z.device)
        tiles = tiles[process_group.rank :: process_group.world_size]
        block_layout = block_layout.to(z.device)
        scale_values, exponent_shifts = _read_scales(z, scales)
        exp_sums = _compute_exp_sums(z, scale_values, exponent_shifts, block_layout, tiles)
        if process_group.world_size > 1:
            process_group.all_reduce_sum(exp_sums)
        uses_running_max = max(exponent_shifts) > 0 and not _sums_are_accurate(
            exp_sums, block_layout
        )
        if uses_running_max:
            block_logsumexps = process_group.all_reduce_logsumexp(
                _compute_stable_logsumexps(z, scale_values, block_layout, tiles)
            )
        else:
            block_logsumexps = _take_shifted_log(exp_sums, exponent_shifts, block_layout)
        block_logsumexps.masked_fill_(block_layout.is_empty, MASKED)
        ctx.save_for_backward(z, block_logsumexps)
        ctx.plan = _StreamPlan(
            block_layout=block_layout,
            tiles=tiles,
            scale_values=scale_values,
            exponent_shifts=exponent_shifts,
            uses_running_max=uses_running_max,
            process_group=process_group,
        )
        return _compute_positive_cosines(z, block_layout.positive_index), block_logsumexps

    @staticmethod
    @once_differentiable
    def backward(
        ctx: _StreamContext, d_cosine: Tensor, d_logsumexps: Tensor
    ) -> tuple[Tensor | None, ...]:
        (z, block_logsumexps), plan = ctx.saved_tensors, ctx.plan
        if plan.process_group.world_size > 1:
            d_logsumexps = plan.process_group.all_reduce_sum(d_logsumexps.contiguous())
        d_logsumexps = d_logsumexps.masked_fill(plan.block_layout.is_empty, 0)
        gradient = torch.zeros_like(z)
        add_to_positives = plan.process_group.gather_with_grad
        accumulate_grad = _accumulate_grad if add_to_positives else _accumulate_anchor_grad
        with full_float32_products():  # as in the forward pass, whose scores are computed again
            d_scales = accumulate_grad(gradient, z, block_logsumexps, d_logsumexps, plan)
        positive_index = plan.block_layout.positive_index
        _accumulate_positive_grad(gradient, z, positive_index, d_cosine, add_to_positives)
        return gradient, d_scales, None, None, None


# ---- forward -------------------------------------------------------------------------------------


def _read_scales(z: Tensor, scales: Tensor) -> tuple[list[float], list[float]]:
    """Return the scales, and what to subtract from scores to keep exp within the dtype.

    Both by domain pair. The numbers are read from the device once, before any tile is computed.
    """
    max_norm = torch.linalg.vector_norm(z, dim=1).max() if len(z) else z.new_zeros(())
    *scale_values, max_norm_value = torch.cat([scales, max_norm[None]]).tolist()
    limit = MAX_EXPONENT[z.dtype]
    shifts = [max(0.0, abs(scale) * max_norm_value**2 - limit) for scale in scale_values]
    return scale_values, shifts


def _compute_exp_sums(
    z: Tensor,
    scale_values: list[float],
    exponent_shifts: list[float],
    block_layout: BlockLayout,
    tiles: list[Tile],
) -> Tensor:
    """Return sum_j e^(scale * z_i z_j - shift) by block and row, (B, M)."""
    exp_sums = z.new_zeros(len(block_layout.blocks), len(z))
    buffer = _allocate_buffer(z, tiles)
    for rows, row_tiles in group_by_rows(tiles):
        for tile, scores in _iterate_scores(z, scale_values, rows, row_tiles, buffer):
            a, b, pair = tile.block_pair
            exp_scores = _exponentiate(scores, exponent_shifts[pair], tile.masked_pairs)
            exp_sums[b, rows].add_(exp_scores.sum(1))
            if not tile.is_diagonal:
                exp_sums[a, tile.columns].add_(exp_scores.sum(0))
    return exp_sums


def _take_shifted_log(
    exp_sums: Tensor, exponent_shifts: list[float], block_layout: BlockLayout
) -> Tensor:
    """Return log(exp_sums) plus the shift of each pair of blocks, (B, M); overwrites `exp_sums`."""
    block_logsumexps = exp_sums.log_()
    for (a, b, pair), (row_slice, column_slice) in zip(
        block_layout.block_pairs, block_layout.get_pair_slices()
    ):
        block_logsumexps[b, row_slice] += exponent_shifts[pair]
        if a != b:
            block_logsumexps[a, column_slice] += exponent_shifts[pair]
    return block_logsumexps


def _sums_are_accurate(exp_sums: Tensor, block_layout: BlockLayout) -> bool:
    """Return whether no sum is so small that terms of it may have underflowed."""
    is_accurate = (exp_sums.log() > MIN_LOG_SUM[exp_sums.dtype]) | block_layout.is_empty
    return bool(is_accurate.all())


def _compute_stable_logsumexps(
    z: Tensor, scale_values: list[float], block_layout: BlockLayout, tiles: list[Tile]
) -> Tensor:
    """Return log sum_j e^(scale * z_i z_j) by block and row, (B, M), for scores of any size."""
    block_logsumexps = z.new_full((len(block_layout.blocks), len(z)), MASKED)
    buffer = _allocate_buffer(z, tiles)
    for rows, row_tiles in group_by_rows(tiles):
        for tile, scores in _iterate_scores(z, scale_values, rows, row_tiles, buffer):
            a, b, _ = tile.block_pair
            if tile.masked_pairs is not None:
                scores[tile.masked_pairs] = MASKED
            block_logsumexps[b, rows] = torch.logaddexp(
                block_logsumexps[b, rows], scores.logsumexp(1)
            )
            if not tile.is_diagonal:
                columns = tile.columns
                block_logsumexps[a, columns] = torch.logaddexp(
                    block_logsumexps[a, columns], scores.logsumexp(0)
                )
    return block_logsumexps


def _compute_positive_cosines(z: Tensor, positive_index: Tensor) -> Tensor:
    """Return the dot product of each row with its positives, (M, P)."""
    cosine = z.new_empty(positive_index.shape)
    for rows in split_range(0, len(z), POSITIVE_CHUNK_ROWS):
        for k, positive_rows in enumerate(positive_index[rows].unbind(1)):
            cosine[rows, k] = (z[rows] * z.index_select(0, positive_rows)).sum(1)
    return cosine


# ---- backward ------------------------------------------------------------------------------------


def _accumulate_grad(
    gradient: Tensor,
    z: Tensor,
    block_logsumexps: Tensor,
    d_logsumexps: Tensor,
    plan: _StreamPlan,
) -> Tensor:
    """Add the gradient of the log-sums with respect to z to `gradient` (M, D).

    Returns:
        The gradient with respect to the scales, (3,).
    """
    d_scales = z.new_zeros(len(plan.scale_values))
    buffer, share_buffer = _allocate_buffer(z, plan.tiles), _allocate_buffer(z, plan.tiles)
    # The derivative of a log-sum by a score is exp(score) times a factor of its row (or column):
    # one product with the sum of both factors serves a pair.
    divisor = block_logsumexps.masked_fill(plan.block_layout.is_empty, torch.inf)
    grad_shares = [d_logsumexps * (shift - divisor).exp() for shift in plan.exponent_shifts]
    for rows, row_tiles in group_by_rows(plan.tiles):
        pair = row_tiles[0].block_pair.pair
        scale, shift, grad_share = (
            plan.scale_values[pair],
            plan.exponent_shifts[pair],
            grad_shares[pair],
        )
        row_grad = z.new_zeros(rows.stop - rows.start, z.shape[1])
        for tile, scores in _iterate_scores(z, plan.scale_values, rows, row_tiles, buffer):
            a, b, _ = tile.block_pair
            columns, out = tile.columns, share_buffer[: scores.numel()].view_as(scores)
            if plan.uses_running_max:
                row_score_grad, column_score_grad = _compute_stable_score_grads(
                    scores, tile, block_logsumexps, d_logsumexps
                )
                score_grad = row_score_grad.add_(column_score_grad)
            else:
                score_grad = _exponentiate(scores, shift, tile.masked_pairs)
                score_grad *= torch.add(
                    grad_share[b, rows, None], grad_share[a, None, columns], out=out
                )
            row_grad.addmm_(score_grad, z[columns])
            if tile.is_diagonal:  # the first tile of its row: `row_grad` is its own so far
                d_scales[pair] -= torch.vdot(row_grad.view(-1), z[rows].view(-1)) / 2
            else:
                gradient[columns].addmm_(score_grad.T, z[rows], alpha=scale)
        d_scales[pair] += torch.vdot(row_grad.view(-1), z[rows].view(-1))
        gradient[rows].add_(row_grad, alpha=scale)
    return d_scales


def _accumulate_anchor_grad(
    gradient: Tensor,
    z: Tensor,
    block_logsumexps: Tensor,
    d_logsumexps: Tensor,
    plan: _StreamPlan,
) -> Tensor:
    """Do as `_accumulate_grad`, with the candidates of each anchor held constant."""
    d_scales = z.new_zeros(len(plan.scale_values))
    buffer = _allocate_buffer(z, plan.tiles)
    for rows, row_tiles in group_by_rows(plan.tiles):
        for tile, scores in _iterate_scores(z, plan.scale_values, rows, row_tiles, buffer):
            pair = tile.block_pair.pair
            row_score_grad, column_score_grad = _compute_stable_score_grads(
                scores, tile, block_logsumexps, d_logsumexps
            )
            directions = [
                (rows, row_score_grad, tile.columns),
                (tile.columns, column_score_grad.T, rows),
            ]
            for anchors, score_grad, candidate_rows in (
                directions[:1] if tile.is_diagonal else directions
            ):
                anchor_grad = score_grad @ z[candidate_rows]
                gradient[anchors].add_(anchor_grad, alpha=plan.scale_values[pair])
                d_scales[pair] += torch.vdot(anchor_grad.view(-1), z[anchors].view(-1))
    return d_scales


def _compute_stable_score_grads(
    scores: Tensor, tile: Tile, block_logsumexps: Tensor, d_logsumexps: Tensor
) -> tuple[Tensor, Tensor]:
    """Return each score's gradient through its row's and through its column's log-sum.

    Both have the shape of the tile; scores may have any size.
    """
    (a, b, _), rows, columns = tile.block_pair, tile.rows, tile.columns
    if tile.masked_pairs is not None:
        scores[tile.masked_pairs] = MASKED
    row_score_grad = (
        d_logsumexps[b, rows, None] * (scores - block_logsumexps[b, rows, None]).clamp(max=0).exp()
    )
    column_score_grad = (
        d_logsumexps[a, None, columns]
        * (scores - block_logsumexps[a, None, columns]).clamp(max=0).exp()
    )
    return row_score_grad, column_score_grad


def _accumulate_positive_grad(
    gradient: Tensor, z: Tensor, positive_index: Tensor, d_cosine: Tensor, add_to_positives: bool
) -> None:
    """Add the gradient of the positives' cosines (M, P) to `gradient` (M, D)."""
    for rows in split_range(0, len(z), POSITIVE_CHUNK_ROWS):
        for k, positive_rows in enumerate(positive_index[rows].unbind(1)):
            cosine_grad = d_cosine[rows, k, None]
            gradient[rows].addcmul_(cosine_grad, z.index_select(0, positive_rows))
            if add_to_positives:
                gradient.index_add_(0, positive_rows, cosine_grad * z[rows])


# ---- tiles ---------------------------------------------------------------------------------------


def _iterate_scores(
    z: Tensor, scale_values: list[float], rows: slice, tiles: list[Tile], buffer: Tensor
) -> Iterator[tuple[Tile, Tensor]]:
    """Yield each tile of a row with its scores scale * z_i z_j, which are a view of `buffer`."""
    row_embeddings, scale = z[rows], scale_values[tiles[0].block_pair.pair]
    for tile in tiles:
        column_embeddings = z[tile.columns]
        shape = (len(row_embeddings), len(column_embeddings))
        scores = buffer[: shape[0] * shape[1]].view(shape)
        torch.addmm(scores, row_embeddings, column_embeddings.T, beta=0, alpha=scale, out=scores)
        yield tile, scores


def _exponentiate(
    scores: Tensor, exponent_shift: float, masked_pairs: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return e^(scores - shift), computed in place; 0 for pairs that are left out."""
    exp_scores = (scores.sub_(exponent_shift) if exponent_shift else scores).exp_()
    if masked_pairs is not None:
        exp_scores[masked_pairs] = 0
    return exp_scores


def _allocate_buffer(z: Tensor, tiles: list[Tile]) -> Tensor:
    """Return an uninitialized vector as long as the largest tile."""
    tile_sizes = [
        (tile.rows.stop - tile.rows.start) * (tile.columns.stop - tile.columns.start)
        for tile in tiles
    ]
    return z.new_empty(max(tile_sizes, default=0))
