"""Image-text and image-label data in one batch, as UniCL (Yang et al., CVPR 2022) is trained.

The pairs are OpenMoji's pictures with their names. The labelled pictures are scikit-learn's digits
and OpenMoji's categories, whose class names become captions through prompt templates, one drawn a
sample and epoch. For validation and test it is OpenMoji.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniclip.config import MixData
from uniclip.data.mix.templates import PROMPT_TEMPLATES, build_pairs_config
from uniclip.data.openmoji import source as openmoji
from uniclip.io.hashing import get_library_version

if TYPE_CHECKING:
    from uniclip.data.split import Split, SplitName

DIGITS_PACKAGE = "scikit-learn"


def fingerprint(config: MixData) -> dict[str, object]:
    """The parts' own, and the templates."""
    return {
        "source": "mix/1",
        "pairs": openmoji.fingerprint(build_pairs_config(config)),
        "digits": get_library_version(DIGITS_PACKAGE),
        "templates": list(PROMPT_TEMPLATES),
    }


def describe_missing(config: MixData) -> str | None:
    """The pip line that brings absent packages."""
    if "digits" in config.label_sources and get_library_version(DIGITS_PACKAGE) == "absent":
        return f"pip install {DIGITS_PACKAGE}"
    return openmoji.describe_missing(build_pairs_config(config))


def open_split(config: MixData, split_name: SplitName) -> Split:
    """One part; the training part has a portion of pairs, and one of labelled pictures."""
    if split_name != "train":
        return openmoji.open_split(build_pairs_config(config), split_name)
    from uniclip.data.mix import split  # here: see `uniclip.data`

    return split.open_train_split(config)
