"""The streamed form of the losses: all pairs are met, a tile of their similarities at a time.

`stream` answers what the losses of `contrastive.py` ask of M embeddings, and its memory is
O(M * D + tile * tile): the cosines of each anchor with its positives, and for each anchor and block
of columns the logarithm of a sum of exponentials. Everything else is derived from these by the same
lines as in the dense form.

Scores are symmetric, so only the tiles on and above the diagonal are computed: each gives sums to
its rows and to its columns. The way back computes each tile once more, which makes 4 M^2 D
floating-point operations in all (M^2 D for each score, twice, and 2 M^2 D for the gradient).

Exponentials are taken of scores as they are, without a running maximum, as long as no score can
leave the range of the type; where one could (temperatures near 0.01 in float32) all are shifted by
one number, and if that costs any row its sum, the call is done again with a maximum for each row.

Letters: M embeddings, D width, P positives an anchor at most, B blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from uniclip.distributed import SINGLE_PROCESS, ProcessGroup
from uniclip.losses.tiling import BlockLayout, Tile, cut_tiles, group_by_rows, split_range

MASKED = -1e30
"""A score that adds nothing to a sum of exponentials; finite, so that no gradient becomes NaN."""
MAX_EXPONENT = {torch.float32: 70.0, torch.float64: 600.0}
"""Exponents up to this size can be added up by the million, and divided by each other."""
MIN_LOG_SUM = {torch.float32: -58.0, torch.float64: -560.0}
"""A sum of shifted exponentials above e^this has lost nothing that counts."""
POSITIVE_CHUNK_ROWS = 2048
"""Anchors whose positives are looked up together."""


def stream_similarities(
    z: Tensor,
    scales: Tensor,
    block_layout: BlockLayout,
    tile_rows: int,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> tuple[Tensor, Tensor]:
    """Cosines with the positives (M, P), and log sum_j e^(scale * z_i z_j) by block (B, M).

    Args:
        z: (M, D) rows, float32 or float64; of all processes.
        scales: (3,) multipliers by domain pair.
        layout: who meets whom.
        tile: rows of a tile.
        processes: each computes its share of the tiles. The gradient that arrives is a share too
            (rows of this process alone), and the gradient that leaves is a share of the whole.

    Rows that meet nothing in a block have `NOTHING` there. There are no second derivatives.
    """
    apply_function: Any = _StreamedSimilarities.apply
    cosine, block_logsumexps = apply_function(
        z.contiguous(), scales, block_layout, tile_rows, process_group
    )
    return cosine, block_logsumexps


class _StreamedSimilarities(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        scales: Tensor,
        block_layout: BlockLayout,
        tile_rows: int,
        process_group: ProcessGroup,
    ) -> tuple[Tensor, Tensor]:
        scale_values = [float(s) for s in scales.tolist()]
        tiles = cut_tiles(block_layout, tile_rows)[process_group.rank :: process_group.world_size]
        exponent_shifts = _compute_exponent_shifts(z, scale_values)
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
            block_logsumexps = exp_sums.log_()
            for (a, b, pair), (row_slice, column_slice) in zip(
                block_layout.block_pairs, block_layout.get_pair_slices()
            ):
                block_logsumexps[b, row_slice] += exponent_shifts[pair]
                if a != b:
                    block_logsumexps[a, column_slice] += exponent_shifts[pair]
        block_logsumexps.masked_fill_(block_layout.is_empty, MASKED)
        ctx.save_for_backward(z, block_logsumexps)
        ctx.scale_values, ctx.exponent_shifts, ctx.uses_running_max = (
            scale_values,
            exponent_shifts,
            uses_running_max,
        )
        ctx.block_layout, ctx.tiles, ctx.process_group = block_layout, tiles, process_group
        return _compute_positive_cosines(z, block_layout.positive_index), block_logsumexps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_cosine: Tensor, d_logsumexps: Tensor) -> tuple[Tensor | None, ...]:
        z, block_logsumexps = ctx.saved_tensors
        if ctx.process_group.world_size > 1:
            d_logsumexps = ctx.process_group.all_reduce_sum(d_logsumexps.contiguous())
        d_logsumexps = d_logsumexps.masked_fill(ctx.block_layout.is_empty, 0)
        gradient = torch.zeros_like(z)
        accumulate_grad = (
            _accumulate_grad if ctx.process_group.gather_with_grad else _accumulate_anchor_grad
        )
        d_scales = accumulate_grad(gradient, z, block_logsumexps, d_logsumexps, ctx)
        add_to_positives = ctx.process_group.gather_with_grad
        _accumulate_positive_grad(
            gradient, z, ctx.block_layout.positive_index, d_cosine, add_to_positives
        )
        return gradient, d_scales, None, None, None


# ---- there ---------------------------------------------------------------------------------------


def _compute_exponent_shifts(z: Tensor, scale_values: list[float]) -> list[float]:
    """What to take off the scores of each domain pair, so that none can leave the type's range."""
    max_squared_norm = float(torch.linalg.vector_norm(z, dim=1).max()) ** 2 if len(z) else 0.0
    return [
        max(0.0, abs(scale) * max_squared_norm - MAX_EXPONENT[z.dtype]) for scale in scale_values
    ]


