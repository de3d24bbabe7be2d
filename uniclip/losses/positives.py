"""Who is whose positive, how much each positive weighs, which columns are whose negatives.

Everything that the losses of `contrastive.py` derive from ids alone, before any embedding is
looked at. Positives are few, so they are index arrays, not masks over all pairs; sample ids are
compared and sorted, never used as indices.

Letters: M embeddings, P positives an anchor at most, G groups of negatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Union

import torch
from torch import Tensor
from torch.nn import functional as F

from uniclip.losses.similarity import PAIRS
from uniclip.losses.tiling import Layout, Meeting

Negatives = Literal["all", "domain", "slot", "not_text_text"]
Weights = Union[str, Sequence[float]]
"""Of image-image, image-text and text-text positives: "balanced", "uniform" or three numbers."""


@dataclass(frozen=True)
class Block:
    """Columns start:stop of `Pool.order`: one domain, one group."""

    start: int
    stop: int
    domain: int
    group: int


@dataclass(frozen=True, kw_only=True)
class Pool:
    """M embeddings as anchors (rows) and as what they are compared with (columns)."""

    sample: Tensor
    """(M,) int64, as given."""
    domain: Tensor
    """(M,) int64: 0 image, 1 text."""
    positive: Tensor
    """(M, P) int64: the other embeddings of the anchor's sample; itself where there are fewer."""
    valid: Tensor
    """(M, P) bool: not a filler."""
    pair: Tensor
    """(M, P) int64: the domain pair of anchor and positive, an index into `PAIRS`."""
    weight: Tensor
    """(M, P), dtype of the embeddings: v_p; each row sums to 1, or is all zero."""
    order: Tensor
    """(M,) int64: the columns sorted into blocks."""
    ordered_sample: Tensor
    """(M,) int64: the samples of the sorted columns."""
    blocks: tuple[Block, ...]
    groups: int
    """G: 1, or the number of domains or slots."""
    group: Tensor
    """(M, P) int64: the group in which the positive's rivals are."""
    text_text: bool
    """Whether texts are negatives of texts."""


def build_pool(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    slot: Tensor | None,
    negatives: Negatives,
    weights: Weights,
) -> Pool:
    """The pool of embeddings z (M, D); arguments as in `contrastive.multi_positive`.

    Raises:
        ValueError: for wrong shapes, dtypes or values.
    """
    _check_tensors(z, sample, domain, slot, negatives)
    positive, valid = _positives(sample)
    pair = domain[:, None] + domain[positive]
    group = _groups(domain, slot, negatives)
    order = torch.argsort(2 * group + domain, stable=True)
    return Pool(
        sample=sample,
        domain=domain,
        positive=positive,
        valid=valid,
        pair=pair,
        weight=_weight(pair, valid, weights, z.dtype),
        order=order,
        ordered_sample=sample[order],
        blocks=_blocks(group[order], domain[order]),
        groups=int(group.max()) + 1 if len(group) else 1,
        group=group[positive],
        text_text=negatives != "not_text_text",
    )


def layout(pool: Pool, place: Tensor) -> Layout:
    """The pool in the order of its columns; place: (M,) where each embedding stands in it."""
    order, blocks = pool.order, pool.blocks
    size = torch.tensor([b.stop - b.start for b in blocks], device=order.device)
    block = torch.repeat_interleave(torch.arange(len(blocks), device=order.device), size)
    positive, valid = place[pool.positive][order], pool.valid[order]
    itself = torch.arange(len(order), device=order.device)
    row = itself[:, None].expand_as(positive)
    later = valid & (positive > row)
    # How many of a row's own sample stand in each block, itself included.
    own = torch.zeros(len(order), len(blocks), dtype=torch.int64, device=order.device)
    own.scatter_add_(1, block[positive], valid.long())
    own.scatter_add_(1, block[:, None], torch.ones_like(own[:, :1]))
    meetings = _meetings(pool, block)
    met = torch.zeros(len(blocks), len(blocks), dtype=torch.bool)
    for a, b, _ in meetings:
        met[a, b] = met[b, a] = True
    return Layout(
        blocks=tuple((b.start, b.stop) for b in blocks),
        meetings=meetings,
        apart=(torch.cat([itself, row[later]]), torch.cat([itself, positive[later]])),
        positive=positive,
        empty=((own >= size) | ~met.to(order.device)[block]).T.contiguous(),
    )


