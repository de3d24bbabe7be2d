"""The labelled images that are mixed with pairs: shards with classes, or folders of classes.

What the images are is the names and sizes of the shards, the names of the files in class folders,
and the content of the files of class names; with `data.verify=true` the bytes of all images too.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from uniclip.config import WebdatasetData
from uniclip.config.data import split_sources
from uniclip.data.csv.columns import IMAGE_SUFFIXES
from uniclip.data.webdataset import paths
from uniclip.data.webdataset.class_names import CLASS_NAMES_KEY, list_name_files
from uniclip.errors import UserError
from uniclip.io.atomic import resolve_staged_path
from uniclip.io.hashing import digest

LABELLED_KEY = "data.labelled_path"


@dataclass(frozen=True)
class ClassFolder:
    """A folder whose images are those of one class."""

    key: str
    """Its name."""
    files: tuple[str, ...]
    """Its images, also in folders below it, sorted; relative to the folder of all classes."""


@dataclass(frozen=True)
class LabelledSource:
    """One source of labelled images."""

    path: str
    """As `data.labelled_path` names it."""
    names_path: str
    """The file of class names; "" = none."""
    number: int
    """Its number among the sources, from 0 on."""
    is_folder: bool
    """Whether it is a folder of class folders and not shards."""


def list_labelled_sources(config: WebdatasetData) -> list[LabelledSource]:
    """Return the labelled sources of a data section."""
    return [
        LabelledSource(
            path, str(resolve_staged_path(names)) if names else "", number, _is_folder(path)
        )
        for number, (path, names) in enumerate(
            zip(split_sources(config.labelled_path), list_name_files(config))
        )
    ]


def _is_folder(path: str) -> bool:
    folder = os.path.expanduser(path)
    return os.path.isdir(folder) and not glob.glob(os.path.join(glob.escape(folder), "*.tar"))


def list_class_folders(path: str) -> tuple[ClassFolder, ...]:
    """Return the class folders of a folder, sorted; files that are no images are left out.

    Raises:
        UserError: There is none, it cannot be read, or one has no images.
    """
    return paths.get_listing(f"class folders of {path}", lambda: _list_class_folders(path))


def _list_class_folders(path: str) -> tuple[ClassFolder, ...]:
    root = locate_folder(path)
    try:
        keys = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    except OSError as error:
        raise UserError(f"{LABELLED_KEY}={path} cannot be read ({error.strerror})") from None
    folders = [ClassFolder(key, tuple(sorted(_list_images(root, key)))) for key in keys]
    empty = [folder.key for folder in folders if not folder.files]
    if empty or not folders:
        problem = f"has no image in its class folder {empty[0]}" if empty else "has no class folder"
        raise UserError(
            f"{LABELLED_KEY}={path} {problem}; name shards with cls members, or a folder that has "
            "a folder of images for each class"
        )
    return tuple(folders)


def locate_folder(path: str) -> str:
    """Return where the folder of class folders is read: its copy on this node, if it is staged."""
    return str(resolve_staged_path(os.path.expanduser(path)))


def _list_images(root: str, key: str) -> Iterator[str]:
    for folder, _, names in os.walk(os.path.join(root, key), followlinks=True):
        relative = os.path.relpath(folder, root)
        for name in names:
            if name.lower().endswith(IMAGE_SUFFIXES):
                yield f"{relative}/{name}"


def describe_labelled(config: WebdatasetData) -> list[dict[str, object]]:
    """Return what the labelled images of a data section are, as plain JSON: an entry a source.

    Raises:
        UserError: They are missing, or a file of class names cannot be read.
    """
    return [_describe_source(source) for source in list_labelled_sources(config)]


def list_labelled_files(config: WebdatasetData) -> list[Path]:
    """Return the shards and image files of all labelled sources; raises as `describe_labelled`."""
    files: list[Path] = []
    for source in list_labelled_sources(config):
        if source.is_folder:
            root = locate_folder(source.path)
            folders = list_class_folders(source.path)
            files += [Path(root, file) for folder in folders for file in folder.files]
        else:
            files += [Path(shard.path) for shard in paths.list_shards(source.path, LABELLED_KEY)]
    return files


def _describe_source(source: LabelledSource) -> dict[str, object]:
    content: dict[str, object] = {}
    if source.is_folder:
        folders = list_class_folders(source.path)
        names_hash = blake2b(digest_size=16)
        for folder in folders:
            for file in folder.files:
                names_hash.update(os.fsencode(file) + b"\0")
        content["images"] = sum(len(folder.files) for folder in folders)
        content["digest"] = names_hash.hexdigest()
    else:
        shards = paths.list_shards(source.path, LABELLED_KEY)
        content["shards"] = len(shards)
        content["bytes"] = sum(shard.size for shard in shards)
        content["digest"] = digest([[s.name, s.size] for s in shards], 32)
    if source.number:
        content["ids"] = paths.SEVERAL_SOURCES_RULE
    if source.names_path:
        content["class_names"] = _digest_names(source.names_path)
    return content


def _digest_names(path: str) -> str:
    try:
        return blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise UserError(f"{CLASS_NAMES_KEY}={path} cannot be read ({error.strerror})") from None
