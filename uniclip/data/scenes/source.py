"""Synthetic scenes with known content: one to three copies of a shape on a noisy grey background.

A scene has six attributes, each a word of its caption (`attributes`). `draw` draws it with
position, exact size, brightness, the phase of stripes and noise as nuisance variables; `views`
damages chosen attributes; `split` defines the scenes of each split. Our own design, made to plant
effects; it follows no published data set.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from uniclip.config import ModelConfig, ScenesData
from uniclip.data.source import DataWarning
from uniclip.data.split import SourceShare
from uniclip.data.text.truncation import RAISE_CONTEXT, describe_short_context

if TYPE_CHECKING:
    from uniclip.augmentation.transform import AugmentationParams
    from uniclip.data.split import Split, SplitName
    from uniclip.data.views import ViewKind
    from uniclip.rng import UInt64

_GENERATOR_VERSION = 1
"""Increased when the same configuration gives other images, captions or splits."""


def fingerprint(config: ScenesData) -> dict[str, object]:
    """Return the generator's version (everything else is in the configuration)."""
    return {"source": "scenes", "format": _GENERATOR_VERSION}


def describe_missing(config: ScenesData) -> None:
    """Return None: the images are generated."""
    return None


def describe_content(config: ScenesData, model: ModelConfig) -> list[str]:
    """Return what the user should know: captions that a short context cuts."""
    return describe_short_context(model.text, partial(open_split, config))


def list_warnings(config: ScenesData, model: ModelConfig) -> list[DataWarning]:
    """Return the same, with what to do."""
    return [DataWarning(s, RAISE_CONTEXT) for s in describe_content(config, model)]


def count_training_samples(config: ScenesData, enough: int) -> list[SourceShare]:
    """Return the share of all training samples."""
    return [SourceShare(0, config.num_train, 1.0)]


def open_split(config: ScenesData, split_name: SplitName) -> Split:
    """Return one split; training captions may describe other scenes or omit attributes."""
    from uniclip.data.scenes import split  # imports numpy: see `uniclip.data`

    return split.open_split(config, split_name)


def sample_view(
    config: ScenesData,
    kind: ViewKind,
    key: int,
    ids: UInt64,
    identity_prob: float,
    min_crop_scale: float,
) -> AugmentationParams:
    """Return the parameters of one view, damaged as `config` says; `min_crop_scale` is not used."""
    from uniclip.data.scenes import views  # imports numpy: see `uniclip.data`

    return views.sample_scene_view(config, kind, key, ids, identity_prob)
