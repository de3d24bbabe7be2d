"""Image-text and image-label data in one batch, as UniCL (Yang et al., CVPR 2022) is trained.

The pairs are OpenMoji's images with their names. The labelled images are scikit-learn's digits and
OpenMoji's categories, whose class names become captions through prompt templates, one drawn for
each sample and epoch. Validation and test are OpenMoji's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from uniclip.config import MixData, ModelConfig
from uniclip.data import views
from uniclip.data.mix.templates import PROMPT_TEMPLATES, build_pairs_config
from uniclip.data.openmoji import source as openmoji
from uniclip.data.source import DataWarning
from uniclip.data.text.truncation import RAISE_CONTEXT, describe_short_context
from uniclip.io.hashing import get_library_version

if TYPE_CHECKING:
    from uniclip.data.split import SourceShare, Split, SplitName

DIGITS_PACKAGE = "scikit-learn"

LEAST_TRAINING_SAMPLES = 1_000
"""The pairs and each source of labelled images are more; they are not opened to count them."""

sample_view = views.sample_view


def fingerprint(config: MixData) -> dict[str, object]:
    """Return the fingerprints of the parts, and the prompt templates."""
    return {
        "source": "mix/1",
        "pairs": openmoji.fingerprint(build_pairs_config(config)),
        "digits": get_library_version(DIGITS_PACKAGE),
        "templates": list(PROMPT_TEMPLATES),
    }


def describe_missing(config: MixData) -> str | None:
    """Return the pip command that installs missing packages, or None."""
    if "digits" in config.label_sources and get_library_version(DIGITS_PACKAGE) == "absent":
        return f"pip install {DIGITS_PACKAGE}"
    return openmoji.describe_missing(build_pairs_config(config))


def describe_content(config: MixData, model: ModelConfig) -> list[str]:
    """Return what the user should know: captions that a short context cuts."""
    return describe_short_context(model.text, partial(open_split, config))


def list_warnings(config: MixData, model: ModelConfig) -> list[DataWarning]:
    """Return the same, with what to do."""
    return [DataWarning(s, RAISE_CONTEXT) for s in describe_content(config, model)]


def count_training_samples(config: MixData, enough: int) -> Sequence[SourceShare] | None:
    """Return the shares of pairs and labelled images, or None if there are `enough` of both."""
    if enough <= LEAST_TRAINING_SAMPLES:
        return None
    return open_split(config, "train").source_shares


def open_split(config: MixData, split_name: SplitName) -> Split:
    """Return one split; the training split has a share of pairs and one of labelled images."""
    if split_name != "train":
        return openmoji.open_split(build_pairs_config(config), split_name)
    from uniclip.data.mix import split  # imports numpy: see `uniclip.data`

    return split.open_train_split(config)
