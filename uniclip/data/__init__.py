"""Sources of images and captions: a module each, chosen by the name of the data section.

A source answers four questions (`DataSource`): what exactly the data is, whether it is present,
what its splits hold, and which views are made of its images. Planning asks the first two only; code
that needs numpy is therefore imported when a split is opened or a view is sampled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uniclip.data.csv import source as csv
from uniclip.data.mix import source as mix
from uniclip.data.openmoji import source as openmoji
from uniclip.data.scenes import source as scenes
from uniclip.data.split import SPLIT_NAMES, Split, SplitName
from uniclip.data.views import ViewKind
from uniclip.errors import UserError, make_unknown_name_error

if TYPE_CHECKING:
    from uniclip.augmentation.transform import AugmentationParams
    from uniclip.config import DataConfig
    from uniclip.data.source import DataSource
    from uniclip.rng import UInt64

__all__ = [
    "SOURCES",
    "SPLIT_NAMES",
    "Split",
    "SplitName",
    "ViewKind",
    "describe_missing",
    "fingerprint",
    "open_split",
    "sample_view",
]

# Any: each source takes its own class of configuration.
SOURCES: dict[str, DataSource[Any]] = {
    "openmoji": openmoji,
    "scenes": scenes,
    "csv": csv,
    "mix": mix,
}
"""Name of a data section -> the module of its source."""


def fingerprint(config: DataConfig) -> dict[str, object]:
    """Return a description of the data as plain JSON, without reading images.

    Args:
        config: A data section.
    """
    return SOURCES[config.name].fingerprint(config)


def describe_missing(config: DataConfig) -> str | None:
    """Return one line on how to get missing data, or None if it is present."""
    return SOURCES[config.name].describe_missing(config)


def open_split(config: DataConfig, split_name: SplitName) -> Split:
    """Return one split of the data; its images are read on demand.

    Raises:
        UserError: The data is missing, or there is no such split.
    """
    if split_name not in SPLIT_NAMES:
        raise make_unknown_name_error("split", split_name, SPLIT_NAMES)
    install_hint = describe_missing(config)
    if install_hint is not None:
        raise UserError(f"data={config.name} is missing: {install_hint}")
    return SOURCES[config.name].open_split(config, split_name)


def sample_view(
    config: DataConfig,
    kind: ViewKind,
    key: int,
    ids: UInt64,
    identity_prob: float,
    min_crop_scale: float = 0.2,
) -> AugmentationParams:
    """Return the augmentation parameters of one view of the samples `ids` (n,).

    Args:
        config: A data section.
        kind: Weak, strong, or the evaluation transform.
        key: Key of the random stream.
        ids: (n,) uint64.
        identity_prob: Probability that a view is the evaluation transform.
        min_crop_scale: Smallest area of a strong crop; scenes do not use it.
    """
    return SOURCES[config.name].sample_view(config, kind, key, ids, identity_prob, min_crop_scale)
