"""Losses of N image-text pairs: CLIP's, and UniCL's with labels that several pairs may share.

Both are the mean of two cross-entropies, of images over texts and of texts over images; they differ
only in the target. As in `multi_positive.py`, only the dense form holds the N by N scores in
memory, and with several processes each process returns its part of the loss.

Letters: N pairs, D width, R pairs (rows) of this process.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uniclip.distributed import SINGLE_PROCESS, ProcessGroup
from uniclip.losses.similarity import DOMAIN_PAIRS
from uniclip.losses.streaming import stream_similarities
from uniclip.losses.tiling import BlockLayout, BlockPair


def clip_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    *,
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return CLIP's loss (Radford et al., ICML 2021), ().

        L = - 1/(2N) sum_i [log softmax_j(s x_i y_j)_i + log softmax_j(s y_i x_j)_i]

    with images x, texts y and the scale s: the mean of the cross-entropies of both directions.

    Args:
        image, text: (N, D) unit rows, float32 or float64; row i of one belongs to row i of the
            other. Images may have V views, (N, V, D): the loss is then the mean over views.
        scale: s = 1/tau, a multiplier of the cosine (not its logarithm).
        chunk, process_group: as in `multi_positive.multi_positive`.

    Raises:
        ValueError: the shapes or dtypes differ, or N is 0.
    """
    _check_views(image, text)
    rows, (image, text) = process_group.all_gather_samples(image, text)
    with torch.autocast(image.device.type, enabled=False):
        positive_texts = process_group.detach_remote(text)
        view_losses = [
            compute_symmetric_loss(
                *(view, text, process_group.detach_remote(view), positive_texts),
                *(scale, rows, chunk, process_group),
            )
            for view in _list_views(image)
        ]
        return torch.stack(view_losses).mean() if image.ndim == 3 else view_losses[0]


def image_to_text_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    *,
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return one direction of CLIP's loss: the mean cross-entropy of images over texts, ().

    Arguments and errors are those of `clip_loss`.
    """
    check_pair(image, text)
    rows, (image, text) = process_group.all_gather_samples(image, text)
    with torch.autocast(image.device.type, enabled=False):
        check_not_empty(image)
        candidate_texts = process_group.detach_remote(text)
        positive_cosine = (image[rows] * candidate_texts[rows]).sum(1)
        if chunk is None:
            logsumexps = (scale * image[rows] @ candidate_texts.T).logsumexp(1)
        else:
            image_logsumexp, _ = _compute_streamed_logsumexp(
                image, text, scale, chunk, process_group
            )
            logsumexps = image_logsumexp[rows]
        return (logsumexps - scale * positive_cosine).sum() / len(image)


def unicl_loss(
    image: Tensor,
    text: Tensor,
    labels: Tensor,
    scale: Tensor | float,
    *,
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Return UniCL's loss (Yang et al., CVPR 2022): samples of one label are positives, ().

    It is the mean of both directions' cross-entropies (our choice; the source takes their sum)
    against targets whose rows sum to 1:

        L = - 1/(2N) sum_i 1/|P_i| sum_p [log softmax_j(s x_i y_j)_p + log softmax_j(s y_i x_j)_p]

    with images x, texts y, the scale s and p over P_i, the samples that have the label of i. If all
    labels are different or -1, it is CLIP's loss.

    Args:
        image, text: (N, D) unit rows, float32 or float64; images may have V views, as in
            `clip_loss`.
        labels: (N,) int64; -1 = an image-text pair, whose only positive is itself.
        scale: s = 1/tau, a multiplier of the cosine (not its logarithm).
        chunk, process_group: as in `multi_positive.multi_positive`.

    Raises:
        ValueError: a shape or dtype differs from the above, or N is 0.
    """
    _check_views(image, text)
    if labels.shape != (len(image),) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be int64 ({len(image)},), got {labels.dtype} {tuple(labels.shape)}"
        )
    rows, (image, text, labels) = process_group.all_gather_samples(image, text, labels)
    with torch.autocast(image.device.type, enabled=False):
        # The mean cosine with the positives is the dot product with their mean: this needs no N by
        # N target.
        positive_texts = compute_class_means(process_group.detach_remote(text), labels)
        view_losses = [
            compute_symmetric_loss(
                view,
                text,
                compute_class_means(process_group.detach_remote(view), labels),
                positive_texts,
                scale,
                rows,
                chunk,
                process_group,
            )
            for view in _list_views(image)
        ]
        return torch.stack(view_losses).mean() if image.ndim == 3 else view_losses[0]


