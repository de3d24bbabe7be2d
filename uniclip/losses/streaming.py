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

from uniclip.distributed import ALONE, Processes
from uniclip.losses.tiling import Layout, Tile, by_rows, cut, ranges

NOTHING = -1e30
"""A score that adds nothing to a sum of exponentials; finite, so that no gradient becomes NaN."""
LARGEST = {torch.float32: 70.0, torch.float64: 600.0}
"""Exponents up to this size can be added up by the million, and divided by each other."""
VANISHING = {torch.float32: -58.0, torch.float64: -560.0}
"""A sum of shifted exponentials above e^this has lost nothing that counts."""
ROWS_AT_ONCE = 2048
"""Anchors whose positives are looked up together."""


def stream(
    z: Tensor, scales: Tensor, layout: Layout, tile: int, processes: Processes = ALONE
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
    apply: Any = _Stream.apply
    cosine, logs = apply(z.contiguous(), scales, layout, tile, processes)
    return cosine, logs


class _Stream(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, z: Tensor, scales: Tensor, layout: Layout, tile: int, processes: Processes
    ) -> tuple[Tensor, Tensor]:
        numbers = [float(s) for s in scales.tolist()]
        tiles = cut(layout, tile)[processes.rank :: processes.world]
        excess = _excess(z, numbers)
        sums = _sums(z, numbers, excess, layout, tiles)
        if processes.world > 1:
            processes.add_up(sums)
        careful = max(excess) > 0 and not _safe(sums, layout)
        if careful:
            logs = processes.log_add_up(_careful_logs(z, numbers, layout, tiles))
        else:
            logs = sums.log_()
            for (a, b, pair), (of_a, of_b) in zip(layout.meetings, layout.sides()):
                logs[b, of_a] += excess[pair]
                if a != b:
                    logs[a, of_b] += excess[pair]
        logs.masked_fill_(layout.empty, NOTHING)
        ctx.save_for_backward(z, logs)
        ctx.numbers, ctx.excess, ctx.careful = numbers, excess, careful
        ctx.layout, ctx.tiles, ctx.processes = layout, tiles, processes
        return _cosines(z, layout.positive), logs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_cosine: Tensor, d_logs: Tensor) -> tuple[Tensor | None, ...]:
        z, logs = ctx.saved_tensors
        if ctx.processes.world > 1:
            d_logs = ctx.processes.add_up(d_logs.contiguous())
        d_logs = d_logs.masked_fill(ctx.layout.empty, 0)
        gradient = torch.zeros_like(z)
        pull = _pull if ctx.processes.remote_gradients else _pull_one_way
        d_scales = pull(gradient, z, logs, d_logs, ctx)
        both = ctx.processes.remote_gradients
        _pull_positives(gradient, z, ctx.layout.positive, d_cosine, both)
        return gradient, d_scales, None, None, None


# ---- there ---------------------------------------------------------------------------------------


def _excess(z: Tensor, numbers: list[float]) -> list[float]:
    """What to take off the scores of each domain pair, so that none can leave the type's range."""
    longest = float(torch.linalg.vector_norm(z, dim=1).max()) ** 2 if len(z) else 0.0
    return [max(0.0, abs(scale) * longest - LARGEST[z.dtype]) for scale in numbers]


def _sums(
    z: Tensor, numbers: list[float], excess: list[float], layout: Layout, tiles: list[Tile]
) -> Tensor:
    """sum_j e^(scale * z_i z_j - excess) by block and row, (B, M)."""
    sums = z.new_zeros(len(layout.blocks), len(z))
    room = _room(z, tiles)
    for rows, members in by_rows(tiles):
        for tile, scores in _scored(z, numbers, rows, members, room):
            a, b, pair = tile.meeting
            weight = _exponentials(scores, excess[pair], tile.apart)
            sums[b, rows].add_(weight.sum(1))
            if not tile.diagonal:
                sums[a, tile.columns].add_(weight.sum(0))
    return sums


def _safe(sums: Tensor, layout: Layout) -> bool:
    """Whether no sum is so small that terms of it may have vanished."""
    return bool((sums[~layout.empty].log() > VANISHING[sums.dtype]).all())


def _careful_logs(z: Tensor, numbers: list[float], layout: Layout, tiles: list[Tile]) -> Tensor:
    """log sum_j e^(scale * z_i z_j) by block and row, whatever the scores, (B, M)."""
    logs = z.new_full((len(layout.blocks), len(z)), NOTHING)
    room = _room(z, tiles)
    for rows, members in by_rows(tiles):
        for tile, scores in _scored(z, numbers, rows, members, room):
            a, b, _ = tile.meeting
            if tile.apart is not None:
                scores[tile.apart] = NOTHING
            logs[b, rows] = torch.logaddexp(logs[b, rows], scores.logsumexp(1))
            if not tile.diagonal:
                columns = tile.columns
                logs[a, columns] = torch.logaddexp(logs[a, columns], scores.logsumexp(0))
    return logs


def _cosines(z: Tensor, positive: Tensor) -> Tensor:
    cosine = z.new_empty(positive.shape)
    for rows in ranges(0, len(z), ROWS_AT_ONCE):
        for k, others in enumerate(positive[rows].unbind(1)):
            cosine[rows, k] = (z[rows] * z.index_select(0, others)).sum(1)
    return cosine


