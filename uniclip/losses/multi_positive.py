"""Contrastive losses as pure functions.

One family with four switches (`multi_positive`) holds MP-NCE (UniCLIP, Lee et al., NeurIPS 2022),
SupCon, MIL-NCE and the view-by-view cross-entropy of SimCLR-like methods. Who is whose positive,
how much each positive weighs and which columns are negatives is said once, by `Pool` (`pool.py`).
Only the sums over an anchor's negatives need all M * M pairs. The dense form computes them as one
reads them; with `chunk`, `streamed.py` does, in memory that grows with M alone.

Over several processes every function takes the rows of its own process and returns its share: the
shares add up to the loss of all rows (`processes.py`).

Letters: M embeddings, D width, R anchors (rows) of this process, P positives an anchor at most,
B blocks of columns, G groups of negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from uniclip.distributed import SINGLE_PROCESS, ProcessGroup
from uniclip.losses.positives import (
    Negatives,
    PairStructure,
    PositiveWeights,
    build_block_layout,
    build_pair_structure,
)
from uniclip.losses.similarity import Similarity
from uniclip.losses.streaming import MASKED, stream_similarities

Denominator = Literal["negatives", "all"]
Aggregate = Literal["outside", "inside"]


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
    """The family. For anchor i with positives P_i and negatives N_i, outside and inside:

        L_i = - sum_p v_p log(e^s_ip / (e^s_ip + [sum of other positives] + sum_n e^s_in))
        L_i = - log(sum_p u_p e^s_ip / (sum_p u_p e^s_ip + sum_n e^s_in))

    with v_p = w_D(i,p) / (n_D(i,p) * sum of w over the domains present in P_i), n_D the anchor's
    positives of that domain pair, and u_p = |P_i| v_p.

    Args:
        z: (M, D) unit rows, float32 or float64.
        sample: (M,) int64, any values; the other embeddings of an anchor's sample are its
            positives, those of other samples its negatives.
        domain: (M,) int64, 0 image, 1 text.
        slot: (M,) int64, which view, or the text; needed (not None) for negatives="slot" only.
        similarity: scores by domain pair.
        denominator: "negatives" = beside the positive at hand only negatives; "all" = also the
            anchor's other positives, whatever their weights.
        aggregate: "outside" = a mean of logarithms; "inside" = the logarithm of a sum.
        negatives: "all", the positive's "domain" or "slot", or no text of a text, "not_text_text".
        weights: of an anchor's image-image, image-text and text-text means: three numbers >= 0;
            "balanced" = (1, 1, 1); "uniform" = every positive alike.
        chunk: rows of a tile of the streamed form, O(M * D + chunk * chunk); None = dense.
        processes: who else holds rows of the batch; this is then a share of the loss.

    Returns:
        The mean over anchors with a positive of non-zero weight, (); 0, gradients 0, if none has.

    Raises:
        ValueError: outside the above; aggregate="inside" without denominator and negatives "all".
    """
    _check_switches(denominator, aggregate, negatives, chunk)
    rows = process_group.local_slice(len(z))
    z, sample, domain = (process_group.all_gather(t) for t in (z, sample, domain))
    slot = None if slot is None else process_group.all_gather(slot)
    pair_structure = build_pair_structure(z, sample, domain, slot, negatives, weights)
    num_anchors = int((pair_structure.positive_weight > 0).any(1).sum())
    if num_anchors == 0:
        return 0 * (z.sum() + similarity.scales().sum() + similarity.offsets().sum())
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
                z, pair_structure, similarity, rows, chunk, process_group
            )
        return (
            sum_anchor_losses(
                positive_logits, negative_logsumexp, pair_structure, rows, denominator, aggregate
            )
            / num_anchors
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
    """MP-NCE (UniCLIP): each positive competes with the negatives alone. See `multi_positive`.

    With one positive an anchor this, `sup_con` and `mil_nce` are equal bit for bit.
    """
    ids = (sample, domain, None)
    return multi_positive(
        z, *ids, similarity, weights=weights, chunk=chunk, process_group=process_group
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
    """SupCon (Khosla et al., NeurIPS 2020), or InfoNCE of every positive pair over the pool.

    MP-NCE with the anchor's other positives in the denominator too. See `multi_positive`.
    """
    return multi_positive(
        z,
        sample,
        domain,
        None,
        similarity,
        denominator="all",
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
    """MIL-NCE (Miech et al., CVPR 2020): the positives are summed before the logarithm.

    See `multi_positive`.
    """
    return multi_positive(
        z,
        sample,
        domain,
        None,
        similarity,
        denominator="all",
        aggregate="inside",
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
    """An N-by-N cross-entropy for every ordered pair of slots (views and the text), averaged.

    Each denominator holds one domain pair, so offsets cancel. See `multi_positive`.
    """
    return multi_positive(
        z,
        sample,
        domain,
        slot,
        similarity,
        negatives="slot",
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
    """Scores of the anchors `rows` of z with their positives of `others`, (R, P), in O(R P D)."""
    index = pair_structure.positive_index[rows]
    positives = candidates.index_select(0, index.flatten()).view(*index.shape, z.shape[1])
    cosine = (z[rows, None, :] * positives).sum(-1)
    return similarity(cosine, pair_structure.domain_pair[rows])


def compute_negative_logsumexp(
    z: Tensor,
    candidates: Tensor,
    pair_structure: PairStructure,
    similarity: Similarity,
    rows: slice,
) -> Tensor:
    """log sum_n e^s_in over the negatives of each group, (R, G); `NOTHING` for an empty group.

    A block of columns shares domain and group: with the scale and the offset that its domain pair
    gives to each row, its scores come out of one matrix product.
    """
    scales, offsets = similarity.scales().to(z.dtype), similarity.offsets().to(z.dtype)
    logsumexps_by_group: list[list[Tensor]] = [[] for _ in range(pair_structure.num_groups)]
    columns = candidates.index_select(0, pair_structure.column_order)
    for block in pair_structure.blocks:
        pair = pair_structure.domain[rows] + block.domain
        scale = scales.index_select(0, pair)[:, None]
        shift = (offsets * scales).index_select(0, pair)[:, None]
        scores = torch.addmm(-shift, scale * z[rows], columns[block.start : block.stop].T)
        is_excluded = (
            pair_structure.sample[rows, None]
            == pair_structure.ordered_sample[None, block.start : block.stop]
        )
        if not pair_structure.has_text_text_negatives and block.domain == 1:
            is_excluded = is_excluded | (pair_structure.domain[rows, None] == 1)
        logsumexps_by_group[block.group].append(
            scores.masked_fill(is_excluded, MASKED).logsumexp(1)
        )
    return torch.stack(
        [torch.stack(logsumexps, 1).logsumexp(1) for logsumexps in logsumexps_by_group], 1
    )


def compute_streamed_scores(
    z: Tensor,
    pair_structure: PairStructure,
    similarity: Similarity,
    rows: slice,
    chunk: int,
    process_group: ProcessGroup,
) -> tuple[Tensor, Tensor]:
    """`positive_scores` and `negative_log_sums` from one pass over tiles, (R, P) and (R, G)."""
    scales, offsets = similarity.scales().to(z.dtype), similarity.offsets().to(z.dtype)
    column_position = torch.argsort(pair_structure.column_order)
    ordered_z = (
        z
        if bool((column_position[1:] > column_position[:-1]).all())
        else z.index_select(0, pair_structure.column_order)
    )
    cosine, block_logsumexps = stream_similarities(
        ordered_z, scales, build_block_layout(pair_structure, column_position), chunk, process_group
    )
    cosine, block_logsumexps = (
        cosine.index_select(0, column_position[rows]),
        block_logsumexps.index_select(1, column_position[rows]),
    )
    pairs = torch.tensor([block.domain for block in pair_structure.blocks], device=z.device)
    shift = (offsets * scales)[pairs[:, None] + pair_structure.domain[rows]]
    logsumexps_by_group: list[list[Tensor]] = [[] for _ in range(pair_structure.num_groups)]
    for block, block_logsumexp in zip(pair_structure.blocks, (block_logsumexps - shift).unbind(0)):
        logsumexps_by_group[block.group].append(block_logsumexp)
    negative_logsumexp = torch.stack(
        [torch.stack(logsumexps, 1).logsumexp(1) for logsumexps in logsumexps_by_group], 1
    )
    return similarity(cosine, pair_structure.domain_pair[rows]), negative_logsumexp


def sum_anchor_losses(
    positive_logits: Tensor,
    negative_logsumexp: Tensor,
    pair_structure: PairStructure,
    rows: slice,
    denominator: Denominator,
    aggregate: Aggregate,
) -> Tensor:
    """The sum of L_i over the anchors `rows`, (); positive: (R, P), rivals: (R, G)."""
    weight = pair_structure.positive_weight[rows]
    negative_logsumexp = (
        negative_logsumexp.gather(1, pair_structure.negative_group[rows])
        if pair_structure.num_groups > 1
        else negative_logsumexp
    )
    # Where no anchor has a second positive, every member ends in the one line at the bottom.
    has_many_positives = pair_structure.positive_index.shape[1] > 1
    if has_many_positives and aggregate == "inside":
        positive_weight = weight * pair_structure.is_positive[rows].sum(1, keepdim=True)
        log_weight = torch.where(positive_weight > 0, positive_weight, 1).log() + MASKED * (
            positive_weight == 0
        )
        positive_logits = (positive_logits + log_weight).logsumexp(1, keepdim=True)
        weight = (weight > 0).any(1, keepdim=True).to(positive_logits.dtype)
    elif has_many_positives and denominator == "all":
        positive_logsumexp = positive_logits.masked_fill(
            ~pair_structure.is_positive[rows], MASKED
        ).logsumexp(1, keepdim=True)
        return (
            weight * (torch.logaddexp(positive_logsumexp, negative_logsumexp) - positive_logits)
        ).sum()
    return (weight * -F.logsigmoid(positive_logits - negative_logsumexp)).sum()


def _check_switches(
    denominator: Denominator, aggregate: Aggregate, negatives: Negatives, chunk: int | None
) -> None:
    choices: Sequence[tuple[str, str, tuple[str, ...]]] = (
        ("denominator", denominator, ("negatives", "all")),
        ("aggregate", aggregate, ("outside", "inside")),
        ("negatives", negatives, ("all", "domain", "slot", "not_text_text")),
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
        raise ValueError(f"chunk must be None or a whole number of at least 1, got {chunk!r}")
