"""Losses of N image-text pairs: CLIP's, and UniCL's with labels that several pairs may share.

Both are the mean of two cross-entropies, of images over texts and of texts over images, and differ
in whose mean is the target alone. As in `contrastive.py` the N by N scores stand in memory in the
dense form only, and over several processes each returns its share of the loss.

Letters: N pairs, D width, R pairs (rows) of this process.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uniclip.distributed import ALONE, Processes
from uniclip.losses.similarity import PAIRS
from uniclip.losses.streaming import stream
from uniclip.losses.tiling import Layout, Meeting


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
        chunk, processes: as in `contrastive.multi_positive`.

    Raises:
        ValueError: if the shapes or dtypes differ, or N is 0.
    """
    _check_pair(image, text)
    rows = processes.own(len(image))
    image, text = processes.gather(image), processes.gather(text)
    with torch.autocast(image.device.type, enabled=False):
        images, texts = processes.others(image), processes.others(text)
        return pair_cost(image, text, images, texts, scale, rows, chunk, processes)


def image_to_text_loss(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    *,
    chunk: int | None = None,
    processes: Processes = ALONE,
) -> Tensor:
    """Half of CLIP's loss: each image's cross-entropy over the texts, averaged, ().

    Arguments and errors as in `clip_loss`.
    """
    _check_pair(image, text)
    rows = processes.own(len(image))
    image, text = processes.gather(image), processes.gather(text)
    with torch.autocast(image.device.type, enabled=False):
        _check_some(image)
        texts = processes.others(text)
        own = (image[rows] * texts[rows]).sum(1)
        if chunk is None:
            sums = (scale * image[rows] @ texts.T).logsumexp(1)
        else:
            sums = _streamed_sums(image, text, scale, chunk, processes)[0][rows]
        return (sums - scale * own).sum() / len(image)


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
        chunk, processes: as in `contrastive.multi_positive`.

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
        images, texts = (class_means(processes.others(v), labels) for v in (image, text))
        return pair_cost(image, text, images, texts, scale, rows, chunk, processes)


def pair_cost(
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
    _check_some(image)
    own = (image[rows] * texts[rows]).sum(1) + (text[rows] * images[rows]).sum(1)
    if chunk is None:
        sums = _pair_sums(image, text, scale, rows, processes)
    else:
        by_image, by_text = _streamed_sums(image, text, scale, chunk, processes)
        sums = by_image[rows] + by_text[rows]
    return (sums - scale * own).sum() / (2 * len(image))


def _pair_sums(
    image: Tensor, text: Tensor, scale: Tensor | float, rows: slice, processes: Processes
) -> Tensor:
    """For each of `rows` the log-sum over all texts plus that over all images, (R,)."""
    by_image = scale * image[rows] @ processes.others(text).T
    if len(by_image) == len(image) and processes.remote_gradients:
        by_text = by_image.T
    else:
        by_text = scale * text[rows] @ processes.others(image).T
    return by_image.logsumexp(1) + by_text.logsumexp(1)


def _streamed_sums(
    image: Tensor, text: Tensor, scale: Tensor | float, chunk: int, processes: Processes
) -> tuple[Tensor, Tensor]:
    """Each image's log-sum over all texts and each text's over all images, (N,) both."""
    n, pair = len(image), PAIRS.index("it")
    nobody = torch.zeros(0, dtype=torch.int64, device=image.device)
    empty = torch.zeros(2, 2 * n, dtype=torch.bool, device=image.device)
    empty[0, :n] = empty[1, n:] = True
    layout = Layout(
        blocks=((0, n), (n, 2 * n)),
        meetings=(Meeting(0, 1, pair),),
        apart=(nobody, nobody),
        positive=nobody.new_zeros(2 * n, 0),
        empty=empty,
    )
    scales = torch.as_tensor(scale, dtype=image.dtype, device=image.device).expand(len(PAIRS))
    _, logs = stream(torch.cat([image, text]), scales, layout, chunk, processes)
    return logs[1, :n], logs[0, n:]


def class_means(vectors: Tensor, labels: Tensor) -> Tensor:
    """For each row the mean over the rows of its label, (N, D); itself where the label is -1."""
    # Fresh labels for pairs, so that each is a class of its own.
    alone = labels.min() - 1 - torch.arange(len(labels), device=labels.device)
    _, of = torch.unique(torch.where(labels >= 0, labels, alone), return_inverse=True)
    count = torch.bincount(of).to(vectors.dtype)
    sums = vectors.new_zeros(len(count), vectors.shape[1]).index_add(0, of, vectors)
    return (sums / count[:, None]).index_select(0, of)


def _check_pair(image: Tensor, text: Tensor) -> None:
    floats = (torch.float32, torch.float64)
    alike = image.shape == text.shape and image.dtype == text.dtype
    if image.ndim != 2 or not alike or image.dtype not in floats:
        raise ValueError(
            "image and text must be two (N, D), both float32 or both float64, got "
            f"{tuple(image.shape)} {image.dtype} and {tuple(text.shape)} {text.dtype}"
        )


def _check_some(image: Tensor) -> None:
    if len(image) == 0:
        raise ValueError("a contrastive loss needs at least one pair, got none")
