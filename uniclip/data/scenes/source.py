"""Pictures and captions whose truth is known: one to three copies of a shape on noisy grey ground.

A scene has six attributes, each a word of its caption (`scene_words`); `scene_pictures` draws it,
with position, exact size, brightness, stripes' phase and noise as nuisances; `scene_views` damages
it; `scene_split` says which scenes a part holds. Ours: built to plant effects, after no published
set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniclip.config import ScenesData

if TYPE_CHECKING:
    from uniclip.data.split import Split, SplitName

_GENERATOR_VERSION = 1
"""Raised when the same configuration gives other pictures, captions or parts."""


def fingerprint(config: ScenesData) -> dict[str, object]:
    """The generator's version (what it makes is in the configuration)."""
    return {"source": "scenes", "format": _GENERATOR_VERSION}


def describe_missing(config: ScenesData) -> None:
    """Nothing can be missing: the pictures are made here."""
    return None


def open_split(config: ScenesData, split_name: SplitName) -> Split:
    """One part; training captions may be those of other scenes, or leave words out."""
    from uniclip.data.scenes import split  # here: see `uniclip.data`

    return split.open_split(config, split_name)
