"""What timm says of an image model, without importing torch here: another process is asked once.

An answer holds for the versions of timm, torch and the question's code, and is kept in the user's
cache folder. The models of the presets are known: nobody is asked about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from uniclip.config.library_query import NoAnswerError, ask, recall_answer
from uniclip.config.timm_models import read_table, read_table_version
from uniclip.errors import make_unknown_name_error
from uniclip.io.hashing import get_library_version

PRESETS = Path(__file__).parents[1] / "conf" / "model"
QUERY_MODULE = "uniclip.models.image_query"
QUERY_VERSION = 4
"""Raised when the same question gets another answer."""
CACHE_KIND = "image-models"
QUERY_VERSIONS = (QUERY_VERSION, "timm", "torch")


@dataclass(frozen=True, kw_only=True)
class ImageModelFacts:
    """What is known of an image model with its options at an input size."""

    image_size: int | None = None
    """Side of the input, in pixels: the requested one, else the one the model was made for."""
    error: str | None = None
    """One line for the user if there is no such model, or options or size do not suit it."""
    has_batch_norm: bool = False
    has_patch_tokens: bool = False
    """Whether patches can be left out in training (`uniclip.models.patch_dropout`)."""
    crop_pct: float = 1.0
    """Share of an image's side that the evaluation of the pretrained model keeps."""
    interpolation: str = "bicubic"
    """How the evaluation of the pretrained model resizes images."""
    weights_repository: str | None = None
    """Repository of the Hugging Face hub that has the pretrained weights."""
    weights_url: str | None = None
    """Address of the pretrained weights, if it is another."""
    is_known: bool = True
    """Whether there is an answer; without one nothing is known to be wrong."""


def query_image_model(
    name: str, options: Mapping[str, Any], image_size: int | None, *, asks_always: bool = False
) -> ImageModelFacts:
    """Return what timm says of a model.

    Args:
        name: A timm model name.
        options: Keyword arguments of `timm.create_model`.
        image_size: Side of the input, in pixels; None = the one the model was made for.
        asks_always: Ask about the model of a preset too: for `has_batch_norm` and
            `has_patch_tokens`, and for what belongs to its pretrained weights.
    """
    if (unknown_name := _describe_unknown_name(name)) is not None:
        return ImageModelFacts(image_size=image_size, error=unknown_name)
    for preset in () if asks_always else _read_preset_images():
        preset_size = preset["image_size"]
        is_same = (preset["name"], preset.get("options", {})) == (name, options)
        if is_same and image_size in (preset_size, None):
            return ImageModelFacts(image_size=preset_size)
    question = {"name": name, "options": dict(options), "image_size": image_size}
    try:
        answer = recall_answer(CACHE_KIND, question, QUERY_VERSIONS, lambda: _ask(question))
        if image_size is None and (native_size := answer.get("image_size")) is not None:
            sized_question = {**question, "image_size": native_size}
            recall_answer(CACHE_KIND, sized_question, QUERY_VERSIONS, lambda: answer)
        return ImageModelFacts(**answer)
    except (NoAnswerError, TypeError):
        missing_size = (
            f"the input size of model.image.name={name} is not known (timm could not be asked): "
            "set model.image.image_size"
        )
        return ImageModelFacts(
            image_size=image_size,
            error=missing_size if image_size is None else None,
            is_known=False,
        )


def describe_missing_patches(name: str) -> str:
    """Return the error for patch dropout in a model without patches that can be left out."""
    return (
        f"train.patch_drop_rate needs a vision Transformer of timm, and model.image.name={name} is "
        "none: leave it out, or choose one such as vit_base_patch16_224"
    )


def _ask(question: Mapping[str, Any]) -> dict[str, Any]:
    notice = f"asking timm about model.image.name={question['name']}, once ..."
    return ask(QUERY_MODULE, question, notice)


def _describe_unknown_name(name: str) -> str | None:
    """Return the error for a name that the installed timm is known not to have, or None."""
    if ":" in name or read_table_version() != get_library_version("timm"):
        return None
    names = [model.name for model in read_table()]
    if name.partition(".")[0] in names:
        return None
    return str(make_unknown_name_error("model.image.name", name, names))


@cache
def _read_preset_images() -> list[dict[str, Any]]:
    """Return the image sections of the presets."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(PRESETS.glob("*.yaml"))]
    return [yaml.safe_load(text)["image"] for text in texts]
