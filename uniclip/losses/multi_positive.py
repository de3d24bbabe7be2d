"""Multi-positive contrastive losses as pure functions of embeddings and ids.

One function with four switches (`multi_positive`) computes MP-NCE (UniCLIP, Lee et al., NeurIPS
2022), SupCon, MIL-NCE and the view-by-view cross-entropy of SimCLR-like methods; its members by
name are in `uniclip.config.losses.MULTI_POSITIVE_LOSSES`. Positives, their weights and the
negatives are determined once, by `build_pair_structure` (`positives.py`). Only the sums over an
anchor's negatives involve all M * M pairs. The dense form holds them in memory; with `chunk`,
`streaming.py` computes them tile by tile, in memory linear in M.

With several processes each function takes the rows of its own process and returns this process's
part of the loss: the parts of all processes add up to the loss of the batch (`distributed.py`).

Letters: M embeddings, D width, R anchors (rows) of this process, P largest number of positives of
an anchor, B blocks of columns, G groups of negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from uniclip.config.losses import (
    MULTI_POSITIVE_LOSSES,
    Aggregate,
    Denominator,
    Negatives,
    PositiveWeights,
)
from uniclip.distributed import SINGLE_PROCESS, ProcessGroup
from uniclip.losses.positives import PairStructure, build_block_layout, build_pair_structure
from uniclip.losses.similarity import Similarity
from uniclip.losses.streaming import MASKED, stream_similarities


def multi_positive(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    slot: Tensor | None,
    similarity: Similarity,
    *,
    denominator: Denominator = "negatives",
    aggregate: Aggregate = "outside",
    negatives: Negatives = "all",
    weights: PositiveWeights = "balanced",
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return the multi-positive loss, ().

    For anchor i with positives P_i and negatives N_i, with aggregate "outside" and "inside":

        L_i = - sum_p v_p log(e^s_ip / (e^s_ip + [sum of other positives] + sum_n e^s_in))
        L_i = - log(sum_p u_p e^s_ip / (sum_p u_p e^s_ip + sum_n e^s_in))

    with v_p = w_D(i,p) / (n_D(i,p) * sum of w over the domain pairs present in P_i), n_D the number
    of the anchor's positives of that domain pair, and u_p = |P_i| v_p. The term in brackets is
    there with denominator "all" only.

    Args:
        z: (M, D) unit rows, float32 or float64.
        sample: (M,) int64, any values; the other embeddings of an anchor's sample are its
            positives, those of other samples its negatives. If z is on a GPU, ids on the CPU spare
            it from being waited for.
        domain: (M,) int64, 0 image, 1 text.
        slot: (M,) int64, the index of the view, or of the text; only negatives="slot" needs it.
        similarity: the scores s_ij by domain pair.
        denominator: "negatives" = the positive and the negatives; "all" = also the anchor's other
            positives, whatever their weights.
        aggregate: "outside" = a mean of logarithms; "inside" = the logarithm of a sum.
        negatives: "all"; those of the positive's "domain" or "slot"; or all but texts of a text,
            "not_text_text".
        weights: w of image-image, image-text and text-text: three numbers of at least 0; "balanced"
            = (1, 1, 1); "uniform" = v_p = 1 / |P_i|.
        chunk: rows of a tile of the streamed form, O(M * D + chunk * chunk) memory; None = dense.
        process_group: the processes that hold the other rows of the batch.

    Returns:
        The mean over anchors that have a positive of non-zero weight; 0 with zero gradients if none
        has.

    Raises:
        ValueError: a shape, dtype or value differs from the above, or aggregate="inside" comes
            without denominator="all" and negatives="all".
    """
    _check_switches(denominator, aggregate, negatives, chunk)
    ids = (sample, domain) if slot is None else (sample, domain, slot)
    rows, (z, sample, domain, *slots) = process_group.all_gather_samples(z, *ids)
    slot = slots[0] if slots else None
    host_structure = build_pair_structure(z, sample, domain, slot, negatives, weights)
    num_anchors = int((host_structure.positive_weight > 0).any(1).sum())
    if num_anchors == 0:
        return 0 * (z.sum() + similarity.scales().sum() + similarity.offsets().sum())
    pair_structure = host_structure.to(z.device)
    with torch.autocast(z.device.type, enabled=False):
        if chunk is None:
            candidates = process_group.detach_remote(z)
            positive_logits = compute_positive_scores(
                z, candidates, pair_structure, similarity, rows
            )
            negative_logsumexp = compute_negative_logsumexp(
                z, candidates, pair_structure, similarity, rows
            )
        else:
            positive_logits, negative_logsumexp = compute_streamed_scores(
                z, host_structure, similarity, rows, chunk, process_group
            )
        anchor_sum = sum_anchor_losses(
            positive_logits, negative_logsumexp, pair_structure, rows, denominator, aggregate
        )
        return anchor_sum / num_anchors


