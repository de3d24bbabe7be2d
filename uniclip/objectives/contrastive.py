"""Contrastive losses as pure functions.

One family with four switches (`multi_positive`) holds MP-NCE (UniCLIP, Lee et al., NeurIPS 2022),
SupCon, MIL-NCE and the view-by-view cross-entropy of SimCLR-like methods; beside it stand CLIP's
and UniCL's losses. Who is whose positive, how much each positive weighs and which columns are
negatives is said once, by `Pool` (`pool.py`). Only two numbers need all M * M pairs: the sum over
an anchor's negatives, and CLIP's and UniCL's sums over rows and columns. The dense form computes
them as one reads them; with `chunk`, `streamed.py` does, in memory that grows with M alone.

Over several processes every function takes the rows of its own process and returns its share: the
shares add up to the loss of all rows (`processes.py`).

Letters: M embeddings, D width, R anchors (rows) of this process, P positives an anchor at most,
B blocks of columns, G groups of negatives, N image-text pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from uniclip.objectives.pool import Negatives, Pool, Weights, build_pool
from uniclip.objectives.processes import ALONE, Processes
from uniclip.objectives.similarity import PAIRS, Similarity
from uniclip.objectives.streamed import NOTHING, Layout, Meeting, stream

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
        chunk: rows of a tile of the streamed form, whose memory is O(M * D + chunk * chunk);
            None = the dense form. Value and gradients are the same.
        processes: who else holds rows of the batch; then this is its share of the loss.

    Returns:
        The mean over anchors with a positive of non-zero weight, (); 0, gradients 0, if none has.

    Raises:
        ValueError: for shapes, dtypes or values outside the above, and for aggregate="inside" with
            other than all positives in the denominator and all negatives.
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
            positive = positive_scores(z, pool, similarity, rows)
            rivals = negative_log_sums(z, pool, similarity, rows)
        else:
            positive, rivals = streamed_scores(z, pool, similarity, rows, chunk, processes)
        return _summed_cost(positive, rivals, pool, rows, denominator, aggregate) / anchors


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


def clip_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    *,
    chunk: int | None = None,
    processes: Processes = ALONE,
) -> Tensor:
    """CLIP (Radford et al., ICML 2021): the mean of both ways' cross-entropies, ().

    Args:
        image, text: (N, D) unit rows; row i of one belongs to row i of the other.
        scale: 1/tau, a multiplier of the cosine (not its logarithm).
        chunk, processes: as in `multi_positive`.

    Raises:
        ValueError: if the shapes or dtypes differ, or N is 0.
    """
    _check_pair(image, text)
    rows = processes.own(len(image))
    image, text = processes.gather(image), processes.gather(text)
    with torch.autocast(image.device.type, enabled=False):
        return _pair_cost(image, text, image, text, scale, rows, chunk, processes)


def unicl_loss(
    image: Tensor,
    text: Tensor,
    labels: Tensor,
    scale: Tensor | float,
    *,
    chunk: int | None = None,
    processes: Processes = ALONE,
) -> Tensor:
    """UniCL (Yang et al., CVPR 2022): samples with one label are positives of each other, ().

    The mean (ours; the source sums) of both ways' cross-entropies against targets whose rows are
    normalised. With all labels different, or -1, it is CLIP's loss.

    Args:
        image, text: (N, D) unit rows.
        labels: (N,) int64; -1 = an image-text pair, which is its own only positive.
        scale: 1/tau, a multiplier of the cosine.
        chunk, processes: as in `multi_positive`.

    Raises:
        ValueError: if shapes or dtypes are others, or N is 0.
    """
    _check_pair(image, text)
    if labels.shape != (len(image),) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be int64 ({len(image)},), got {labels.dtype} {tuple(labels.shape)}"
        )
    rows = processes.own(len(image))
    image, text, labels = (processes.gather(t) for t in (image, text, labels))
    with torch.autocast(image.device.type, enabled=False):
        # The mean cosine with the positives is the cosine with their mean: no N by N target.
        images, texts = _class_means(image, labels), _class_means(text, labels)
        return _pair_cost(image, text, images, texts, scale, rows, chunk, processes)


# ---- images against texts ------------------------------------------------------------------------


def _pair_cost(
    image: Tensor,
    text: Tensor,
    images: Tensor,
    texts: Tensor,
    scale: Tensor | float,
    rows: slice,
    chunk: int | None,
    processes: Processes,
) -> Tensor:
    """The share of `rows` in both ways' mean cross-entropies; images (texts): the mean of each
    text's (image's) positives, (N, D)."""
    own = (image[rows] * texts[rows]).sum(1) + (text[rows] * images[rows]).sum(1)
    if chunk is None:
        sums = _pair_sums(image, text, scale, rows)
    else:
        sums = _streamed_pair_sums(image, text, scale, rows, chunk, processes)
    return (sums - scale * own).sum() / (2 * len(image))


def _pair_sums(image: Tensor, text: Tensor, scale: Tensor | float, rows: slice) -> Tensor:
    """For each of `rows` the log-sum over all texts plus that over all images, (R,)."""
    by_image = scale * image[rows] @ text.T
    by_text = by_image.T if len(by_image) == len(image) else scale * text[rows] @ image.T
    return by_image.logsumexp(1) + by_text.logsumexp(1)


def _streamed_pair_sums(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    rows: slice,
    chunk: int,
    processes: Processes,
) -> Tensor:
    """`_pair_sums` from one pass over the tiles of the N by N scores."""
    n, pair = len(image), PAIRS.index("it")
    nobody = torch.zeros(0, dtype=torch.int64, device=image.device)
    empty = torch.zeros(2 * n, 2, dtype=torch.bool, device=image.device)
    empty[:n, 0] = empty[n:, 1] = True
    layout = Layout(
        blocks=((0, n), (n, 2 * n)),
        meetings=(Meeting(0, 1, pair),),
        apart=(nobody, nobody),
        positive=nobody.new_zeros(2 * n, 0),
        empty=empty,
    )
    scales = torch.as_tensor(scale, dtype=image.dtype, device=image.device).expand(len(PAIRS))
    _, logs = stream(torch.cat([image, text]), scales, layout, chunk, processes)
    return logs[:n, 1][rows] + logs[n:, 0][rows]


def _class_means(vectors: Tensor, labels: Tensor) -> Tensor:
    """For each row the mean over the rows of its label, (N, D); itself where the label is -1."""
    # Fresh labels for pairs, so that each is a class of its own.
    alone = labels.min() - 1 - torch.arange(len(labels), device=labels.device)
    _, of = torch.unique(torch.where(labels >= 0, labels, alone), return_inverse=True)
    count = torch.bincount(of).to(vectors.dtype)
    sums = vectors.new_zeros(len(count), vectors.shape[1]).index_add(0, of, vectors)
    return (sums / count[:, None]).index_select(0, of)


# ---- the pool ------------------------------------------------------------------------------------


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


def streamed_scores(
    z: Tensor, pool: Pool, similarity: Similarity, rows: slice, chunk: int, processes: Processes
) -> tuple[Tensor, Tensor]:
    """`positive_scores` and `negative_log_sums` from one pass over tiles, (R, P) and (R, G)."""
    scales, offsets = similarity.scales().to(z.dtype), similarity.offsets().to(z.dtype)
    place = torch.argsort(pool.order)
    sorted_z = z if bool((place[1:] > place[:-1]).all()) else z.index_select(0, pool.order)
    cosine, logs = stream(sorted_z, scales, _layout(pool, place), chunk, processes)
    cosine, logs = cosine.index_select(0, place[rows]), logs.index_select(0, place[rows])
    pairs = torch.tensor([block.domain for block in pool.blocks], device=z.device)
    shift = (offsets * scales)[pool.domain[rows, None] + pairs]
    sums: list[list[Tensor]] = [[] for _ in range(pool.groups)]
    for block, column in zip(pool.blocks, (logs - shift).unbind(1)):
        sums[block.group].append(column)
    rivals = torch.stack([torch.stack(parts, 1).logsumexp(1) for parts in sums], 1)
    return similarity(cosine, pool.pair[rows]), rivals


def _layout(pool: Pool, place: Tensor) -> Layout:
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
        empty=(own >= size) | ~met.to(order.device)[block],
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
    )


def _summed_cost(
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


def _check_pair(image: Tensor, text: Tensor) -> None:
    if image.ndim != 2 or image.shape != text.shape or image.dtype != text.dtype:
        raise ValueError(
            "image and text must be two (N, D) of one dtype, got "
            f"{tuple(image.shape)} {image.dtype} and {tuple(text.shape)} {text.dtype}"
        )
    if len(image) == 0:
        raise ValueError("a contrastive loss needs at least one pair, got none")
