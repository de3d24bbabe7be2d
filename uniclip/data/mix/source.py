"""Image-text and image-label data in one batch, as UniCL (Yang et al., CVPR 2022) is trained.

The pairs are OpenMoji's pictures with their names. The labelled pictures are scikit-learn's digits
and OpenMoji's categories, whose class names become captions through prompt templates, one drawn a
sample and epoch. For validation and test it is OpenMoji.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniclip.config import MixData, OpenmojiData
from uniclip.data.openmoji import source
from uniclip.identity import library_version

if TYPE_CHECKING:
    from uniclip.data.split import Part, Split

PACKAGE = "scikit-learn"
TEMPLATES = (
    "{}",
    "a {}",
    "a picture of a {}",
    "a drawing of a {}",
    "a small picture of a {}",
    "this is a {}",
    "one of the {}",
)
"""Ours: the published ones speak of photographs."""


def pairs(config: MixData) -> OpenmojiData:
    """The image-text part's own section."""
    return OpenmojiData(size=config.size)


def fingerprint(config: MixData) -> dict[str, object]:
    """The parts' own, and the templates."""
    return {
        "source": "mix/1",
        "pairs": source.fingerprint(pairs(config)),
        "digits": library_version(PACKAGE),
        "templates": list(TEMPLATES),
    }


def missing(config: MixData) -> str | None:
    """The pip line that brings absent packages."""
    if "digits" in config.labels and library_version(PACKAGE) == "absent":
        return f"pip install {PACKAGE}"
    return source.missing(pairs(config))


def open_split(config: MixData, part: Part) -> Split:
    """One part; the training part has a portion of pairs, and one of labelled pictures."""
    if part != "train":
        return source.open_split(pairs(config), part)
    from uniclip.data.mix import split  # here: see `uniclip.data`

    return split.open_train(config)