def compute_symmetric_loss(
    image: Tensor,
    text: Tensor,
    positive_images: Tensor,
    positive_texts: Tensor,
    scale: Tensor | float,
    rows: slice,
    chunk: int | None,
    process_group: ProcessGroup,
) -> Tensor:
    """Return this process's part of the mean of both directions' cross-entropies, ().

    Args:
        image, text: (N, D) unit rows of all processes.
        positive_images: (N, D), the mean of the images that are positives of each text.
        positive_texts: (N, D), the mean of the texts that are positives of each image.
        scale: 1/tau.
        rows: the rows of this process.
        chunk, process_group: as in `multi_positive.multi_positive`.

    Raises:
        ValueError: N is 0.
    """
    check_not_empty(image)
    positive_cosine = (image[rows] * positive_texts[rows]).sum(1) + (
        text[rows] * positive_images[rows]
    ).sum(1)
    if chunk is None:
        logsumexps = _compute_dense_logsumexp(image, text, scale, rows, process_group)
    else:
        image_logsumexp, text_logsumexp = _compute_streamed_logsumexp(
            image, text, scale, chunk, process_group
        )
        logsumexps = image_logsumexp[rows] + text_logsumexp[rows]
    return (logsumexps - scale * positive_cosine).sum() / (2 * len(image))


def _compute_dense_logsumexp(
    image: Tensor, text: Tensor, scale: Tensor | float, rows: slice, process_group: ProcessGroup
) -> Tensor:
    """Return for each of `rows` the log-sum over all texts plus that over all images, (R,)."""
    image_logits = scale * image[rows] @ process_group.detach_remote(text).T
    if len(image_logits) == len(image) and process_group.gather_with_grad:
        text_logits = image_logits.T
    else:
        text_logits = scale * text[rows] @ process_group.detach_remote(image).T
    return image_logits.logsumexp(1) + text_logits.logsumexp(1)


def _compute_streamed_logsumexp(
    image: Tensor, text: Tensor, scale: Tensor | float, chunk: int, process_group: ProcessGroup
) -> tuple[Tensor, Tensor]:
    """Return each image's log-sum over all texts and each text's over all images, (N,) each."""
    n, pair = len(image), DOMAIN_PAIRS.index("it")
    no_pairs = torch.zeros(0, dtype=torch.int64)
    empty = torch.zeros(2, 2 * n, dtype=torch.bool)
    empty[0, :n] = empty[1, n:] = True
    block_layout = BlockLayout(
        blocks=((0, n), (n, 2 * n)),
        block_pairs=(BlockPair(0, 1, pair),),
        masked_pairs=(no_pairs, no_pairs),
        positive_index=no_pairs.new_zeros(2 * n, 0),
        is_empty=empty,
    )
    scales = torch.as_tensor(scale, dtype=image.dtype, device=image.device).expand(
        len(DOMAIN_PAIRS)
    )
    _, block_logsumexps = stream_similarities(
        torch.cat([image, text]), scales, block_layout, chunk, process_group
    )
    return block_logsumexps[1, :n], block_logsumexps[0, n:]


def compute_class_means(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return for each row the mean of the rows with its label, (N, D); the row itself for -1.

    Args:
        vectors: (N, D) rows.
        labels: (N,) int64.
    """
    # Pairs get labels that no other row has.
    unique_labels = labels.min() - 1 - torch.arange(len(labels), device=labels.device)
    class_index = _index_values(torch.where(labels >= 0, labels, unique_labels))
    count = torch.zeros_like(vectors[:, 0]).index_add(
        0, class_index, torch.ones_like(vectors[:, 0])
    )
    sums = torch.zeros_like(vectors).index_add(0, class_index, vectors)
    return (sums / count.clamp(min=1)[:, None]).index_select(0, class_index)


def _index_values(values: Tensor) -> Tensor:
    """Return the index of each value (N,) among the different ones in ascending order, (N,) int64.

    As `torch.unique`, but the host need not know how many there are.
    """
    ordered_values, order = torch.sort(values, stable=True)
    is_new = torch.ones_like(values)
    is_new[1:] = ordered_values[1:] != ordered_values[:-1]
    return torch.empty_like(order).scatter_(0, order, is_new.cumsum(0) - 1)


def _list_views(image: Tensor) -> tuple[Tensor, ...]:
    """Return the views of images (N, V, D), each (N, D); images (N, D) are one view."""
    return image.unbind(1) if image.ndim == 3 else (image,)


def _check_views(image: Tensor, text: Tensor) -> None:
    for view in _list_views(image):
        check_pair(view, text)


def check_pair(image: Tensor, text: Tensor) -> None:
    """Raise `ValueError` unless image and text are (N, D), of one dtype and float32 or float64."""
    floats = (torch.float32, torch.float64)
    matches = image.shape == text.shape and image.dtype == text.dtype
    if image.ndim != 2 or not matches or image.dtype not in floats:
        raise ValueError(
            "image and text must be (N, D), both float32 or both float64, got "
            f"{tuple(image.shape)} {image.dtype} and {tuple(text.shape)} {text.dtype}"
        )


def check_not_empty(image: Tensor) -> None:
    """Raise `ValueError` if the batch has no pair."""
    if len(image) == 0:
        raise ValueError("a contrastive loss needs at least one pair, got none")
