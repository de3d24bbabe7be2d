"""Losses of N image-text pairs: CLIP's, and UniCL's with labels that several pairs may share.

Both are the mean of two cross-entropies, of images over texts and of texts over images, and differ
in whose mean is the target alone. As in `contrastive.py` the N by N scores stand in memory in the
dense form only, and over several processes each returns its share of the loss.

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
    """CLIP (Radford et al., ICML 2021): the mean of both ways' cross-entropies, ().

    Args:
        image, text: (N, D) unit rows; row i of one belongs to row i of the other.
        scale: 1/tau, a multiplier of the cosine (not its logarithm).
        chunk, processes: as in `contrastive.multi_positive`.

    Raises:
        ValueError: if the shapes or dtypes differ, or N is 0.
    """
    _check_pair(image, text)
    rows = process_group.local_slice(len(image))
    image, text = process_group.all_gather(image), process_group.all_gather(text)
    with torch.autocast(image.device.type, enabled=False):
        positive_images, positive_texts = (
            process_group.detach_remote(image),
            process_group.detach_remote(text),
        )
        return compute_symmetric_loss(
            image, text, positive_images, positive_texts, scale, rows, chunk, process_group
        )


def image_to_text_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    *,
    chunk: int | None = None,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """Half of CLIP's loss: each image's cross-entropy over the texts, averaged, ().

    Arguments and errors as in `clip_loss`.
    """
    _check_pair(image, text)
    rows = process_group.local_slice(len(image))
    image, text = process_group.all_gather(image), process_group.all_gather(text)
    with torch.autocast(image.device.type, enabled=False):
        _check_not_empty(image)
        candidate_texts = process_group.detach_remote(text)
        positive_cosine = (image[rows] * candidate_texts[rows]).sum(1)
        if chunk is None:
            logsumexps = (scale * image[rows] @ candidate_texts.T).logsumexp(1)
        else:
            logsumexps = _compute_streamed_logsumexp(image, text, scale, chunk, process_group)[0][
                rows
            ]
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
    """UniCL (Yang et al., CVPR 2022): samples with one label are positives of each other, ().

    The mean (ours; the source sums) of both ways' cross-entropies against targets whose rows are
    normalised. With all labels different, or -1, it is CLIP's loss.

    Args:
        image, text: (N, D) unit rows.
        labels: (N,) int64; -1 = an image-text pair, which is its own only positive.
        scale: 1/tau, a multiplier of the cosine.
        chunk, processes: as in `contrastive.multi_positive`.

    Raises:
        ValueError: if shapes or dtypes are others, or N is 0.
    """
    _check_pair(image, text)
    if labels.shape != (len(image),) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be int64 ({len(image)},), got {labels.dtype} {tuple(labels.shape)}"
        )
    rows = process_group.local_slice(len(image))
    image, text, labels = (process_group.all_gather(t) for t in (image, text, labels))
    with torch.autocast(image.device.type, enabled=False):
        # The mean cosine with the positives is the cosine with their mean: no N by N target.
        positive_images, positive_texts = (
            compute_class_means(process_group.detach_remote(vectors), labels)
            for vectors in (image, text)
        )
        return compute_symmetric_loss(
            image, text, positive_images, positive_texts, scale, rows, chunk, process_group
        )


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
    """The share of `rows` in both ways' mean cross-entropies; images (texts): the mean of each
    text's (image's) positives, (N, D)."""
    _check_not_empty(image)
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
    """For each of `rows` the log-sum over all texts plus that over all images, (R,)."""
    image_logits = scale * image[rows] @ process_group.detach_remote(text).T
    if len(image_logits) == len(image) and process_group.gather_with_grad:
        text_logits = image_logits.T
    else:
        text_logits = scale * text[rows] @ process_group.detach_remote(image).T
    return image_logits.logsumexp(1) + text_logits.logsumexp(1)


def _compute_streamed_logsumexp(
    image: Tensor, text: Tensor, scale: Tensor | float, chunk: int, process_group: ProcessGroup
) -> tuple[Tensor, Tensor]:
    """Each image's log-sum over all texts and each text's over all images, (N,) both."""
    n, pair = len(image), DOMAIN_PAIRS.index("it")
    no_pairs = torch.zeros(0, dtype=torch.int64, device=image.device)
    empty = torch.zeros(2, 2 * n, dtype=torch.bool, device=image.device)
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
    """For each row the mean over the rows of its label, (N, D); itself where the label is -1."""
    # Fresh labels for pairs, so that each is a class of its own.
    unique_labels = labels.min() - 1 - torch.arange(len(labels), device=labels.device)
    _, class_index = torch.unique(
        torch.where(labels >= 0, labels, unique_labels), return_inverse=True
    )
    count = torch.bincount(class_index).to(vectors.dtype)
    sums = vectors.new_zeros(len(count), vectors.shape[1]).index_add(0, class_index, vectors)
    return (sums / count[:, None]).index_select(0, class_index)


def _check_pair(image: Tensor, text: Tensor) -> None:
    floats = (torch.float32, torch.float64)
    matches = image.shape == text.shape and image.dtype == text.dtype
    if image.ndim != 2 or not matches or image.dtype not in floats:
        raise ValueError(
            "image and text must be two (N, D), both float32 or both float64, got "
            f"{tuple(image.shape)} {image.dtype} and {tuple(text.shape)} {text.dtype}"
        )


def _check_not_empty(image: Tensor) -> None:
    if len(image) == 0:
        raise ValueError("a contrastive loss needs at least one pair, got none")
