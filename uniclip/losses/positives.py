"""The positives of each anchor, their weights, and the negatives, derived from ids alone.

`build_pair_structure` computes all that the losses of `multi_positive.py` need to know about pairs
before they read an embedding. Positives are few, so they are index arrays, not masks over all
pairs. Sample ids are compared and sorted, never used as indices.

Letters: M embeddings, P largest number of positives of an anchor, B blocks of columns, G groups of
negatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from uniclip.config.losses import Negatives, PositiveWeights
from uniclip.losses.similarity import DOMAIN_PAIRS
from uniclip.losses.tiling import BlockLayout, BlockPair


@dataclass(frozen=True)
class ColumnBlock:
    """Columns start:stop of `PairStructure.column_order`, all of one domain and one group."""

    start: int
    stop: int
    domain: int
    group: int


@dataclass(frozen=True, kw_only=True)
class PairStructure:
    """Positives and negatives of M embeddings, as anchors (rows) and as candidates (columns).

    It is made where the ids are: on the CPU, so that no device is waited for.
    """

    sample: Tensor
    """(M,) int64: the sample of each embedding; any values."""
    domain: Tensor
    """(M,) int64: 0 image, 1 text."""
    positive_index: Tensor
    """(M, P) int64: the other embeddings of the anchor's sample, filled up with the anchor."""
    is_positive: Tensor
    """(M, P) bool: False for a filler."""
    domain_pair: Tensor
    """(M, P) int64: the domain pair of anchor and positive, an index into `DOMAIN_PAIRS`."""
    positive_weight: Tensor
    """(M, P), dtype of the embeddings: v_p; each row sums to 1 or is all zero."""
    column_order: Tensor
    """(M,) int64: the columns, sorted into blocks."""
    ordered_sample: Tensor
    """(M,) int64: the samples of the sorted columns."""
    blocks: tuple[ColumnBlock, ...]
    """B blocks that cover the sorted columns."""
    num_groups: int
    """G: 1, or the number of domains or of slots."""
    negative_group: Tensor
    """(M, P) int64: the group of negatives that the positive competes with."""
    has_text_text_negatives: bool
    """Whether texts are negatives of texts."""

    def to(self, device: torch.device) -> PairStructure:
        """Return the structure with its tensors on `device`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def build_pair_structure(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    slot: Tensor | None,
    negatives: Negatives,
    weights: PositiveWeights,
) -> PairStructure:
    """Return the positives and negatives of embeddings z (M, D).

    Arguments are those of `multi_positive.multi_positive`; of z only shape and dtype matter.

    Raises:
        ValueError: a shape, dtype or value is wrong.
    """
    _check_tensors(z, sample, domain, slot, negatives)
    positive_index, is_positive = _find_positives(sample)
    domain_pair = domain[:, None] + domain[positive_index]
    group = _assign_groups(domain, slot, negatives)
    order = torch.argsort(2 * group + domain, stable=True)
    return PairStructure(
        sample=sample,
        domain=domain,
        positive_index=positive_index,
        is_positive=is_positive,
        domain_pair=domain_pair,
        positive_weight=_compute_positive_weights(domain_pair, is_positive, weights, z.dtype),
        column_order=order,
        ordered_sample=sample[order],
        blocks=_build_blocks(group[order], domain[order]),
        num_groups=int(group.max()) + 1 if len(group) else 1,
        negative_group=group[positive_index],
        has_text_text_negatives=negatives != "not_text_text",
    )


def build_block_layout(pair_structure: PairStructure, column_position: Tensor) -> BlockLayout:
    """Return the layout of blocks for the streamed form, rows in the order of the columns.

    Args:
        pair_structure: positives and negatives of M embeddings.
        column_position: (M,) int64, the position of each embedding among the sorted columns.
    """
    order, blocks = pair_structure.column_order, pair_structure.blocks
    block_sizes = torch.tensor([b.stop - b.start for b in blocks], device=order.device)
    block_index = torch.repeat_interleave(
        torch.arange(len(blocks), device=order.device), block_sizes
    )
    positive_index = column_position[pair_structure.positive_index][order]
    is_positive = pair_structure.is_positive[order]
    row_index = torch.arange(len(order), device=order.device)
    anchor_index = row_index[:, None].expand_as(positive_index)
    is_upper = is_positive & (positive_index > anchor_index)
    # The number of embeddings of a row's sample in each block, the row itself included.
    sample_counts = torch.zeros(len(order), len(blocks), dtype=torch.int64, device=order.device)
    sample_counts.scatter_add_(1, block_index[positive_index], is_positive.long())
    sample_counts.scatter_add_(1, block_index[:, None], torch.ones_like(sample_counts[:, :1]))
    block_pairs = _find_block_pairs(pair_structure, block_index)
    has_pair = torch.zeros(len(blocks), len(blocks), dtype=torch.bool)
    for a, b, _ in block_pairs:
        has_pair[a, b] = has_pair[b, a] = True
    return BlockLayout(
        blocks=tuple((b.start, b.stop) for b in blocks),
        block_pairs=block_pairs,
        masked_pairs=(
            torch.cat([row_index, anchor_index[is_upper]]),
            torch.cat([row_index, positive_index[is_upper]]),
        ),
        positive_index=positive_index,
        is_empty=(
            (sample_counts >= block_sizes) | ~has_pair.to(order.device)[block_index]
        ).T.contiguous(),
    )


def _find_block_pairs(pair_structure: PairStructure, block_index: Tensor) -> tuple[BlockPair, ...]:
    """Return the pairs of blocks in which a row of one block has negatives in the other."""
    uses_group = torch.zeros(
        len(pair_structure.blocks),
        pair_structure.num_groups,
        dtype=torch.bool,
        device=block_index.device,
    )
    is_positive = pair_structure.is_positive[pair_structure.column_order]
    uses_group[
        block_index[:, None].expand_as(is_positive)[is_positive],
        pair_structure.negative_group[pair_structure.column_order][is_positive],
    ] = True
    uses_group_rows = uses_group.tolist()
    return tuple(
        BlockPair(i, j, a.domain + b.domain)
        for i, a in enumerate(pair_structure.blocks)
        for j, b in enumerate(pair_structure.blocks)
        if i <= j and (uses_group_rows[i][b.group] or uses_group_rows[j][a.group])
        if pair_structure.has_text_text_negatives or a.domain + b.domain < 2
    )


def _find_positives(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Return the other rows of each anchor's sample, (M, P), and which of them are no fillers."""
    order = torch.argsort(sample, stable=True)
    _, sample_index, sample_counts = torch.unique(sample, return_inverse=True, return_counts=True)
    size = sample_counts[sample_index]
    start = (sample_counts.cumsum(0) - sample_counts)[sample_index]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(sample), device=sample.device)
    rank -= start
    max_positives = int(sample_counts.max()) - 1 if len(sample) else 0
    k = torch.arange(max_positives, device=sample.device)
    is_positive = k < size[:, None] - 1
    position = start[:, None] + k + (k >= rank[:, None])
    position = torch.where(is_positive, position, (start + rank)[:, None])
    return order[position], is_positive


