"""The columns of a table that a data source reads, and what to do if they have other names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from uniclip.config import CsvData
from uniclip.data.csv.table import SEPARATORS, TableFormat, detect_format
from uniclip.errors import UserError

OPEN_CLIP_COLUMNS = {"image_column": "filepath", "caption_column": "title"}
"""The columns that open_clip reads by default; they are recognized in place of our defaults."""
USUAL_NAMES = {
    "image_column": (
        *("picture", "filepath", "image", "image_path", "path", "file", "filename", "file_name"),
        *("file_path", "image_name", "image_file", "img", "img_path", "image_id", "photo"),
    ),
    "caption_column": (
        *("caption", "title", "captions", "text", "description", "sentence", "comment", "alt"),
        *("alt_text", "prompt", "label_text"),
    ),
    "label_column": ("label", "class", "class_name", "category", "kind"),
    "split_column": ("split", "subset", "set", "fold", "partition"),
}
"""Key -> names that such columns often have, for advice."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""What a name in the first line ends with if the header was forgotten."""


@dataclass(frozen=True)
class TableRequest:
    """A table to be read, and the columns that are wanted of it."""

    path: str
    columns: dict[str, str]
    """Key of the configuration, such as "image_column" -> name of the column."""
    separator: str | None = None
    """The character that separates fields; None = detected."""
    is_configurable: bool = True
    """Whether the user can name other columns: not for an evaluation set."""

    @classmethod
    def from_config(cls, config: CsvData, path: str, *, is_test: bool = False) -> TableRequest:
        """Return the request for a table of a configuration; the test table has no splits."""
        keys = ("image_column", "caption_column", "label_column", "split_column")
        columns = {key: name for key in keys if (name := getattr(config, key)) is not None}
        if is_test:
            columns.pop("split_column", None)
        return cls(path, columns, config.separator_character)

    @classmethod
    def for_evaluation(cls, path: str) -> TableRequest:
        """Return the request for an evaluation set, whose columns have the default names."""
        columns = {key: getattr(CsvData, key) for key in ("image_column", "caption_column")}
        return cls(path, columns, is_configurable=False)


@dataclass(frozen=True)
class TableColumns:
    """A table's format, and where the requested columns are."""

    table: TableFormat
    names: dict[str, str]
    """Key of the configuration -> name of the column in the file."""
    positions: dict[str, int]
    """Key of the configuration -> position of the column."""
    substitutes: dict[str, str]
    """Key of the configuration -> name of the column, where it is not the requested one."""


def find_columns(request: TableRequest) -> TableColumns:
    """Return the format of a table and its columns.

    Raises:
        UserError: The file cannot be read, or a column is missing or repeated.
    """
    wanted = (*request.columns.values(), *OPEN_CLIP_COLUMNS.values())
    table = detect_format(request.path, request.separator, wanted)
    names = _substitute_open_clip_columns(request.columns, table.header)
    missing = [key for key, name in names.items() if name not in table.header]
    if missing:
        raise _make_missing_columns_error(request, table, missing)
    positions = {key: table.find_column(name) for key, name in names.items()}
    substitutes = {k: name for k, name in names.items() if name != request.columns[k]}
    return TableColumns(table, names, positions, substitutes)


def _substitute_open_clip_columns(
    columns: dict[str, str], header: tuple[str, ...]
) -> dict[str, str]:
    """Return the columns, with open_clip's in place of both defaults if the file has only those."""
    are_defaults = all(columns[key] == getattr(CsvData, key) for key in OPEN_CLIP_COLUMNS)
    are_missing = not any(columns[key] in header for key in OPEN_CLIP_COLUMNS)
    if are_defaults and are_missing and all(n in header for n in OPEN_CLIP_COLUMNS.values()):
        return {**columns, **OPEN_CLIP_COLUMNS}
    return columns


def _make_missing_columns_error(
    request: TableRequest, table: TableFormat, keys: Sequence[str]
) -> UserError:
    location = f"{table.path} line {table.header_line}"
    if request.separator is not None:
        detected = detect_format(request.path, None, tuple(request.columns.values()))
        if set(request.columns.values()) <= set(detected.header):
            return UserError(
                f"{location}: the file is separated by {SEPARATORS[detected.separator]}, not by "
                f"{request.separator!r}: leave data.separator out"
            )
    columns = " or ".join(
        f"{request.columns[key]!r}" + (f" (data.{key})" if request.is_configurable else "")
        for key in keys
    )
    return UserError(f"{location}: there is no column {columns}: {_suggest(request, table, keys)}")


def _suggest(request: TableRequest, table: TableFormat, keys: Sequence[str]) -> str:
    """Return what to do if columns are missing."""
    header = [column for column in table.header if column]
    if any(Path(column).suffix.lower() in IMAGE_SUFFIXES for column in header):
        names = table.separator.join(request.columns.values())
        return f"the first line looks like a row; write the header {names!r} above it"
    if len(table.header) == 1:
        remedy = "set data.separator" if request.is_configurable else "separate them by commas"
        return (
            f"the only column is {table.header[0]!r}; if another character separates the fields, "
            f"{remedy}"
        )
    similar = {key: _find_similar_columns(request, key, header) for key in keys}
    if not all(similar.values()):
        return f"the columns are {', '.join(map(repr, header))}"
    question = f"did you mean {' and '.join(' or '.join(names) for names in similar.values())}?"
    if not request.is_configurable:
        renamed = [f"{similar[key][0]!r} to {request.columns[key]!r}" for key in keys]
        return f"{question} Rename {' and '.join(renamed)}"
    settings = [f"data.{key}={_quote(similar[key][0])}" for key in keys]
    return f"{question} Set {' '.join(settings)}"


def _find_similar_columns(request: TableRequest, key: str, header: Sequence[str]) -> list[str]:
    """Return up to 3 columns with a name like the requested one, or a usual one for its content."""
    close_names = get_close_matches(request.columns[key], header, n=3, cutoff=0.6)
    by_lower_case = {column.lower(): column for column in header}
    usual_names = [by_lower_case[name] for name in USUAL_NAMES[key] if name in by_lower_case]
    taken = set(request.columns.values())
    return [name for name in dict.fromkeys([*close_names, *usual_names]) if name not in taken][:3]


def _quote(name: str) -> str:
    return name if name.replace("_", "").isalnum() else f"\"'{name}'\""