def _meetings(pool: Pool, block: Tensor) -> tuple[Meeting, ...]:
    """The pairs of blocks in which somebody of the one has rivals in the other."""
    asked = torch.zeros(len(pool.blocks), pool.groups, dtype=torch.bool, device=block.device)
    valid = pool.valid[pool.order]
    asked[block[:, None].expand_as(valid)[valid], pool.group[pool.order][valid]] = True
    wanted = asked.tolist()
    return tuple(
        Meeting(i, j, a.domain + b.domain)
        for i, a in enumerate(pool.blocks)
        for j, b in enumerate(pool.blocks)
        if i <= j and (wanted[i][b.group] or wanted[j][a.group])
        if pool.text_text or a.domain + b.domain < 2
    )


def _positives(sample: Tensor) -> tuple[Tensor, Tensor]:
    """For each anchor the other rows of its sample, (M, P), and which of them are real."""
    order = torch.argsort(sample, stable=True)
    _, code, count = torch.unique(sample, return_inverse=True, return_counts=True)
    size = count[code]
    start = (count.cumsum(0) - count)[code]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(sample), device=sample.device)
    rank -= start
    widest = int(count.max()) - 1 if len(sample) else 0
    k = torch.arange(widest, device=sample.device)
    valid = k < size[:, None] - 1
    at = start[:, None] + k + (k >= rank[:, None])
    at = torch.where(valid, at, (start + rank)[:, None])
    return order[at], valid


def _weight(pair: Tensor, valid: Tensor, weights: Weights, dtype: torch.dtype) -> Tensor:
    """v_p = w_D / (n_D * sum of w over the domains present) or 1 / |P_i|; 0 for fillers."""
    mask = valid.to(dtype)
    if weights == "uniform":
        return mask / mask.sum(1, keepdim=True).clamp(min=1)
    table = torch.tensor(_three(weights), dtype=dtype, device=pair.device)
    member = F.one_hot(pair, len(PAIRS)).to(dtype) * mask[:, :, None]
    count = member.sum(1)
    total = ((count > 0) * table).sum(1, keepdim=True)
    share = torch.where((count > 0) & (total > 0), table / (count * total), 0)
    return mask * share.gather(1, pair)


def _three(weights: Weights) -> tuple[float, ...]:
    if weights == "balanced":
        return (1.0, 1.0, 1.0)
    numbers = () if isinstance(weights, str) else tuple(float(w) for w in weights)
    if len(numbers) != len(PAIRS) or not all(math.isfinite(w) and w >= 0 for w in numbers):
        raise ValueError(
            "weights must be 'balanced', 'uniform' or three numbers >= 0 "
            f"(image-image, image-text, text-text), got {weights!r}"
        )
    return numbers


def _groups(domain: Tensor, slot: Tensor | None, negatives: Negatives) -> Tensor:
    """The group of each embedding as a negative, (M,) int64 from 0."""
    if negatives in ("all", "not_text_text"):
        return torch.zeros_like(domain)
    names = domain if negatives == "domain" else slot
    assert names is not None
    return torch.unique(names, return_inverse=True)[1]


def _blocks(group: Tensor, domain: Tensor) -> tuple[Block, ...]:
    """The runs of equal (group, domain) in columns sorted by them."""
    keys, counts = torch.unique_consecutive(2 * group + domain, return_counts=True)
    blocks, start = [], 0
    for key, count in zip(keys.tolist(), counts.tolist()):
        blocks.append(Block(start, start + count, key % 2, key // 2))
        start += count
    return tuple(blocks)


def _check_tensors(
    z: Tensor, sample: Tensor, domain: Tensor, slot: Tensor | None, negatives: Negatives
) -> None:
    if z.ndim != 2 or z.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"z must be float32 or float64 (M, D), got {z.dtype} {tuple(z.shape)}")
    if slot is None and negatives == "slot":
        raise ValueError("negatives='slot' needs the slot of each embedding, got None")
    for name, ids in (("sample", sample), ("domain", domain), ("slot", slot)):
        if ids is not None and (ids.shape != z.shape[:1] or ids.dtype != torch.int64):
            raise ValueError(
                f"{name} must be int64 ({len(z)},), got {ids.dtype} {tuple(ids.shape)}"
            )
    if bool(((domain != 0) & (domain != 1)).any()):
        raise ValueError("domain must hold 0 (image) and 1 (text) only")