# ---- and back ------------------------------------------------------------------------------------


def _pull(gradient: Tensor, z: Tensor, logs: Tensor, d_logs: Tensor, ctx: Any) -> Tensor:
    """Add to `gradient` (M, D) what the sums pull at z; what they pull at the scales, (3,)."""
    d_scales = z.new_zeros(len(ctx.numbers))
    room, other = _room(z, ctx.tiles), _room(z, ctx.tiles)
    # What an exponential pulls at its row (or column): one sum of the two does for a pair.
    divisor = logs.masked_fill(ctx.layout.empty, torch.inf)
    shares = [d_logs * (e - divisor).exp() for e in ctx.excess]
    for rows, members in by_rows(ctx.tiles):
        pair = members[0].meeting.pair
        pulled = z.new_zeros(rows.stop - rows.start, z.shape[1])
        for tile, scores in _scored(z, ctx.numbers, rows, members, room):
            a, b, _ = tile.meeting
            columns, out = tile.columns, other[: scores.numel()].view_as(scores)
            if ctx.careful:
                ours, theirs = _careful_pulls(scores, tile, logs, d_logs)
                pull = ours.add_(theirs)
            else:
                pull = _exponentials(scores, ctx.excess[pair], tile.apart)
                share = shares[pair]
                pull *= torch.add(share[b, rows, None], share[a, None, columns], out=out)
            pulled.addmm_(pull, z[columns])
            if tile.diagonal:  # stands first among its row's tiles
                d_scales[pair] -= torch.vdot(pulled.view(-1), z[rows].view(-1)) / 2
            else:
                gradient[columns].addmm_(pull.T, z[rows], alpha=ctx.numbers[pair])
        d_scales[pair] += torch.vdot(pulled.view(-1), z[rows].view(-1))
        gradient[rows].add_(pulled, alpha=ctx.numbers[pair])
    return d_scales


def _pull_one_way(gradient: Tensor, z: Tensor, logs: Tensor, d_logs: Tensor, ctx: Any) -> Tensor:
    """`_pull`, but of each row's sums at that row alone, as if those it meets were constant."""
    d_scales = z.new_zeros(len(ctx.numbers))
    room = _room(z, ctx.tiles)
    for rows, members in by_rows(ctx.tiles):
        for tile, scores in _scored(z, ctx.numbers, rows, members, room):
            pair = tile.meeting.pair
            ours, theirs = _careful_pulls(scores, tile, logs, d_logs)
            sides = [(rows, ours, tile.columns), (tile.columns, theirs.T, rows)]
            for anchors, pull, met in sides[:1] if tile.diagonal else sides:
                pulled = pull @ z[met]
                gradient[anchors].add_(pulled, alpha=ctx.numbers[pair])
                d_scales[pair] += torch.vdot(pulled.view(-1), z[anchors].view(-1))
    return d_scales


def _careful_pulls(
    scores: Tensor, tile: Tile, logs: Tensor, d_logs: Tensor
) -> tuple[Tensor, Tensor]:
    """What each score pulls at its row, and at its column, whatever the scores."""
    (a, b, _), rows, columns = tile.meeting, tile.rows, tile.columns
    if tile.apart is not None:
        scores[tile.apart] = NOTHING
    ours = d_logs[b, rows, None] * (scores - logs[b, rows, None]).clamp(max=0).exp()
    theirs = d_logs[a, None, columns] * (scores - logs[a, None, columns]).clamp(max=0).exp()
    return ours, theirs


def _pull_positives(
    gradient: Tensor, z: Tensor, positive: Tensor, d_cosine: Tensor, both: bool
) -> None:
    for rows in ranges(0, len(z), ROWS_AT_ONCE):
        for k, others in enumerate(positive[rows].unbind(1)):
            pull = d_cosine[rows, k, None]
            gradient[rows].addcmul_(pull, z.index_select(0, others))
            if both:
                gradient.index_add_(0, others, pull * z[rows])


# ---- a tile -------------------------------------------------------------------------------------


def _scored(
    z: Tensor, numbers: list[float], rows: slice, tiles: list[Tile], room: Tensor
) -> Iterator[tuple[Tile, Tensor]]:
    """Each tile of a row with its scores scale * z_i z_j, in `room`."""
    ours, scale = z[rows], numbers[tiles[0].meeting.pair]
    for tile in tiles:
        columns = z[tile.columns]
        scores = room[: len(ours) * len(columns)].view(len(ours), len(columns))
        yield tile, torch.addmm(scores, ours, columns.T, beta=0, alpha=scale, out=scores)


def _exponentials(scores: Tensor, excess: float, apart: tuple[Tensor, Tensor] | None) -> Tensor:
    """e^(scores - excess) in place, 0 for pairs that do not meet."""
    weight = (scores.sub_(excess) if excess else scores).exp_()
    if apart is not None:
        weight[apart] = 0
    return weight


def _room(z: Tensor, tiles: list[Tile]) -> Tensor:
    sizes = [(t.rows.stop - t.rows.start) * (t.columns.stop - t.columns.start) for t in tiles]
    return z.new_empty(max(sizes, default=0))
