"""Values that follow from others unless the user gives them.

In plain values such a key is null or missing: it is filled in before values are bound, and what is
hashed is the value.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from uniclip.config import image_model, text_model
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
    - `model.image.crop_pct` and `interpolation`: those of timm's pretrained model, if it is chosen.
    - `model.text.name`, `options` and sizes: those of the model in `model.text.folder`.
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
    if isinstance(image, Mapping):
        filled["image"] = _fill_image(image)
    if isinstance(text, Mapping):
        filled["text"] = _fill_text(text)
    return filled


EVALUATION_KEYS = ("crop_pct", "interpolation")
"""Keys of the image encoder that follow from the pretrained model."""


def _fill_image(image: Mapping[str, Any]) -> dict[str, Any]:
    is_pretrained = image.get("pretrained") not in (None, "false", False)
    open_keys = [key for key in EVALUATION_KEYS if image.get(key) is None]
    needs_size = image.get("image_size") is None
    filled = {k: v for k, v in image.items() if v is not None or k not in EVALUATION_KEYS}
    options = image.get("options") or {}
    is_named = isinstance(image.get("name"), str) and isinstance(options, Mapping)
    if needs_size:
        filled.pop("image_size", None)
    if not is_named or not (needs_size or (is_pretrained and open_keys)):
        return filled
    size = image.get("image_size")
    facts = image_model.query_image_model(image["name"], options, size, asks_always=is_pretrained)
    if facts.error is not None:
        raise UserError(facts.error)
    if needs_size:
        filled["image_size"] = facts.image_size
    for key in open_keys if is_pretrained else ():
        filled[key] = getattr(facts, key)
    return filled


def _fill_text(text: Mapping[str, Any]) -> dict[str, Any]:
    filled = {k: v for k, v in text.items() if v is not None or k not in text_model.DERIVED_KEYS}
    folder = text.get("folder")
    if isinstance(folder, str) and text.get("name") is None:
        facts = text_model.read_folder(folder)
        uses_its_tokenizer = text.get("tokenizer") in (None, "folder")
        known = {**facts, "tokenizer": "folder"}
        if not uses_its_tokenizer:
            known.pop("vocab_size")
        options = {**known["options"], **(filled.get("options") or {})}
        filled = {**known, **filled, "options": options}
    if "vocab_size" not in filled and filled.get("tokenizer") == "clip":
        filled["vocab_size"] = CLIP_VOCAB_SIZE
    return filled


def _follows_model(data: Mapping[str, Any]) -> bool:
    """Return whether the size of the images of a data section follows that of the model."""
    data_class = DATA.get(str(data.get("name", "")))
    fields = () if data_class is None else dataclasses.fields(data_class)
    return any(f.name == "image_size" and f.metadata.get("follows_model") for f in fields)
