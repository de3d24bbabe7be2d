"""Labelled images of shards and class folders: how many there are, and the class of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.config import WebdatasetData
from uniclip.data.image_files import ImageFileSplit
from uniclip.data.webdataset.assignment import check_broken
from uniclip.data.webdataset.class_names import find_class_names
from uniclip.data.webdataset.index import FOLDER, IndexRequest, ShardIndex, find_index, open_index
from uniclip.data.webdataset.labelled_sources import (
    LABELLED_KEY,
    ClassFolder,
    LabelledSource,
    list_class_folders,
    list_labelled_sources,
    locate_folder,
)
from uniclip.data.webdataset.sample_ids import add_source
from uniclip.data.webdataset.scan import CLASS_EXTENSION
from uniclip.data.webdataset.split import open_all_images
from uniclip.io.hashing import digest
from uniclip.io.memo import get_cache_folder
from uniclip.io.packed_texts import PackedTexts


@dataclass(frozen=True)
class LabelledImages:
    """The images of one source: of an index of shards, or of class folders."""

    source: LabelledSource
    index: ShardIndex | None
    """The index of its shards, whose texts are classes."""
    folders: tuple[ClassFolder, ...]
    """Its class folders."""

    def __len__(self) -> int:
        return int(self.get_group_starts()[-1])

    @property
    def num_broken(self) -> int:
        """Samples of its shards that cannot be used."""
        return 0 if self.index is None else self.index.summary.num_broken

    def get_group_starts(self) -> NDArray[np.int64]:
        """Return (g + 1,) the first image of each shard or class folder, and their number."""
        if self.index is not None:
            return self.index.first_samples
        return np.cumsum([0, *(len(folder.files) for folder in self.folders)])

    def name_classes(self) -> dict[str, str]:
        """Return the key of each class and its name, sorted by key; `UserError` if one has none."""
        if self.index is None:
            keys = [folder.key for folder in self.folders]
        else:
            keys = sorted(set(self.index.iterate_captions(0, len(self))))
        return find_class_names(self.source.names_path, keys, numbered=self.index is not None)

    def iterate_classes(self) -> Iterator[str]:
        """Yield the key of the class of each image."""
        if self.index is not None:
            yield from self.index.iterate_captions(0, len(self))
        for folder in self.folders:
            for _ in folder.files:
                yield folder.key

    def get_ids(self) -> rng.UInt64:
        """Return the id of each image, of its name and the number of the source: (n,)."""
        if self.index is not None:
            return add_source(self.index.ids, self.source.number)
        files = [file for folder in self.folders for file in folder.files]
        hashes = [rng.hash_sample_id(f"labelled/{file!r}") for file in files]
        return add_source(np.array(hashes, np.uint64), self.source.number)

    @cached_property
    def folder(self) -> Path:
        """The folder beside which what is made of the images is stored, in the user's cache."""
        if self.index is not None:
            return self.index.folder
        files = [file for folder in self.folders for file in folder.files]
        name = digest([locate_folder(self.source.path), files], 32)
        return get_cache_folder() / FOLDER / f"labelled-{name}"

    def open_split(self, config: WebdatasetData, ids: rng.UInt64) -> ImageFileSplit:
        """Return all images as a split; `ids` (n,)."""
        if self.index is None:
            files = PackedTexts.pack(file for folder in self.folders for file in folder.files)
            return FolderSplit(
                ids=ids,
                captions=(),
                sample_names=files,
                root=locate_folder(self.source.path),
                image_size=config.image_size,
            )
        return replace(open_all_images(self.index, config.image_size), ids=ids)


@dataclass(frozen=True, kw_only=True)
class FolderSplit(ImageFileSplit):
    """Images of class folders; their names are their files."""

    root: str
    """The folder of the class folders."""

    def name_image(self, i: int) -> str:
        """Return the file of an image."""
        return f"{self.root}/{self.sample_names[i]}"

    def get_image_file(self, i: int) -> Path:
        """Return the file of an image."""
        return Path(self.root, self.sample_names[i])


def open_labelled_images(config: WebdatasetData) -> list[LabelledImages]:
    """Return the labelled images of each source; shards are indexed if they are not.

    Raises:
        UserError: A source is missing, or too many of its samples cannot be used.
    """
    labelled = []
    for source in list_labelled_sources(config):
        if source.is_folder:
            labelled.append(LabelledImages(source, None, list_class_folders(source.path)))
        else:
            index = open_index(request_classes(source))
            check_broken(config, index, source.path)
            labelled.append(LabelledImages(source, index, ()))
    return labelled


def find_labelled_images(config: WebdatasetData) -> list[LabelledImages] | None:
    """Return the labelled images of each source, or None if shards are not indexed yet."""
    sources = list_labelled_sources(config)
    if any(not s.is_folder and find_index(request_classes(s)) is None for s in sources):
        return None
    return open_labelled_images(config)


def request_classes(source: LabelledSource) -> IndexRequest:
    """Return how the shards of a labelled source are indexed."""
    return IndexRequest(source.path, text_extension=CLASS_EXTENSION, path_key=LABELLED_KEY)
