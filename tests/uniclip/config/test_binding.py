"""Binding of dataclasses that are no configuration: nested, optional, tagged and enumerated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import pytest

from uniclip.config.binding import TAGGED_UNIONS, bind, config_field, to_builtins
from uniclip.errors import UserError


class Color(StrEnum):
    """A word of a fixed set."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Disc:
    """One member of a tagged union."""

    name: Literal["disc"] = "disc"
    radius: float = config_field(1.0, above=0)


@dataclass(frozen=True, kw_only=True)
class Square:
    """The other member."""

    name: Literal["square"] = "square"
    side: int = config_field(2, low=1, high=9)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One field of each kind."""

    shape: Any
    color: Color | None = None
    corners: tuple[tuple[str, int], ...] = ()
    weights: dict[str, float] = config_field(dict)


TAGGED_UNIONS[Drawing, "shape"] = {"disc": Disc, "square": Square}


def test_every_kind_of_field_is_bound() -> None:
    values = {
        "shape": {"name": "square", "side": 3},
        "color": "blue",
        "corners": [["a", 1], ["b", 2]],
        "weights": {"x": 1},
    }
    drawing = bind(Drawing, values)
    assert drawing == Drawing(
        shape=Square(side=3),
        color=Color.BLUE,
        corners=(("a", 1), ("b", 2)),
        weights={"x": 1.0},
    )
    assert drawing.color is Color.BLUE
    assert bind(Drawing, to_builtins(drawing)) == drawing


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({}, "shape is missing"),
        ({"shape": {"name": "ring"}}, "unknown shape 'ring': choose from disc, square"),
        ({"shape": {"name": "disc", "side": 1}}, r"unknown key 'shape\.side'"),
        ({"shape": {"name": "square", "side": 10}}, r"shape\.side must be at most 9, got 10"),
        ({"shape": {"name": "disc"}, "color": "grey"}, "unknown color 'grey'"),
        ({"shape": {"name": "disc"}, "color": ["red"]}, "unknown color"),
        ({"shape": {"name": "disc"}, "corners": [["a", "b"]]}, r"corners\[0\]\[1\] must be"),
        ({"shape": {"name": "disc"}, "weights": {"x": "y"}}, r"weights\.x must be a number"),
    ],
)
def test_a_mistake_names_the_key(values: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        bind(Drawing, values)
    assert "\n" not in str(caught.value)
