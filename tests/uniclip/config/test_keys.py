"""Keys of configuration classes: descriptions from docstrings, and which keys hold text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Union

import pytest

from uniclip.config import CsvData, RunConfig, TrainConfig, keys
from uniclip.config.binding import config_field
from uniclip.config.keys import Key, collect_sections, collect_value_forms


@dataclass(frozen=True, kw_only=True)
class Nested:
    """Nested keys.

    Not in the summary.
    """

    share: float = config_field(0.5, above=0, high=1)
    """A share, as a
    fraction."""


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Keys of a test."""

    title: str
    """A title."""
    names: tuple[str, ...] | None = None
    nested: Nested = config_field(Nested)


def test_sections_hold_what_fields_and_docstrings_say() -> None:
    outer, nested = collect_sections(Outer, "o.")
    assert (outer.summary, nested.summary) == ("Keys of a test.", "Nested keys.")
    assert nested.keys == (
        Key(
            name="o.nested.share",
            type="float",
            values="number",
            default="0.5",
            range="> 0, ≤ 1",
            meaning="A share, as a fraction.",
        ),
    )
    title, names = outer.keys
    assert (title.default, title.meaning) == ("required", "A title.")
    assert (names.default, names.values, names.meaning) == ("null", "list of texts or null", "")


def test_every_key_of_a_run_has_a_meaning() -> None:
    for section in collect_sections(RunConfig):
        for key in section.keys:
            assert len(key.meaning) > 10, key.name
            assert key.values, key.name


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "whole number"),
        (bool, "true or false"),
        (float | None, "number or null"),
        (tuple[float, float], "list of 2 numbers"),
        (Union[int, tuple[int, ...]], "whole number or list of whole numbers"),
        (Literal["a", "b"], "a | b"),
        (tuple[Literal["a", "b"], ...], "list of a | b"),
        (dict[str, Any], "mapping"),
    ],
)
def test_values_are_described_in_words(hint: Any, words: str) -> None:
    assert keys.describe_values(hint) == words


def test_forms_say_which_keys_hold_text() -> None:
    forms = collect_value_forms([(Outer, ""), (CsvData, "data."), (TrainConfig, "train.")])
    assert forms["title"] == {"text"}
    assert forms["names"] == {"texts"}
    assert forms["nested.share"] == forms["train.steps"] == frozenset()
    assert forms["train.adam_betas"] == {"list"}
    assert forms["data.path"] == forms["data.label_column"] == {"text"}
    assert "nested" not in forms


def test_a_key_of_several_classes_holds_text_if_it_does_in_each() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Other:
        title: int = 0

    assert collect_value_forms([(Outer, ""), (Other, "")])["title"] == frozenset()
