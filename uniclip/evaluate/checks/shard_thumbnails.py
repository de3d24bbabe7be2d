"""The optional pass that decodes all images of shards once, for the search for copies among them.

Without it, evaluations of models that are trained on shards do not look for near-duplicates.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
from PIL import Image

from uniclip.config import WebdatasetData
from uniclip.config.cores import count_process_cores
from uniclip.data.webdataset import thumbnails
from uniclip.data.webdataset.assignment import assign_rows
from uniclip.data.webdataset.index import find_index, open_index
from uniclip.data.webdataset.split import WebdatasetSplit, open_all_images
from uniclip.errors import UserError
from uniclip.evaluate.checks.near_duplicates import GreyThumbnails, compute_thumbnail

IMAGE_SIZE = 64
"""Side of the square that is decoded of each image, in pixels."""

ReportProgress = Callable[[int, int], object]
"""Is told how many chunks are done, of how many."""


def make_thumbnails(
    config: WebdatasetData, report_progress: ReportProgress = lambda done, total: None
) -> int:
    """Make the thumbnails of all samples that are missing; return the number of samples.

    Raises:
        UserError: The shards cannot be used, or the cache folder cannot be written.
    """
    index = open_index(config)
    split = open_all_images(index, IMAGE_SIZE)
    missing, total = thumbnails.list_missing_chunks(index), thumbnails.count_chunks(index)
    if not missing:
        return len(index)
    num_processes = min(count_process_cores(), len(missing))
    with ProcessPoolExecutor(num_processes, mp_context=get_context("fork")) as pool:
        results = pool.map(partial(_make_chunk, split), missing)
        for num_done, _ in enumerate(results, total - len(missing) + 1):
            report_progress(num_done, total)
    return len(index)


def find_training_thumbnails(config: WebdatasetData) -> Callable[[], GreyThumbnails] | None:
    """Return a function that reads the thumbnails of the training images (n, 8, 9).

    They are 0 for images that cannot be read. None if some have not been made.
    """
    index = find_index(config)
    if index is None or thumbnails.list_missing_chunks(index):
        return None
    return lambda: thumbnails.read_thumbnails(index, assign_rows(config, index)["train"])


def _make_chunk(split: WebdatasetSplit, chunk: int) -> None:
    rows = thumbnails.get_chunk_rows(split.index, chunk)
    chunk_thumbnails = np.zeros((len(rows), *thumbnails.SHAPE), np.uint8)
    for i, row in enumerate(rows):
        image = split.load_image(row)
        if image is not None:
            chunk_thumbnails[i] = compute_thumbnail(Image.fromarray(image.transpose(1, 2, 0)))
    try:
        thumbnails.write_chunk(split.index, chunk, chunk_thumbnails)
    except OSError as error:
        folder = split.index.folder.parent
        raise UserError(f"{folder} cannot be written ({error.strerror or error})") from None
