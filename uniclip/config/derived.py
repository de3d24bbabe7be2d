"""Values that follow from others unless the user gives them.

In plain values such a key is null or missing: it is filled in before values are bound, and what is
hashed is the value.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from uniclip.config import image_model
from uniclip.config.data import DATA
from uniclip.errors import UserError

CLIP_VOCAB_SIZE = 49_408
"""Tokens of CLIP's published byte-level BPE."""


def get_value(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key of nested values, or None."""
    node: Any = values
    for name in key.split("."):
        if not isinstance(node, Mapping):
            return None
        node = node.get(name)
    return node


def fill_derived_values(values: Mapping[str, Any], default_image_size: int) -> dict[str, Any]:
    """Return the values of a run with those filled in that follow from others.

    - `model.image.image_size`: the input size of the timm model, if it is named.
    - `model.text.vocab_size`: that of CLIP's tokenizer, if it is chosen.
    - `data.image_size`: the input size of the image encoder, for data whose size is free.

    Args:
        values: Nested plain values; those of a wrong type are left as they are.
        default_image_size: Input size of the default image encoder, in pixels.

    Raises:
        UserError: timm has no such model, or cannot be queried.
    """
    filled = dict(values)
    model = filled.get("model")
    if isinstance(model, Mapping):
        filled["model"] = _fill_model(model)
    data = filled.get("data")
    if isinstance(data, Mapping) and data.get("image_size") is None and _follows_model(data):
        image_size = get_value(filled, "model.image.image_size")
        is_number = isinstance(image_size, int) and not isinstance(image_size, bool)
        filled["data"] = {**data, "image_size": image_size if is_number else default_image_size}
    return filled


def open_derived_values(
    complete_values: dict[str, Any], given_values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return complete values with null for each derived key that `given_values` leaves open."""
    opened = copy.deepcopy(complete_values)
    if _follows_model(opened["data"]) and get_value(given_values, "data.image_size") is None:
        opened["data"]["image_size"] = None
    is_named = get_value(given_values, "model.image.name") is not None
    if is_named and get_value(given_values, "model.image.image_size") is None:
        opened["model"]["image"]["image_size"] = None
    return opened


def _fill_model(model: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(model)
    image, text = model.get("image"), model.get("text")
    if isinstance(image, Mapping) and image.get("image_size") is None:
        filled["image"] = _fill_image_size(image)
    if isinstance(text, Mapping) and "vocab_size" in text and text["vocab_size"] is None:
        other_values = {name: value for name, value in text.items() if name != "vocab_size"}
        is_clip = text.get("tokenizer") == "clip"
        filled["text"] = (
            {**other_values, "vocab_size": CLIP_VOCAB_SIZE} if is_clip else other_values
        )
    return filled


def _fill_image_size(image: Mapping[str, Any]) -> dict[str, Any]:
    other_values = {name: value for name, value in image.items() if name != "image_size"}
    if not isinstance(image.get("name"), str):
        return other_values
    options = image.get("options") or {}
    if not isinstance(options, Mapping):
        return other_values
    facts = image_model.query_image_model(image["name"], options, None)
    if facts.error is not None:
        raise UserError(facts.error)
    return {**other_values, "image_size": facts.image_size}


def _follows_model(data: Mapping[str, Any]) -> bool:
    """Return whether the size of the images of a data section follows that of the model."""
    data_class = DATA.get(str(data.get("name", "")))
    fields = () if data_class is None else dataclasses.fields(data_class)
    return any(f.name == "image_size" and f.metadata.get("follows_model") for f in fields)