def compute_named_loss(
    name: str,
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    slot: Tensor | None,
    similarity: Similarity,
    *,
    negatives: Negatives = "all",
    weights: PositiveWeights = "balanced",
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return `multi_positive` with the switches of `MULTI_POSITIVE_LOSSES[name]`, ().

    `negatives` is used by losses that do not fix their negatives. The other arguments are those of
    `multi_positive`.
    """
    switches = MULTI_POSITIVE_LOSSES[name]
    return multi_positive(
        z,
        sample,
        domain,
        slot,
        similarity,
        denominator=switches.denominator,
        aggregate=switches.aggregate,
        negatives=switches.negatives or negatives,
        weights=weights,
        chunk=chunk,
        process_group=process_group,
    )


def mp_nce(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    similarity: Similarity,
    weights: PositiveWeights = "balanced",
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return MP-NCE (UniCLIP, Lee et al., NeurIPS 2022), ().

    Each positive competes with the negatives only. Arguments as in `multi_positive`. If each anchor
    has one positive, this, `sup_con` and `mil_nce` are equal bit for bit.
    """
    return compute_named_loss(
        "mp_nce",
        *(z, sample, domain, None, similarity),
        weights=weights,
        chunk=chunk,
        process_group=process_group,
    )


def sup_con(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    similarity: Similarity,
    weights: PositiveWeights = "balanced",
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return SupCon (Khosla et al., NeurIPS 2020): InfoNCE of every positive pair, averaged, ().

    It is MP-NCE with the anchor's other positives in the denominator too. Arguments as in
    `multi_positive`.
    """
    return compute_named_loss(
        "sup_con",
        *(z, sample, domain, None, similarity),
        weights=weights,
        chunk=chunk,
        process_group=process_group,
    )


def mil_nce(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    similarity: Similarity,
    weights: PositiveWeights = "balanced",
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return MIL-NCE (Miech et al., CVPR 2020): positives are summed inside the logarithm, ().

    Arguments as in `multi_positive`.
    """
    return compute_named_loss(
        "mil_nce",
        *(z, sample, domain, None, similarity),
        weights=weights,
        chunk=chunk,
        process_group=process_group,
    )


def multi_view_info_nce(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    slot: Tensor,
    similarity: Similarity,
    weights: PositiveWeights = "uniform",
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return the mean of an N-by-N cross-entropy for every ordered pair of slots, ().

    Slots are the views and the text. Each denominator holds one domain pair, so offsets cancel.
    Arguments as in `multi_positive`.
    """
    return compute_named_loss(
        "multi_view_info_nce",
        *(z, sample, domain, slot, similarity),
        weights=weights,
        chunk=chunk,
        process_group=process_group,
    )


def compute_positive_scores(
    z: Tensor,
    candidates: Tensor,
    pair_structure: PairStructure,
    similarity: Similarity,
    rows: slice,
) -> Tensor:
    """Return the scores of the anchors `rows` with their positives, (R, P); O(R P D) operations.

    Args:
        z: (M, D) embeddings as anchors.
        candidates: (M, D) the same embeddings as positives, possibly detached.
        pair_structure: the positives of each anchor.
        similarity: the scores by domain pair.
        rows: the anchors of this process.
    """
    index = pair_structure.positive_index[rows]
    positives = candidates.index_select(0, index.flatten()).view(*index.shape, z.shape[1])
    cosine = (z[rows, None, :] * positives).sum(-1)
    scores: Tensor = similarity(cosine, pair_structure.domain_pair[rows])
    return scores


def compute_negative_logsumexp(
    z: Tensor,
    candidates: Tensor,
    pair_structure: PairStructure,
    similarity: Similarity,
    rows: slice,
) -> Tensor:
    """Return log sum_n e^s_in over each group of negatives, (R, G); `MASKED` for an empty group.

    The columns of a block share domain and group: with the scale and the offset that the domain
    pair gives to each row, its scores are one matrix product. Arguments as in
    `compute_positive_scores`.
    """
    scales, offsets = similarity.scales().to(z.dtype), similarity.offsets().to(z.dtype)
    logsumexps_by_group: list[list[Tensor]] = [[] for _ in range(pair_structure.num_groups)]
    columns = candidates.index_select(0, pair_structure.column_order)
    for block in pair_structure.blocks:
        pair = pair_structure.domain[rows] + block.domain
        scale = scales.index_select(0, pair)[:, None]
        shift = (offsets * scales).index_select(0, pair)[:, None]
        scores = torch.addmm(-shift, scale * z[rows], columns[block.start : block.stop].T)
        column_sample = pair_structure.ordered_sample[None, block.start : block.stop]
        is_excluded = pair_structure.sample[rows, None] == column_sample
        if not pair_structure.has_text_text_negatives and block.domain == 1:
            is_excluded = is_excluded | (pair_structure.domain[rows, None] == 1)
        logsumexps_by_group[block.group].append(
            scores.masked_fill(is_excluded, MASKED).logsumexp(1)
        )
    return _stack_groups(logsumexps_by_group)


def compute_streamed_scores(
    z: Tensor,
    pair_structure: PairStructure,
    similarity: Similarity,
    rows: slice,
    chunk: int,
    process_group: ProcessGroup,
) -> tuple[Tensor, Tensor]:
    """Return the positive scores (R, P) and the negatives' log-sums (R, G), one pass over tiles.

    The values are those of `compute_positive_scores` and `compute_negative_logsumexp`. The pair
    structure may be on the CPU.
    """
    scales, offsets = similarity.scales().to(z.dtype), similarity.offsets().to(z.dtype)
    column_position = torch.argsort(pair_structure.column_order)
    is_ordered = bool((column_position[1:] > column_position[:-1]).all())
    block_layout = build_block_layout(pair_structure, column_position)
    block_domain = torch.tensor([block.domain for block in pair_structure.blocks])
    block_pair = block_domain.to(pair_structure.domain)[:, None] + pair_structure.domain[rows]
    indices = (pair_structure.column_order, column_position[rows], block_pair)
    order, row_position, block_pair, domain_pair = (
        index.to(z.device, non_blocking=True)
        for index in (*indices, pair_structure.domain_pair[rows])
    )
    ordered_z = z if is_ordered else z.index_select(0, order)
    cosine, block_logsumexps = stream_similarities(
        ordered_z, scales, block_layout, chunk, process_group
    )
    cosine = cosine.index_select(0, row_position)
    block_logsumexps = block_logsumexps.index_select(1, row_position)
    shifted = block_logsumexps - (offsets * scales)[block_pair]
    logsumexps_by_group: list[list[Tensor]] = [[] for _ in range(pair_structure.num_groups)]
    for block, block_logsumexp in zip(pair_structure.blocks, shifted.unbind(0)):
        logsumexps_by_group[block.group].append(block_logsumexp)
    positive_logits = similarity(cosine, domain_pair)
    return positive_logits, _stack_groups(logsumexps_by_group)


def _stack_groups(logsumexps_by_group: list[list[Tensor]]) -> Tensor:
    """Return the log-sum over the blocks (each (R,)) of each group, (R, G)."""
    return torch.stack(
        [torch.stack(logsumexps, 1).logsumexp(1) for logsumexps in logsumexps_by_group], 1
    )


def sum_anchor_losses(
    positive_logits: Tensor,
    negative_logsumexp: Tensor,
    pair_structure: PairStructure,
    rows: slice,
    denominator: Denominator,
    aggregate: Aggregate,
) -> Tensor:
    """Return the sum of L_i over the anchors `rows`, ().

    Args:
        positive_logits: (R, P) scores with the positives.
        negative_logsumexp: (R, G) log-sums over the negatives of each group.
        pair_structure: weights and groups of the positives.
        rows: the anchors of this process.
        denominator, aggregate: as in `multi_positive`.
    """
    weight = pair_structure.positive_weight[rows]
    if pair_structure.num_groups > 1:
        negative_logsumexp = negative_logsumexp.gather(1, pair_structure.negative_group[rows])
    # If no anchor has a second positive, all members use the last line below: equal bit for bit.
    has_many_positives = pair_structure.positive_index.shape[1] > 1
    if has_many_positives and aggregate == "inside":
        inner_weight = weight * pair_structure.is_positive[rows].sum(1, keepdim=True)
        log_weight = torch.where(inner_weight > 0, inner_weight, 1).log()
        log_weight = log_weight + MASKED * (inner_weight == 0)
        positive_logits = (positive_logits + log_weight).logsumexp(1, keepdim=True)
        weight = (weight > 0).any(1, keepdim=True).to(positive_logits.dtype)
    elif has_many_positives and denominator == "all":
        is_filler = ~pair_structure.is_positive[rows]
        positive_logsumexp = positive_logits.masked_fill(is_filler, MASKED).logsumexp(
            1, keepdim=True
        )
        log_denominator = torch.logaddexp(positive_logsumexp, negative_logsumexp)
        return (weight * (log_denominator - positive_logits)).sum()
    return (weight * -F.logsigmoid(positive_logits - negative_logsumexp)).sum()


def _check_switches(
    denominator: Denominator, aggregate: Aggregate, negatives: Negatives, chunk: int | None
) -> None:
    choices: Sequence[tuple[str, str, tuple[str, ...]]] = (
        ("denominator", denominator, get_args(Denominator)),
        ("aggregate", aggregate, get_args(Aggregate)),
        ("negatives", negatives, get_args(Negatives)),
    )
    for name, value, allowed_values in choices:
        if value not in allowed_values:
            raise ValueError(f"{name} must be one of {', '.join(allowed_values)}, got {value!r}")
    if aggregate == "inside" and (denominator, negatives) != ("all", "all"):
        raise ValueError(
            "aggregate='inside' needs denominator='all' and negatives='all', "
            f"got {denominator!r} and {negatives!r}"
        )
    if chunk is not None and (type(chunk) is not int or chunk < 1):
        raise ValueError(f"chunk must be None or an integer of at least 1, got {chunk!r}")
