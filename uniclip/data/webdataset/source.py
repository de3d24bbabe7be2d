"""Image-text pairs in WebDataset shards, as img2dataset writes them; read in place.

What the data are is the names and sizes of the shards, as a plan must know them at once, and with
`data.verify=true` their bytes; where they lie is not part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.config import ModelConfig, WebdatasetData
from uniclip.data import views
from uniclip.data.source import DataWarning
from uniclip.data.split import SourceShare
from uniclip.data.webdataset import paths
from uniclip.data.webdataset.labelled_sources import (
    describe_labelled,
    list_labelled_files,
    list_labelled_sources,
)
from uniclip.errors import UserError
from uniclip.io import file_digests
from uniclip.io.hashing import digest
from uniclip.io.rgb_image import IMAGE_RULE

if TYPE_CHECKING:
    from uniclip.data.split import Split, SplitName

SPLIT_RULE = "webdataset/1: hash of the name of the image"
EXAMPLES = "folder, tar file, glob or brace range such as shards/{00000..01242}.tar"


sample_view = views.sample_view


def fingerprint(config: WebdatasetData) -> dict[str, object]:
    """Return number, size and a digest of the names and sizes of the shards.

    With `verify`, a digest of the bytes of all shards and labelled images too.

    Raises:
        UserError: A shard is missing, or with `verify` cannot be read.
    """
    shards = paths.list_shards(config.path)
    return {
        "source": "webdataset",
        "split": SPLIT_RULE,
        "shards": {
            "number": len(shards),
            "bytes": sum(shard.size for shard in shards),
            "digest": digest([[s.source, s.name, s.size] for s in shards], 32),
        },
        **({"ids": paths.SEVERAL_SOURCES_RULE} if paths.has_several_sources(shards) else {}),
        "image_size": config.image_size,
        "image_rule": IMAGE_RULE,
        **({"labelled": describe_labelled(config)} if config.labelled_path else {}),
        **(_digest_bytes(config) if config.verify else {}),
    }


def _digest_bytes(config: WebdatasetData) -> dict[str, str]:
    """Return 32 hex digits over the bytes of all shards, and over those of labelled images.

    A file is read once: its digest is kept in the user's cache folder until the file changes.
    """

    def digest_all(files: list[Path]) -> str:
        try:
            digests = file_digests.digest_files(files, file_digests.name_memo(*files))
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({error.strerror})") from None
        return digest(digests, 32)

    shards = [Path(shard.path) for shard in paths.list_shards(config.path)]
    name = f"bytes of {config.path}"
    contents = {"content": paths.get_listing(name, lambda: digest_all(shards))}
    if config.labelled_path:
        contents["labelled_content"] = paths.get_listing(
            f"bytes of labelled {config.labelled_path}",
            lambda: digest_all(list_labelled_files(config)),
        )
    return contents


def identify_content(config: WebdatasetData, builds_index: bool) -> dict[str, str]:
    """Return what the fingerprint leaves out, as `uniclip.data.identify_content` does."""
    if config.verify:
        return {}
    from uniclip.data.webdataset import content  # imports numpy: see `uniclip.data`

    return content.identify_content(config, builds_index)


def describe_missing(config: WebdatasetData) -> str | None:
    """Return what to do if there are no shards, or None."""
    if not config.path:
        return f"name your shards with data.path=<{EXAMPLES}>"
    try:
        paths.list_shards(config.path)
        describe_labelled(config)
    except UserError as error:
        return str(error)
    return None


def describe_content(config: WebdatasetData, model: ModelConfig) -> list[str]:
    """Return what the user should know of the shards; `UserError` if they cannot be used."""
    return [
        describe_fingerprint(config),
        *paths.describe_compressed(config.path),
        *_describe_labelled_identity(config),
        *_describe_index(config, model),
    ]


def describe_fingerprint(config: WebdatasetData) -> str:
    """Return one sentence on what the identity of the shards rests on."""
    shards = paths.list_shards(config.path)
    total_gb = sum(shard.size for shard in shards) / 1e9
    noun = "shard" if len(shards) == 1 else "shards"
    rest = (
        "names, sizes and bytes of the shards (data.verify=true)"
        if config.verify
        else "names and sizes of the shards, not by what they hold (data.verify=true includes it)"
    )
    return f"{len(shards)} {noun}, {total_gb:.3g} GB: the data are identified by the {rest}"


def _describe_labelled_identity(config: WebdatasetData) -> list[str]:
    """Return what the identity of labelled images rests on."""
    if not config.labelled_path:
        return []
    are_folders = {source.is_folder for source in list_labelled_sources(config)}
    and_bytes = " and bytes" if config.verify else ""
    parts = [f"the names and sizes{and_bytes} of their shards"] * (False in are_folders)
    parts += [f"the names{and_bytes} of the files of their class folders"] * (True in are_folders)
    return [f"the labelled images are identified by {' and '.join(parts)}"]


def _describe_index(config: WebdatasetData, model: ModelConfig) -> list[str]:
    from uniclip.data.webdataset.index import find_index  # imports numpy: see `uniclip.data`

    index = find_index(config)
    if index is None:
        which = "" if config.where is None else " for this data.where"
        return [
            f"the shards are not indexed{which} yet: a run, or doctor, reads their headers once"
        ]
    from uniclip.data.webdataset import image_sizes, notes

    return [
        *notes.describe_index(config, index),
        *image_sizes.describe_small_images(index, model.image.image_size),
    ]


def list_warnings(config: WebdatasetData, model: ModelConfig) -> list[DataWarning]:
    """Return what the user should change; the shards are indexed if they are not.

    Raises:
        UserError: The shards cannot be used.
    """
    from uniclip.data.webdataset import notes

    return notes.list_warnings(config, model.text)


def count_training_samples(config: WebdatasetData, enough: int) -> Sequence[SourceShare] | None:
    """Return the shares of the training split; None, unknown, if there is no index yet."""
    from uniclip.data.webdataset.index import find_index  # imports numpy: see `uniclip.data`

    index = find_index(config)
    if index is None:
        return None
    from uniclip.data.webdataset import assignment

    (num_pairs,) = assignment.count_training_before(config, index, [len(index)])
    shares = assignment.divide_sources(config, index)
    if not config.labelled_path:
        return shares or [SourceShare(0, num_pairs, 1.0)]
    from uniclip.data.webdataset.labelled_images import find_labelled_images

    labelled = find_labelled_images(config)
    if labelled is None:
        return None
    num_samples = num_pairs + sum(map(len, labelled))
    return assignment.divide_batch(config, shares, num_pairs, num_samples)


def open_split(config: WebdatasetData, split_name: SplitName) -> Split:
    """Return one split.

    Raises:
        UserError: The shards cannot be used.
        DataChangedError: A shard was changed while it was read.
    """
    from uniclip.data.webdataset import split  # imports numpy: see `uniclip.data`

    opened = split.open_split(config, split_name)
    if split_name != "train" or not config.labelled_path:
        return opened
    from uniclip.data.webdataset.mixed_split import mix_labelled_images

    return mix_labelled_images(config, opened)
