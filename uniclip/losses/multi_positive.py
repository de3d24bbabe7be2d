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

from uniclip.distributed import ALONE, Processes
from uniclip.losses.positives import Negatives, Pool, Weights, build_pool, layout
from uniclip.losses.similarity import Similarity
from uniclip.losses.streaming import NOTHING, stream

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
    weights: Weights = "balanced",
    chunk: int | None = None,
    processes: Processes = ALONE,
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
    rows = processes.own(len(z))
    z, sample, domain = (processes.gather(t) for t in (z, sample, domain))
    slot = None if slot is None else processes.gather(slot)
    pool = build_pool(z, sample, domain, slot, negatives, weights)
    anchors = int((pool.weight > 0).any(1).sum())
    if anchors == 0:
        return 0 * (z.sum() + similarity.scales().sum() + similarity.offsets().sum())
    with torch.autocast(z.device.type, enabled=False):
        if chunk is None:
            others = processes.others(z)
            positive = positive_scores(z, others, pool, similarity, rows)
            rivals = negative_log_sums(z, others, pool, similarity, rows)
        else:
            positive, rivals = streamed_scores(z, pool, similarity, rows, chunk, processes)
        return summed_cost(positive, rivals, pool, rows, denominator, aggregate) / anchors


def mp_nce(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    similarity: Similarity,
    weights: Weights = "balanced",
    chunk: int | None = None,
    processes: Processes = ALONE,
) -> Tensor:
    """MP-NCE (UniCLIP): each positive competes with the negatives alone. See `multi_positive`.

    With one positive an anchor this, `sup_con` and `mil_nce` are equal bit for bit.
    """
    ids = (sample, domain, None)
    return multi_positive(z, *ids, similarity, weights=weights, chunk=chunk, processes=processes)


def sup_con(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    similarity: Similarity,
    weights: Weights = "balanced",
    chunk: int | None = None,
    processes: Processes = ALONE,
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
        processes=processes,
    )


def mil_nce(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    similarity: Similarity,
    weights: Weights = "balanced",
    chunk: int | None = None,
    processes: Processes = ALONE,
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
        processes=processes,
    )


def multi_view_info_nce(
    z: Tensor,
    sample: Tensor,
    domain: Tensor,
    slot: Tensor,
    similarity: Similarity,
    weights: Weights = "uniform",
    chunk: int | None = None,
    processes: Processes = ALONE,
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
        processes=processes,
    )


def positive_scores(
    z: Tensor, others: Tensor, pool: Pool, similarity: Similarity, rows: slice
) -> Tensor:
    """Scores of the anchors `rows` of z with their positives of `others`, (R, P), in O(R P D)."""
    index = pool.positive[rows]
    positives = others.index_select(0, index.flatten()).view(*index.shape, z.shape[1])
    cosine = (z[rows, None, :] * positives).sum(-1)
    return similarity(cosine, pool.pair[rows])


def negative_log_sums(
    z: Tensor, others: Tensor, pool: Pool, similarity: Similarity, rows: slice
) -> Tensor:
    """log sum_n e^s_in over the negatives of each group, (R, G); `NOTHING` for an empty group.

    A block of columns shares domain and group: with the scale and the offset that its domain pair
    gives to each row, its scores come out of one matrix product.
    """
    scales, offsets = similarity.scales().to(z.dtype), similarity.offsets().to(z.dtype)
    sums: list[list[Tensor]] = [[] for _ in range(pool.groups)]
    columns = others.index_select(0, pool.order)
    for block in pool.blocks:
        pair = pool.domain[rows] + block.domain
        scale = scales.index_select(0, pair)[:, None]
        shift = (offsets * scales).index_select(0, pair)[:, None]
        scores = torch.addmm(-shift, scale * z[rows], columns[block.start : block.stop].T)
        own = pool.sample[rows, None] == pool.ordered_sample[None, block.start : block.stop]
        if not pool.text_text and block.domain == 1:
            own = own | (pool.domain[rows, None] == 1)
        sums[block.group].append(scores.masked_fill(own, NOTHING).logsumexp(1))
    return torch.stack([torch.stack(parts, 1).logsumexp(1) for parts in sums], 1)


def streamed_scores(
    z: Tensor, pool: Pool, similarity: Similarity, rows: slice, chunk: int, processes: Processes
) -> tuple[Tensor, Tensor]:
    """`positive_scores` and `negative_log_sums` from one pass over tiles, (R, P) and (R, G)."""
    scales, offsets = similarity.scales().to(z.dtype), similarity.offsets().to(z.dtype)
    place = torch.argsort(pool.order)
    sorted_z = z if bool((place[1:] > place[:-1]).all()) else z.index_select(0, pool.order)
    cosine, logs = stream(sorted_z, scales, layout(pool, place), chunk, processes)
    cosine, logs = cosine.index_select(0, place[rows]), logs.index_select(1, place[rows])
    pairs = torch.tensor([block.domain for block in pool.blocks], device=z.device)
    shift = (offsets * scales)[pairs[:, None] + pool.domain[rows]]
    sums: list[list[Tensor]] = [[] for _ in range(pool.groups)]
    for block, summed in zip(pool.blocks, (logs - shift).unbind(0)):
        sums[block.group].append(summed)
    rivals = torch.stack([torch.stack(parts, 1).logsumexp(1) for parts in sums], 1)
    return similarity(cosine, pool.pair[rows]), rivals


def summed_cost(
    positive: Tensor,
    rivals: Tensor,
    pool: Pool,
    rows: slice,
    denominator: Denominator,
    aggregate: Aggregate,
) -> Tensor:
    """The sum of L_i over the anchors `rows`, (); positive: (R, P), rivals: (R, G)."""
    weight = pool.weight[rows]
    rivals = rivals.gather(1, pool.group[rows]) if pool.groups > 1 else rivals
    # Where no anchor has a second positive, every member ends in the one line at the bottom.
    several = pool.positive.shape[1] > 1
    if several and aggregate == "inside":
        share = weight * pool.valid[rows].sum(1, keepdim=True)
        inside = torch.where(share > 0, share, 1).log() + NOTHING * (share == 0)
        positive = (positive + inside).logsumexp(1, keepdim=True)
        weight = (weight > 0).any(1, keepdim=True).to(positive.dtype)
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
        ("negatives", negatives, ("all", "domain", "slot", "not_text_text")),
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