def _compute_positive_weights(
    domain_pair: Tensor, is_positive: Tensor, weights: PositiveWeights, dtype: torch.dtype
) -> Tensor:
    """Return v_p = w_D / (n_D * sum of w over the domain pairs present) or 1 / |P_i|, (M, P).

    Fillers have weight 0.
    """
    mask = is_positive.to(dtype)
    if weights == "uniform":
        return mask / mask.sum(1, keepdim=True).clamp(min=1)
    weight_by_pair = torch.tensor(
        _parse_pair_weights(weights), dtype=dtype, device=domain_pair.device
    )
    pair_membership = F.one_hot(domain_pair, len(DOMAIN_PAIRS)).to(dtype) * mask[:, :, None]
    count = pair_membership.sum(1)
    total = ((count > 0) * weight_by_pair).sum(1, keepdim=True)
    positive_share = torch.where((count > 0) & (total > 0), weight_by_pair / (count * total), 0)
    weight: Tensor = mask * positive_share.gather(1, domain_pair)
    return weight


def _parse_pair_weights(weights: PositiveWeights) -> tuple[float, ...]:
    """Return the weights of the three domain pairs; raise `ValueError` if they are not valid."""
    if weights == "balanced":
        return (1.0, 1.0, 1.0)
    numbers = () if isinstance(weights, str) else tuple(float(weight) for weight in weights)
    if len(numbers) != len(DOMAIN_PAIRS) or not all(
        math.isfinite(weight) and weight >= 0 for weight in numbers
    ):
        raise ValueError(
            "weights must be 'balanced', 'uniform' or three numbers >= 0 "
            f"(image-image, image-text, text-text), got {weights!r}"
        )
    return numbers


def _assign_groups(domain: Tensor, slot: Tensor | None, negatives: Negatives) -> Tensor:
    """Return the group of each embedding as a negative, (M,) int64 from 0."""
    if negatives in ("all", "not_text_text"):
        return torch.zeros_like(domain)
    group_labels = domain if negatives == "domain" else slot
    assert group_labels is not None
    group: Tensor = torch.unique(group_labels, return_inverse=True)[1]
    return group


def _build_blocks(group: Tensor, domain: Tensor) -> tuple[ColumnBlock, ...]:
    """Return the runs of equal (group, domain) in columns that are sorted by them."""
    keys, counts = torch.unique_consecutive(2 * group + domain, return_counts=True)
    blocks, start = [], 0
    for key, count in zip(keys.tolist(), counts.tolist()):
        blocks.append(ColumnBlock(start, start + count, key % 2, key // 2))
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
