"""The attributes of scenes in words, and the caption that tells them."""

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


def caption(
    row: Mapping[str, int] | Sequence[int] | NDArray[np.int64],
    said: Mapping[str, bool] | None = None,
) -> str:
    """The caption of a row: "two small red striped discs on the left".

    `row`: attribute indices by name, or in the order of `ATTRIBUTES`. `said`: attributes that are
    not mentioned are False; without a count the noun is plural, without a shape it is "shapes".
    """
    values = [row[name] for name in ATTRIBUTES] if isinstance(row, Mapping) else row
    mentioned = (said is None or bool(said.get(name, True)) for name in ATTRIBUTES)
    return _caption(tuple(int(v) for v in values), tuple(mentioned))


@cache
def _caption(row: tuple[int, ...], said: tuple[bool, ...]) -> str:
    words = {
        name: ATTRIBUTES[name][value] if mentioned else ""
        for name, value, mentioned in zip(ATTRIBUTES, row, said, strict=True)
    }
    noun = words["shape"] or "shape"
    if words["count"] != "one":
        noun += "es" if noun.endswith("s") else "s"
    place = f"on the {words['side']}" if words["side"] else ""
    said_words = (*(words[k] for k in ("count", "size", "colour", "texture")), noun, place)
    return " ".join(word for word in said_words if word)
