"""Where pictures and captions come from: one module a source, chosen by the configuration's name.

Every source answers the same four questions: what exactly is the data (`fingerprint`), is it here
(`missing`), what is in it (`open_split`), and which views are made of it (`views`). A plan asks the
first two only, so what needs numpy is imported by the last two, when they are called.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from uniclip.data.csv import source as csv
from uniclip.data.mix import source as mix
from uniclip.data.openmoji import source as openmoji
from uniclip.data.scenes import source as scenes
from uniclip.data.split import SPLIT_NAMES, Split, SplitName
from uniclip.errors import UserError, make_unknown_name_error

if TYPE_CHECKING:
    from uniclip.augmentation.transform import AugmentationParams
    from uniclip.rng import UInt64

__all__ = [
    "SPLIT_NAMES",
    "SplitName",
    "Split",
    "fingerprint",
    "describe_missing",
    "open_split",
    "sample_view",
]

SOURCES: dict[str, ModuleType] = {
    "openmoji": openmoji,
    "scenes": scenes,
    "csv": csv,
    "mix": mix,
}

ViewKind = Literal["weak", "strong", "evaluation"]


def fingerprint(config: Any) -> dict[str, Any]:
    """What the data is, as plain JSON; reads no pictures. `config`: one of `config.DATA`."""
    fingerprint_data: dict[str, Any] = SOURCES[config.name].fingerprint(config)
    return fingerprint_data


def describe_missing(config: Any) -> str | None:
    """None if the data is here, else one line that says how to get it."""
    install_hint: str | None = SOURCES[config.name].describe_missing(config)
    return install_hint


def open_split(config: Any, split_name: SplitName) -> Split:
    """One part of the data, pictures read on demand; `UserError` if the data isn't here."""
    if split_name not in SPLIT_NAMES:
        raise make_unknown_name_error("split", split_name, SPLIT_NAMES)
    install_hint = describe_missing(config)
    if install_hint is not None:
        raise UserError(f"data={config.name} is missing: {install_hint}")
    split: Split = SOURCES[config.name].open_split(config, split_name)
    return split


def sample_view(
    config: Any,
    kind: ViewKind,
    key: int,
    ids: UInt64,
    identity_prob: float,
    min_crop_scale: float = 0.2,
) -> AugmentationParams:
    """The transforms of one view of samples `ids` (n,); scenes damage what they are told to.

    identity, crop: as in `config.ViewsConfig`; scenes have no such crops.
    """
    from uniclip.augmentation import transform
    from uniclip.data.scenes import views as scene_views

    if config.name == "scenes":
        return scene_views.sample_scene_view(config, kind, key, ids, identity_prob)
    if kind == "evaluation":
        return transform.build_evaluation_params(len(ids))
    if kind == "weak":
        return transform.sample_weak(key, ids, identity_prob)
    return transform.sample_strong(key, ids, identity_prob, min_crop_scale)
