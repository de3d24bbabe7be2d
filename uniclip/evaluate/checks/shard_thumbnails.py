"""The optional pass that decodes all images of shards once, for the search for copies among them.

Without it, evaluations of models that are trained on shards do not look for near-duplicates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context

import numpy as np
from PIL import Image

from uniclip.config import WebdatasetData
from uniclip.config.cores import count_process_cores
from uniclip.data.image_files import ImageFileSplit
from uniclip.data.webdataset import thumbnails
from uniclip.data.webdataset.assignment import assign_rows
from uniclip.data.webdataset.index import find_index, open_index
from uniclip.data.webdataset.labelled_images import find_labelled_images, open_labelled_images
from uniclip.data.webdataset.split import open_all_images
from uniclip.data.webdataset.thumbnails import StoredImages
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

    With `data.labelled_path`, those of the labelled images, too.

    Raises:
        UserError: The shards cannot be used, or the cache folder cannot be written.
    """
    index = open_index(config)
    sources: list[tuple[StoredImages, ImageFileSplit]] = [
        (index, open_all_images(index, IMAGE_SIZE))
    ]
    for images in open_labelled_images(config):
        ids = np.arange(len(images), dtype=np.uint64)
        sources.append((images, images.open_split(replace(config, image_size=IMAGE_SIZE), ids)))
    missing = [
        (number, chunk)
        for number, (images, _) in enumerate(sources)
        for chunk in thumbnails.list_missing_chunks(images)
    ]
    total = sum(thumbnails.count_chunks(images) for images, _ in sources)
    num_samples = sum(len(images) for images, _ in sources)
    if not missing:
        return num_samples
    num_processes = min(count_process_cores(), len(missing))
    with ProcessPoolExecutor(num_processes, mp_context=get_context("fork")) as pool:
        results = pool.map(partial(_make_chunk, sources), missing)
        for num_done, _ in enumerate(results, total - len(missing) + 1):
            report_progress(num_done, total)
    return num_samples


def find_training_thumbnails(config: WebdatasetData) -> Callable[[], GreyThumbnails] | None:
    """Return a function that reads the thumbnails of the training images (n, 8, 9).

    They are 0 for images that cannot be read. None if some have not been made.
    """
    index, labelled = find_index(config), find_labelled_images(config)
    if index is None or labelled is None:
        return None
    sources: list[StoredImages] = [index, *labelled]
    if any(map(thumbnails.list_missing_chunks, sources)):
        return None

    def read() -> GreyThumbnails:
        pairs = thumbnails.read_thumbnails(index, assign_rows(config, index)["train"])
        rows = [np.arange(len(images), dtype=np.uint32) for images in labelled]
        return np.concatenate([pairs, *map(thumbnails.read_thumbnails, labelled, rows)])

    return read


def find_test_thumbnails(config: WebdatasetData) -> Callable[[], GreyThumbnails] | None:
    """Return the same for the test split of the shards."""
    index = find_index(config)
    if index is None or thumbnails.list_missing_chunks(index):
        return None
    return lambda: thumbnails.read_thumbnails(index, assign_rows(config, index)["test"])


def _make_chunk(
    sources: Sequence[tuple[StoredImages, ImageFileSplit]], number_and_chunk: tuple[int, int]
) -> None:
    number, chunk = number_and_chunk
    images, split = sources[number]
    rows = thumbnails.get_chunk_rows(images, chunk)
    chunk_thumbnails = np.zeros((len(rows), *thumbnails.SHAPE), np.uint8)
    for i, row in enumerate(rows):
        image = split.load_image(row)
        if image is not None:
            chunk_thumbnails[i] = compute_thumbnail(Image.fromarray(image.transpose(1, 2, 0)))
    try:
        thumbnails.write_chunk(images, chunk, chunk_thumbnails)
    except OSError as error:
        folder = images.folder.parent
        raise UserError(f"{folder} cannot be written ({error.strerror or error})") from None