def _compute_exp_sums(
    z: Tensor,
    scale_values: list[float],
    exponent_shifts: list[float],
    block_layout: BlockLayout,
    tiles: list[Tile],
) -> Tensor:
    """sum_j e^(scale * z_i z_j - excess) by block and row, (B, M)."""
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


def _sums_are_accurate(exp_sums: Tensor, block_layout: BlockLayout) -> bool:
    """Whether no sum is so small that terms of it may have vanished."""
    return bool((exp_sums[~block_layout.is_empty].log() > MIN_LOG_SUM[exp_sums.dtype]).all())


def _compute_stable_logsumexps(
    z: Tensor, scale_values: list[float], block_layout: BlockLayout, tiles: list[Tile]
) -> Tensor:
    """log sum_j e^(scale * z_i z_j) by block and row, whatever the scores, (B, M)."""
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
    cosine = z.new_empty(positive_index.shape)
    for rows in split_range(0, len(z), POSITIVE_CHUNK_ROWS):
        for k, positive_rows in enumerate(positive_index[rows].unbind(1)):
            cosine[rows, k] = (z[rows] * z.index_select(0, positive_rows)).sum(1)
    return cosine


# ---- and back ------------------------------------------------------------------------------------


def _accumulate_grad(
    gradient: Tensor, z: Tensor, block_logsumexps: Tensor, d_logsumexps: Tensor, ctx: Any
) -> Tensor:
    """Add to `gradient` (M, D) what the sums pull at z; what they pull at the scales, (3,)."""
    d_scales = z.new_zeros(len(ctx.scale_values))
    buffer, share_buffer = _allocate_buffer(z, ctx.tiles), _allocate_buffer(z, ctx.tiles)
    # What an exponential pulls at its row (or column): one sum of the two does for a pair.
    divisor = block_logsumexps.masked_fill(ctx.block_layout.is_empty, torch.inf)
    grad_shares = [
        d_logsumexps * (exponent_shift - divisor).exp() for exponent_shift in ctx.exponent_shifts
    ]
    for rows, row_tiles in group_by_rows(ctx.tiles):
        pair = row_tiles[0].block_pair.pair
        row_grad = z.new_zeros(rows.stop - rows.start, z.shape[1])
        for tile, scores in _iterate_scores(z, ctx.scale_values, rows, row_tiles, buffer):
            a, b, _ = tile.block_pair
            columns, out = tile.columns, share_buffer[: scores.numel()].view_as(scores)
            if ctx.uses_running_max:
                row_score_grad, column_score_grad = _compute_stable_score_grads(
                    scores, tile, block_logsumexps, d_logsumexps
                )
                score_grad = row_score_grad.add_(column_score_grad)
            else:
                score_grad = _exponentiate(scores, ctx.exponent_shifts[pair], tile.masked_pairs)
                grad_share = grad_shares[pair]
                score_grad *= torch.add(
                    grad_share[b, rows, None], grad_share[a, None, columns], out=out
                )
            row_grad.addmm_(score_grad, z[columns])
            if tile.is_diagonal:  # stands first among its row's tiles
                d_scales[pair] -= torch.vdot(row_grad.view(-1), z[rows].view(-1)) / 2
            else:
                gradient[columns].addmm_(score_grad.T, z[rows], alpha=ctx.scale_values[pair])
        d_scales[pair] += torch.vdot(row_grad.view(-1), z[rows].view(-1))
        gradient[rows].add_(row_grad, alpha=ctx.scale_values[pair])
    return d_scales


