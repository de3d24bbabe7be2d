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
from uniclip.data.split import PARTS, Part, Split
from uniclip.errors import UserError, unknown

if TYPE_CHECKING:
    from uniclip.augmentation.transform import Transform
    from uniclip.rng import UInt64

__all__ = ["PARTS", "Part", "Split", "fingerprint", "missing", "open_split", "views"]

SOURCES: dict[str, ModuleType] = {
    "openmoji": openmoji,
    "scenes": scenes,
    "csv": csv,
    "mix": mix,
}

View = Literal["weak", "strong", "evaluation"]


def fingerprint(config: Any) -> dict[str, Any]:
    """What the data is, as plain JSON; reads no pictures. `config`: one of `config.DATA`."""
    described: dict[str, Any] = SOURCES[config.name].fingerprint(config)
    return described


def missing(config: Any) -> str | None:
    """None if the data is here, else one line that says how to get it."""
    how: str | None = SOURCES[config.name].missing(config)
    return how


def open_split(config: Any, part: Part) -> Split:
    """One part of the data, pictures read on demand; `UserError` if the data isn't here."""
    if part not in PARTS:
        raise unknown("split", part, PARTS)
    how = missing(config)
    if how is not None:
        raise UserError(f"data={config.name} is missing: {how}")
    split: Split = SOURCES[config.name].open_split(config, part)
    return split


def views(
    config: Any, kind: View, key: int, ids: UInt64, identity: float, crop: float = 0.2
) -> Transform:
    """The transforms of one view of samples `ids` (n,); scenes damage what they are told to.

    identity, crop: as in `config.ViewsConfig`; scenes have no such crops.
    """
    from uniclip.augmentation import transform
    from uniclip.data.scenes import views as scene_views

    if config.name == "scenes":
        return scene_views.views(config, kind, key, ids, identity)
    if kind == "evaluation":
        return transform.evaluation(len(ids))
    if kind == "weak":
        return transform.weak(key, ids, identity)
    return transform.strong(key, ids, identity, crop)
