"""Parsing of `key=value` words: Hydra's grammar, and text as it stands for keys that hold text.

A command passes what its keys hold (`ValueForms`, see `uniclip.config.keys.collect_value_forms`).
The value of a key that holds text is then not parsed: `data.path=my files/a(1).csv`, `store=2024`
and `launcher.partition=a,b` need no quotes. `~` is the home folder, and `${oc.env:NAME}` is
replaced by the environment variable.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from uniclip.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

ValueForm = Literal["text", "texts", "shell", "list"]
"""What a key may hold: a text, a list of texts, text that a shell reads (no replacements), or a
list of other values."""
ValueForms = Mapping[str, frozenset[ValueForm]]
"""Every known key -> the forms that it holds; empty for single values that are no text."""
LIST: frozenset[ValueForm] = frozenset({"list"})
TEXT: frozenset[ValueForm] = frozenset({"text"})
TEXT_OR_LIST: frozenset[ValueForm] = frozenset({"text", "texts"})

JOINED_PATHS = ("data.path", "data.labelled_path", "data.class_names_path")
"""Keys whose value may be several paths, joined with "::"."""

SIMPLE_KEY = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")
SIMPLE_WORD = re.compile(r"(?!(true|false|null|nan|inf)$)[a-z_/][a-z0-9_/.-]*", re.IGNORECASE)
SIMPLE_NUMBER = re.compile(r"0|[1-9][0-9]*")
VALUE_LIST = re.compile(r",|^\w+\(")
"""What every value that lists several has: a comma, or a function."""
QUOTED = re.compile(r"""(["'])(?:\\.|(?!\1).)*\1""", re.DOTALL)
ESCAPED = re.compile(r"\\[\\()\[\]{}:=,\"' \t]")
"""A character that Hydra's grammar reads as itself after a backslash."""
LIST_ITEM = re.compile(
    r"""\s*((?P<quote>["'])(?:\\.|(?!(?P=quote)).)*(?P=quote)(?=\s*(?:,|$))|[^,]*)\s*(?:,|$)""",
    re.DOTALL,
)
HOME = re.compile(r"(?P<scheme>[a-z]+:)?(?P<path>~(?:/.*)?)", re.DOTALL)
"""A path below the home folder, or one after a scheme such as `csv:`."""


class LiteralOverride(str):
    """A `key=value` word of this program, not of the user: its value is the text as it stands."""


def parse_overrides(overrides: Iterable[str], forms: ValueForms | None = None) -> dict[str, Any]:
    """Return `key=value` words as {key: value}.

    Args:
        overrides: The words.
        forms: What the keys hold. None: nothing is known, every value is parsed by the grammar.

    Raises:
        UserError: a word is not of this form, or a key is given twice.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        _require_utf8(override)
        key, value = _parse_override(override, forms)
        if key in values:
            raise UserError(f"{key} is given twice{_explain_braces(key)}")
        values[key] = value
    return values


def _explain_braces(key: str) -> str:
    """Return what a shell may have made of one word for a key of paths, else nothing."""
    if not key.endswith("path"):
        return ""
    return (
        "; if you wrote braces, which a shell makes several words of, quote them: "
        f'"{key}=shards/{{00000..01242}}.tar"'
    )


def holds_text(key_forms: frozenset[ValueForm] | None) -> bool:
    """Return whether a key of these forms holds text, in which a comma divides nothing."""
    return bool(key_forms) and key_forms != LIST


def format_override(key: str, value: str | list[str]) -> str:
    """Return the `key=value` word with which a key that holds text has this value.

    It is quoted only where the parser needs it; for a shell, pass it through `shlex.quote`.
    """
    if isinstance(value, str):
        word = f"{key}={value}"
        return word if _parse_text_value(word, TEXT) == value else f"{key}={quote_text(value)}"
    word = f"{key}=[{','.join(value)}]"
    if _parse_text_value(word, TEXT_OR_LIST) == value:
        return word
    return f"{key}=[{','.join(map(quote_text, value))}]"


def quote_text(text: str) -> str:
    """Return text in double quotes, as the grammar reads it back."""
    escaped = re.sub(r'(\\*)"', lambda match: 2 * match[1] + '\\"', text)
    return '"' + re.sub(r"(\\+)$", lambda match: 2 * match[1], escaped) + '"'


def _require_utf8(override: str) -> None:
    """Raise `UserError` for a word whose bytes are not UTF-8: no record could hold it."""
    try:
        override.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{os.fsencode(override)!r} is not valid UTF-8: rename the file or folder"
        ) from None


def _parse_override(override: str, forms: ValueForms | None) -> tuple[str, Any]:
    key, _, value = override.partition("=")
    if isinstance(override, LiteralOverride):
        return key, value
    if forms is not None and SIMPLE_KEY.fullmatch(key):
        key_forms = forms.get(key)
        if holds_text(key_forms):
            return key, _parse_text_value(override, key_forms or TEXT)
        return key, _parse_typed_value(override, key_forms)
    return _parse_simple_override(override) or _parse_hydra_override(override)


# ---- lists of values ----------------------------------------------------------------------------


def parse_value_list(override: str, names: Sequence[str] = ()) -> list[str] | None:
    """Return the values of a `key=value` word that lists several, as Hydra's multi-run reads it.

    A list is `a,b`, `choice(a,b)`, `range(1,4)` or `glob(a*)`.

    Args:
        override: The word; not of a key whose value is text that may hold commas.
        names: The names that `glob` selects from.

    Returns:
        Each value as text that the grammar reads back; None for a word with one value.

    Raises:
        UserError: the word lists one value, one value twice, or a continuous interval, or ends with
            a comma.
    """
    value = override.partition("=")[2].strip()
    if not VALUE_LIST.search(value) or QUOTED.fullmatch(value):
        return None
    from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep
    from hydra.errors import HydraException

    try:
        parsed = _parse_with_hydra(override)
    except HydraException:
        if value.endswith(","):
            raise UserError(
                f"cannot read {override!r}: a value is missing after the comma"
            ) from None
        return None
    if not parsed.is_sweep_override():
        return None
    listed = parsed.value()
    if isinstance(listed, IntervalSweep):
        raise UserError(f"{override!r} is a continuous interval: tune samples from one (space=)")
    if isinstance(listed, ChoiceSweep):
        listed.shuffle = False  # the first value is the reference
    texts = listed.filter([*names]) if isinstance(listed, Glob) else parsed.sweep_string_iterator()
    values = [str(text) for text in texts]
    if len(values) < 2:
        description = f"{values[0]} alone" if values else "no value"
        raise UserError(f"{override!r} lists {description}: list at least two values, or write one")
    for text in values:
        if values.count(text) > 1:
            raise UserError(f"{override!r} lists {text} twice")
    return values


# ---- keys that hold text -------------------------------------------------------------------------


def _parse_text_value(override: str, key_forms: frozenset[ValueForm]) -> Any:
    """Return the value of a key that holds text: as it stands, unless it is quoted or a list."""
    key, _, value = override.partition("=")
    value = value.strip()
    if value.lower() == "null":
        return None
    if value.startswith("{") and value.endswith("}"):
        return _parse_hydra_override(override)[1]
    if value.startswith("[") and value.endswith("]"):
        if "texts" not in key_forms:
            remedy = shlex.quote(f"{key}={quote_text(value)}")
            if key in JOINED_PATHS:
                joined = "::".join(_unquote(item) for item in _split_list(value))
                remedy += f'; join several paths with "::": {shlex.quote(f"{key}={joined}")}'
            raise UserError(f"{key} must be text, got a list; for text write {remedy}")
        if value[1:].lstrip()[:1] in ("[", "{") and _is_readable(override):
            return _parse_hydra_override(override)[1]
        texts = [_unquote(item) for item in _split_list(value)]
        return texts if "shell" in key_forms else [_replace(key, text) for text in texts]
    is_quoted = QUOTED.fullmatch(value) is not None
    text = str(_parse_hydra_override(override)[1]) if is_quoted else _unescape(override)
    return text if "shell" in key_forms else _replace(key, text)


def _unescape(override: str) -> str:
    """Return the value of a word; with escapes of the grammar, as the grammar reads it."""
    value = override.partition("=")[2].strip()
    if ESCAPED.search(value):
        try:
            parsed = _parse_hydra_override(override)[1]
        except UserError:
            return value
        return parsed if isinstance(parsed, str) else value
    return value


def _split_list(text: str) -> Iterator[str]:
    """Yield the items of a list in brackets, split at commas outside quotes."""
    position, end = 0, len(text) - 2
    items = text[1:-1]
    while position < end:
        match = LIST_ITEM.match(items, position)
        assert match is not None
        yield match[1].strip()
        position = match.end()


def _unquote(item: str) -> str:
    if not QUOTED.fullmatch(item):
        return item
    return str(_parse_hydra_override(f"item={item}")[1])


def _replace(key: str, text: str) -> str:
    """Return text with environment variables and the home folder filled in."""
    text = _replace_environment(key, text) if "${" in text else text
    match = HOME.fullmatch(text)
    if match is None:
        return text
    return f"{match['scheme'] or ''}{os.path.expanduser(match['path'])}"


def _replace_environment(key: str, text: str) -> str:
    """Return text with `${oc.env:NAME}` replaced.

    Raises:
        UserError: the variable is not set, or `${...}` is something else.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        return str(OmegaConf.create({"value": text})["value"])
    except OmegaConfBaseException as error:
        name = re.search(r"Environment variable '([^']*)' not found", str(error))
        if name is not None:
            raise UserError(
                f"{key}={text}: the environment variable {name[1]} is not set"
            ) from None
    raise UserError(
        f"{key}={text}: only ${{oc.env:NAME}} is replaced; let the shell fill in variables: "
        f'write "{key}=$NAME/..." in double quotes'
    )


# ---- other keys ----------------------------------------------------------------------------------


def _parse_typed_value(override: str, key_forms: frozenset[ValueForm] | None) -> Any:
    """Return the value of a key that holds no text, or of one that is not known (None).

    What the grammar does not read is returned as text: the key's error is the better message.
    """
    simple = _parse_simple_override(override)
    if simple is not None:
        return simple[1]
    key, _, value = override.partition("=")
    if "${" in value:
        value = _replace_environment(key, value)
        override = f"{key}={value}"
    stripped = value.strip()
    if stripped[:1] in ("[", "{", '"', "'"):
        return _parse_hydra_override(override)[1]
    try:
        return _parse_hydra_override(override)[1]
    except _SweepOverrideError:
        if key_forms is not None:
            remedy = "write one value" + ", or a list as [a,b]" * (key_forms == LIST)
            raise UserError(f"{override!r} has several values: {remedy}") from None
    except UserError:
        pass
    return stripped


# ---- the grammar ---------------------------------------------------------------------------------


class _SweepOverrideError(UserError):
    """A word names several values, which the grammar reads as several runs."""


def _parse_simple_override(override: str) -> tuple[str, Any] | None:
    """Parse a word or whole number as Hydra's grammar does, without 0.2 s of imports.

    Returns None for values that need the grammar.
    """
    key, _, value = override.partition("=")
    if not SIMPLE_KEY.fullmatch(key):
        return None
    if SIMPLE_NUMBER.fullmatch(value):
        return key, int(value)
    return (key, value) if SIMPLE_WORD.fullmatch(value) else None


def _parse_with_hydra(override: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(override)


def _parse_hydra_override(override: str) -> tuple[str, Any]:
    from hydra.errors import HydraException

    try:
        parsed = _parse_with_hydra(override)
    except HydraException:
        raise UserError(f"cannot read {override!r}: {_suggest_quotes(override)}") from None
    if not parsed.key_or_group:
        raise UserError(f"cannot read {override!r}: write key=value")
    if parsed.is_add() or parsed.is_force_add() or parsed.is_delete() or parsed.package:
        raise UserError(f"cannot read {override!r}: {_explain_modifier(parsed)}")
    if parsed.is_sweep_override():
        key, _, value = override.partition("=")
        raise _SweepOverrideError(
            f"{override!r} has several values, and one is expected here: a list is [a,b], and text "
            f"with a comma is {shlex.quote(f'{key}={quote_text(value)}')}"
        )
    return parsed.key_or_group, _strip_quotes(parsed.value())


def _explain_modifier(parsed: Override) -> str:
    """Return why `+key`, `~key` or `group@package` does not apply, and what to write."""
    key = parsed.key_or_group
    word = f"{key}={'<value>' if parsed.is_delete() else str(parsed.get_value_string())}"
    if parsed.is_delete():
        return (
            "no key is removed here, since every run has a value for each: leave "
            f"{key} out for its default, or write {word}"
        )
    if parsed.package:
        return f"a group has one place here: write {word}"
    return f"no key is added here, since every key exists already: write {word}"


def _suggest_quotes(override: str) -> str:
    """Return what to write instead of a word that the grammar does not read; it reads that."""
    key, equals, value = override.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key) or key.endswith("."):
        return "write key=value"
    value = value.strip()
    texts = [quote_text(value)]
    if value[:1] == "[" and value.endswith("]"):
        texts = ["[" + ",".join(map(_quote_if_needed, _split_list(value))) + "]", *texts]
    if value[:1] == "{" and value.endswith("}"):
        pairs = [item.partition(":") for item in _split_list(value)]
        items = (f"{name.strip()}: {_quote_if_needed(text.strip())}" for name, _, text in pairs)
        texts = ["{" + ", ".join(items) + "}", *texts]
    word = next(word for t in texts if _is_readable(word := f"{key}={t}"))
    return f"write {shlex.quote(word)}"


def _quote_if_needed(item: str) -> str:
    is_plain = SIMPLE_WORD.fullmatch(item) or SIMPLE_NUMBER.fullmatch(item)
    return item if is_plain or QUOTED.fullmatch(item) else quote_text(item)


def _is_readable(override: str) -> bool:
    from hydra.errors import HydraException

    try:
        return not _parse_with_hydra(override).is_sweep_override()
    except HydraException:
        return False


def _strip_quotes(value: Any) -> Any:
    if isinstance(value, list):
        return [_strip_quotes(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _strip_quotes(v) for k, v in value.items()}
    return getattr(value, "text", value)
