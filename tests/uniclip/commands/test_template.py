"""Templates of command lines."""

from __future__ import annotations

import json

import pytest

from uniclip.commands.template import (
    list_placeholders,
    render_file,
    render_text,
    render_words,
    require_known_names,
)
from uniclip.errors import UserError


def test_words_are_split_before_values_are_set() -> None:
    words = render_words("train --name '{title}' --x={x} {flags} {empty}", {
        "title": "a b; rm -rf $HOME", "x": 0.5, "flags": ["--siglip", "--n=2"], "empty": None,
    })  # fmt: skip
    assert words == ["train", "--name", "a b; rm -rf $HOME", "--x=0.5", "--siglip", "--n=2"]


def test_brace_ranges_and_values_with_braces_stay() -> None:
    assert render_text("{path}/{000..009}.tar", {"path": "{seed}"}) == "{seed}/{000..009}.tar"
    assert list_placeholders("{a}-{000..009}-{b2}") == {"a", "b2"}


def test_files_hold_lists_and_null_as_json() -> None:
    template = '{"lr": {lr}, "layers": {layers}, "name": "{name}", "on": {on}, "none": {none}}'
    values = {"lr": 0.1, "layers": [8, "é"], "name": "a", "on": True, "none": None}
    assert json.loads(render_file(template, values)) == values
    with pytest.raises(UserError, match=r"\{absent\} .* has no value"):
        render_file("{absent}", values)


def test_truth_values_are_words() -> None:
    assert render_words("{on} x{off}", {"on": True, "off": False}) == ["true", "xfalse"]


def test_errors_name_the_template() -> None:
    with pytest.raises(UserError, match=r"\{lr\} in '--lr \{lr\}' has no value"):
        render_text("--lr {lr}", {"seed": 1})
    with pytest.raises(UserError, match="must be a word of its own"):
        render_words("--x={flags}", {"flags": ["a"]})
    with pytest.raises(UserError, match="cannot be split"):
        render_words("train 'x", {})
    with pytest.raises(UserError, match=r"command.steps: unknown name '\{stepz\}': did you mean"):
        require_known_names("steps", "{stepz}", ["{steps}", "steps"])
