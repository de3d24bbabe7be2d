"""Templates of command lines: words in which {name} stands for a value."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from uniclip.errors import UserError, make_unknown_name_error

PLACEHOLDER = re.compile(r"\{([a-z_]\w*)\}")
"""A name in braces; brace ranges such as {0000..0009} are none."""
RESERVED_NAMES = ("seed", "output", "here", "device", "python", "resume")
"""Names that stand for no value of an arm."""


def list_placeholders(template: str) -> set[str]:
    """Return the names in a template."""
    return set(PLACEHOLDER.findall(template))


def render_text(template: str, values: Mapping[str, Any]) -> str:
    """Return a template with every name replaced by its value.

    Raises:
        UserError: there is no such value, or it is a list.
    """

    def replace(match: re.Match[str]) -> str:
        value = _get_value(match[1], values, template)
        if isinstance(value, (list, tuple)):
            raise UserError(f"{{{match[1]}}} is a list: it must be a word of its own: {template}")
        return _format_value(value)

    return PLACEHOLDER.sub(replace, template)


def render_file(template: str, values: Mapping[str, Any]) -> str:
    """Return the text of a file: as `render_text`, with lists and null as JSON.

    Raises:
        UserError: there is no such value.
    """

    def replace(match: re.Match[str]) -> str:
        value = _get_value(match[1], values, match[0])
        is_json = value is None or isinstance(value, (list, tuple))
        return json.dumps(value, ensure_ascii=False) if is_json else _format_value(value)

    return PLACEHOLDER.sub(replace, template)


def render_words(template: str, values: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line.

    A word that is nothing but {name} becomes as many words as its value, a list, has, and none if
    the value is null or "".

    Raises:
        UserError: as `render_text`; or a quotation mark is not closed.
    """
    words = []
    for word in split_words(template):
        match = PLACEHOLDER.fullmatch(word)
        value = _get_value(match[1], values, template) if match else None
        if isinstance(value, (list, tuple)):
            words += [_format_value(item) for item in value]
        elif match is None or value not in (None, ""):
            words.append(render_text(word, values))
    return words


def split_words(template: str) -> list[str]:
    """Return the words of a template, split as a shell does.

    Raises:
        UserError: a quotation mark is not closed.
    """
    try:
        return shlex.split(template)
    except ValueError as error:
        raise UserError(f"the command line {template!r} cannot be split: {error}") from None


def require_known_names(key: str, template: str, names: Iterable[str]) -> None:
    """Raise `UserError` if the template of a key has a name that is not one of `names`."""
    known_names = list(names)
    for name in sorted(list_placeholders(template)):
        if name not in known_names:
            error = make_unknown_name_error("name", f"{{{name}}}", known_names)
            raise UserError(f"command.{key}: {error}")


def _get_value(name: str, values: Mapping[str, Any], template: str) -> Any:
    if name not in values:
        raise UserError(f"{{{name}}} in {template!r} has no value: choose from {', '.join(values)}")
    return values[name]


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
