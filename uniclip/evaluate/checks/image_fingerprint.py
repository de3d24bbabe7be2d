"""What the images of a split of training data depend on: the key of the searches for copies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uniclip import data
from uniclip.config import WebdatasetData

if TYPE_CHECKING:
    from uniclip.config import DataConfig
    from uniclip.data.split import SplitName

_SHARD_KEYS = ("where", "validation_fraction", "test_fraction", "max_held_out")
_SELECTION_KEYS = {
    "webdataset": _SHARD_KEYS,
    "huggingface": (*_SHARD_KEYS, "caption_column", "label_column", "key_column", "image_column"),
}
"""Keys of the sections of shards and of embedded images that select the samples of a split."""


def fingerprint_images(data_config: DataConfig, split_name: SplitName) -> dict[str, Any]:
    """Return what the images of a split depend on, as plain JSON.

    Besides the fingerprint of the data, these are the keys that select the samples of shards and of
    embedded images, and the times at which the images of a user's table were changed.
    """
    content = {**data.fingerprint(data_config), "split": split_name}
    if keys := _SELECTION_KEYS.get(data_config.name):
        selection = {key: getattr(data_config, key) for key in keys}
        if split_name != "train":
            selection["where"] = None  # it selects training samples only
        if isinstance(data_config, WebdatasetData):
            selection |= _identify_shards(data_config)
        return {**content, **selection}
    if data_config.name != "csv":
        return content
    from uniclip.evaluate.features import split_features  # here: it imports numpy

    split = split_features.open_split_cached(data_config, split_name)
    return {**content, "files": split.compute_files_digest()}


def _identify_shards(config: WebdatasetData) -> dict[str, Any]:
    """Return what else the images of shards depend on, as far as it is known."""
    min_side = {"min_side": config.min_side} if config.min_side else {}
    unfiltered = replace(config, where=None)  # a condition is a key of its own
    return {**min_side, "content": data.identify_content(unfiltered, builds_index=False)}
