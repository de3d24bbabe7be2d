"""Contrastive losses as pure functions.

One family with four switches (`multi_positive`) holds MP-NCE (UniCLIP, Lee et al., NeurIPS 2022),
SupCon, MIL-NCE and the view-by-view cross-entropy of SimCLR-like methods; beside it stand CLIP's
and UniCL's losses. Who is whose positive, how much each positive weighs and which columns are
negatives is said once, by `Pool` (`pool.py`); `negative_log_sums` alone meets all M * M pairs.

Letters: M embeddings, D width, R anchors (rows) in one tile, P positives an anchor at most,
G groups of negatives, N image-text pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from uniclip.objectives.pool import Negatives, Pool, Weights, build_pool
from uniclip.objectives.similarity import Similarity

Denominator = Literal["negatives", "all"]
Aggregate = Literal["outside", "inside"]

NOTHING = -1e30
"""A score that adds nothing to a sum of exponentials; finite, so that no gradient becomes NaN."""


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
    weights: Weights = "balanced",
    chunk: int | None = None,
) -> Tensor:
    """The family. For anchor i with positives P_i and negatives N_i, outside and inside:

        L_i = - sum_p v_p log(e^s_ip / (e^s_ip + [sum of other positives] + sum_n e^s_in))
        L_i = - log(sum_p u_p e^s_ip / (sum_p u_p e^s_ip + sum_n e^s_in))

    with v_p = w_D(i,p) / (n_D(i,p) * sum of w over the domains present in P_i), n_D the number of
    the anchor's positives of that domain pair, and u_p = |P_i| v_p.

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
        negatives: "all", or only those of the positive's "domain" or "slot".
        weights: of an anchor's image-image, image-text and text-text means: three numbers >= 0;
            "balanced" = (1, 1, 1); "uniform" = every positive alike.
        chunk: anchors a tile (memory O(chunk * M), each tile computed twice); None = one tile.

    Returns:
        The mean over anchors with a positive of non-zero weight, (); 0, gradients 0, if none has.

    Raises:
        ValueError: for shapes, dtypes or values outside the above, and for aggregate="inside" with
            other than all positives in the denominator and all negatives.
    """
    _check_switches(denominator, aggregate, negatives, chunk)
    pool = build_pool(z, sample, domain, slot, negatives, weights)
    anchors = int((pool.weight > 0).any(1).sum())
    if anchors == 0:
        return 0 * (z.sum() + similarity.scales().sum() + similarity.offsets().sum())

    def tile(rows: slice) -> Tensor:
        return _summed_cost(z, pool, similarity, rows, denominator, aggregate)

    with torch.autocast(z.device.type, enabled=False):
        if chunk is None or chunk >= len(z):
            return tile(slice(0, len(z))) / anchors
        tiles = [slice(start, min(start + chunk, len(z))) for start in range(0, len(z), chunk)]
        costs = [
            checkpoint(tile, rows, use_reentrant=False, preserve_rng_state=False) for rows in tiles
        ]
        return torch.stack(costs).sum() / anchors


def mp_nce(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    similarity: Similarity,
    weights: Weights = "balanced",
    chunk: int | None = None,
) -> Tensor:
    """MP-NCE (UniCLIP): each positive competes with the negatives alone. See `multi_positive`.

    With one positive an anchor this, `sup_con` and `mil_nce` are equal bit for bit.
    """
    return multi_positive(z, sample, domain, None, similarity, weights=weights, chunk=chunk)


def sup_con(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    similarity: Similarity,
    weights: Weights = "balanced",
    chunk: int | None = None,
) -> Tensor:
    """SupCon (Khosla et al., NeurIPS 2020), or InfoNCE of every positive pair over the pool.

    MP-NCE with the anchor's other positives in the denominator too. See `multi_positive`.
    """
    return multi_positive(
        z, sample, domain, None, similarity, denominator="all", weights=weights, chunk=chunk
    )


def mil_nce(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    similarity: Similarity,
    weights: Weights = "balanced",
    chunk: int | None = None,
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
    )


def multi_view_info_nce(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    slot: Tensor,
    similarity: Similarity,
    weights: Weights = "uniform",
    chunk: int | None = None,
) -> Tensor:
    """An N-by-N cross-entropy for every ordered pair of slots (views and the text), averaged.

    Each denominator holds one domain pair, so offsets cancel. See `multi_positive`.
    """
    return multi_positive(
        z, sample, domain, slot, similarity, negatives="slot", weights=weights, chunk=chunk
    )


def clip_loss(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """CLIP (Radford et al., ICML 2021): the mean of both ways' cross-entropies, ().

    Args:
        image, text: (N, D) unit rows; row i of one belongs to row i of the other.
        scale: 1/tau, a multiplier of the cosine (not its logarithm).

    Raises:
        ValueError: if the shapes or dtypes differ, or N is 0.
    """
    logits = _pair_logits(image, text, scale)
    own = torch.arange(len(image), device=image.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def unicl_loss(image: Tensor, text: Tensor, labels: Tensor, scale: Tensor | float) -> Tensor:
    """UniCL (Yang et al., CVPR 2022): samples with one label are positives of each other, ().

    The mean (ours; the source sums) of both ways' cross-entropies against targets whose rows are
    normalised. With all labels different, or -1, it is CLIP's loss.

    Args:
        image, text: (N, D) unit rows.
        labels: (N,) int64; -1 = an image-text pair, which is its own only positive.
        scale: 1/tau, a multiplier of the cosine.

    Raises:
        ValueError: if shapes or dtypes are others, or N is 0.
    """
    logits = _pair_logits(image, text, scale)
    if labels.shape != (len(image),) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be int64 ({len(image)},), got {labels.dtype} {tuple(labels.shape)}"
        )
    same = (labels[:, None] == labels[None, :]) & (labels >= 0)[:, None]
    same |= torch.eye(len(image), dtype=torch.bool, device=image.device)
    target = same.to(image.dtype) / same.sum(1, keepdim=True)
    # `same` is symmetric, so the rows of the other way have the same targets.
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def positive_scores(z: Tensor, pool: Pool, similarity: Similarity, rows: slice) -> Tensor:
    """Scores of the anchors `rows` with their positives, (R, P), in O(R P D)."""
    index = pool.positive[rows]
    others = z.index_select(0, index.flatten()).view(*index.shape, z.shape[1])
    cosine = (z[rows, None, :] * others).sum(-1)
    return similarity(cosine, pool.pair[rows])


def negative_log_sums(z: Tensor, pool: Pool, similarity: Similarity, rows: slice) -> Tensor:
    """log sum_n e^s_in over the negatives of each group, (R, G); `NOTHING` for an empty group.

    A block of columns shares domain and group: with the scale and the offset that its domain pair
    gives to each row, its scores come out of one matrix product.
    """
    scales, offsets = similarity.scales().to(z.dtype), similarity.offsets().to(z.dtype)
    sums: list[list[Tensor]] = [[] for _ in range(pool.groups)]
    columns = z.index_select(0, pool.order)
    for block in pool.blocks:
        pair = pool.domain[rows] + block.domain
        scale = scales.index_select(0, pair)[:, None]
        shift = (offsets * scales).index_select(0, pair)[:, None]
        scores = torch.addmm(-shift, scale * z[rows], columns[block.start : block.stop].T)
        own = pool.sample[rows, None] == pool.ordered_sample[None, block.start : block.stop]
        sums[block.group].append(scores.masked_fill(own, NOTHING).logsumexp(1))
    return torch.stack([torch.stack(parts, 1).logsumexp(1) for parts in sums], 1)


def _summed_cost(
    z: Tensor,
    pool: Pool,
    similarity: Similarity,
    rows: slice,
    denominator: Denominator,
    aggregate: Aggregate,
) -> Tensor:
    """The sum of L_i over the anchors `rows`, ()."""
    weight, positive = pool.weight[rows], positive_scores(z, pool, similarity, rows)
    rivals = negative_log_sums(z, pool, similarity, rows)
    rivals = rivals.gather(1, pool.group[rows]) if pool.groups > 1 else rivals
    # Where no anchor has a second positive, every member ends in the one line at the bottom.
    several = pool.positive.shape[1] > 1
    if several and aggregate == "inside":
        share = weight * pool.valid[rows].sum(1, keepdim=True)
        inside = torch.where(share > 0, share, 1).log() + NOTHING * (share == 0)
        positive = (positive + inside).logsumexp(1, keepdim=True)
        weight = (weight > 0).any(1, keepdim=True).to(z.dtype)
    elif several and denominator == "all":
        own = positive.masked_fill(~pool.valid[rows], NOTHING).logsumexp(1, keepdim=True)
        return (weight * (torch.logaddexp(own, rivals) - positive)).sum()
    return (weight * -F.logsigmoid(positive - rivals)).sum()


def _check_switches(
    denominator: Denominator, aggregate: Aggregate, negatives: Negatives, chunk: int | None
) -> None:
    choices: Sequence[tuple[str, str, tuple[str, ...]]] = (
        ("denominator", denominator, ("negatives", "all")),
        ("aggregate", aggregate, ("outside", "inside")),
        ("negatives", negatives, ("all", "domain", "slot")),
    )
    for name, value, known in choices:
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if aggregate == "inside" and (denominator, negatives) != ("all", "all"):
        raise ValueError(
            "aggregate='inside' needs denominator='all' and negatives='all', "
            f"got {denominator!r} and {negatives!r}"
        )
    if chunk is not None and (type(chunk) is not int or chunk < 1):
        raise ValueError(f"chunk must be None or a whole number of at least 1, got {chunk!r}")


def _pair_logits(image: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    if image.ndim != 2 or image.shape != text.shape or image.dtype != text.dtype:
        raise ValueError(
            "image and text must be two (N, D) of one dtype, got "
            f"{tuple(image.shape)} {image.dtype} and {tuple(text.shape)} {text.dtype}"
        )
    if len(image) == 0:
        raise ValueError("a contrastive loss needs at least one pair, got none")
    with torch.autocast(image.device.type, enabled=False):
        return scale * image @ text.T