def _accumulate_anchor_grad(
    gradient: Tensor, z: Tensor, block_logsumexps: Tensor, d_logsumexps: Tensor, ctx: Any
) -> Tensor:
    """`_pull`, but of each row's sums at that row alone, as if those it meets were constant."""
    d_scales = z.new_zeros(len(ctx.scale_values))
    buffer = _allocate_buffer(z, ctx.tiles)
    for rows, row_tiles in group_by_rows(ctx.tiles):
        for tile, scores in _iterate_scores(z, ctx.scale_values, rows, row_tiles, buffer):
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
                gradient[anchors].add_(anchor_grad, alpha=ctx.scale_values[pair])
                d_scales[pair] += torch.vdot(anchor_grad.view(-1), z[anchors].view(-1))
    return d_scales


def _compute_stable_score_grads(
    scores: Tensor, tile: Tile, block_logsumexps: Tensor, d_logsumexps: Tensor
) -> tuple[Tensor, Tensor]:
    """What each score pulls at its row, and at its column, whatever the scores."""
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
    for rows in split_range(0, len(z), POSITIVE_CHUNK_ROWS):
        for k, positive_rows in enumerate(positive_index[rows].unbind(1)):
            cosine_grad = d_cosine[rows, k, None]
            gradient[rows].addcmul_(cosine_grad, z.index_select(0, positive_rows))
            if add_to_positives:
                gradient.index_add_(0, positive_rows, cosine_grad * z[rows])


# ---- a tile -------------------------------------------------------------------------------------


def _iterate_scores(
    z: Tensor, scale_values: list[float], rows: slice, tiles: list[Tile], buffer: Tensor
) -> Iterator[tuple[Tile, Tensor]]:
    """Each tile of a row with its scores scale * z_i z_j, in `room`."""
    row_embeddings, scale = z[rows], scale_values[tiles[0].block_pair.pair]
    for tile in tiles:
        column_embeddings = z[tile.columns]
        scores = buffer[: len(row_embeddings) * len(column_embeddings)].view(
            len(row_embeddings), len(column_embeddings)
        )
        yield (
            tile,
            torch.addmm(
                scores, row_embeddings, column_embeddings.T, beta=0, alpha=scale, out=scores
            ),
        )


def _exponentiate(
    scores: Tensor, exponent_shift: float, masked_pairs: tuple[Tensor, Tensor] | None
) -> Tensor:
    """e^(scores - excess) in place, 0 for pairs that do not meet."""
    exp_scores = (scores.sub_(exponent_shift) if exponent_shift else scores).exp_()
    if masked_pairs is not None:
        exp_scores[masked_pairs] = 0
    return exp_scores


def _allocate_buffer(z: Tensor, tiles: list[Tile]) -> Tensor:
    tile_sizes = [
        (tile.rows.stop - tile.rows.start) * (tile.columns.stop - tile.columns.start)
        for tile in tiles
    ]
    return z.new_empty(max(tile_sizes, default=0))
