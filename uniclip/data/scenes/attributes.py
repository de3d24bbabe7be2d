"""The attributes of scenes, and the captions that describe them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "count": ("one", "two", "three"),
    "size": ("small", "large"),
    "colour": ("red", "yellow", "green", "cyan", "blue", "magenta", "grey"),
    "texture": ("plain", "striped"),
    "shape": ("disc", "square", "triangle", "cross"),
    "side": ("left", "right"),
}
"""Attributes in the order of a row, and their values. Colours: hues 0, 60 .. 300 degrees; grey."""

DAMAGEABLE_ATTRIBUTES = tuple(name for name in ATTRIBUTES if name != "shape")
"""The attributes that an augmentation can change (`uniclip.data.scenes.views`)."""


def format_caption(
    row: Mapping[str, int] | Sequence[int] | NDArray[np.int64],
    is_mentioned: Mapping[str, bool] | None = None,
) -> str:
    """Return the caption of a scene, such as "two small red striped discs on the left".

    Args:
        row: Attribute indices, by name or in the order of `ATTRIBUTES`.
        is_mentioned: Attribute -> False if it is omitted; default: all are mentioned. Without a
            count the noun is plural, without a shape it is "shapes".
    """
    values = [row[name] for name in ATTRIBUTES] if isinstance(row, Mapping) else row
    mentioned = (is_mentioned is None or bool(is_mentioned.get(name, True)) for name in ATTRIBUTES)
    return _format_cached_caption(tuple(int(v) for v in values), tuple(mentioned))


@cache
def _format_cached_caption(row: tuple[int, ...], is_mentioned: tuple[bool, ...]) -> str:
    attribute_words = {
        name: ATTRIBUTES[name][value] if mentioned else ""
        for name, value, mentioned in zip(ATTRIBUTES, row, is_mentioned, strict=True)
    }
    noun = attribute_words["shape"] or "shape"
    if attribute_words["count"] != "one":
        noun += "es" if noun.endswith("s") else "s"
    location_phrase = f"on the {attribute_words['side']}" if attribute_words["side"] else ""
    phrases = (
        *(attribute_words[k] for k in ("count", "size", "colour", "texture")),
        noun,
        location_phrase,
    )
    return " ".join(phrase for phrase in phrases if phrase)
