"""Which columns of a data set are the images, captions, classes and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uniclip.config import HuggingfaceData
from uniclip.config.sample_filter import SampleFilter
from uniclip.data.csv.columns import USUAL_NAMES
from uniclip.data.huggingface.arrow_files import get_column, read_schema
from uniclip.data.huggingface.folder import DataFile, DataFolder, find_class_names, read_info
from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json

if TYPE_CHECKING:
    import pyarrow

METADATA_KEY = b"huggingface"
"""Metadata of a schema in which `datasets` states the types of columns."""
DERIVED_FIELDS = frozenset({"caption", "caption_length", "caption_words", "aspect"})
"""What `data.where` may read beside the columns."""


@dataclass(frozen=True)
class DataColumns:
    """The columns that are read."""

    image: str
    caption: str | None
    """None = captions are made of the class."""
    label: str | None
    label_names: tuple[str, ...]
    """The names of the classes 0, 1, ...; empty = the column has the names."""
    key: str | None
    fields: tuple[str, ...]
    """Columns that `data.where` reads."""

    @property
    def is_nested(self) -> bool:
        """Whether the image column has the fields bytes and path."""
        return self.image.endswith(".bytes")

    def list_values(self) -> list[str]:
        """Return the columns of texts and numbers, each once."""
        names = (self.caption, self.label, self.key, *self.fields)
        return list(dict.fromkeys(name for name in names if name is not None))


def find_columns(config: HuggingfaceData, folder: DataFolder) -> DataColumns:
    """Return the columns of a data set, by the schema of its first file.

    Raises:
        UserError: A column is missing, is not of a type that can be read, or must be named.
    """
    file = folder.files[0]
    schema = read_schema(file)
    repeated = sorted(name for name in set(schema.names) if schema.names.count(name) > 1)
    if repeated:
        raise UserError(f"{file.path} has several columns {repeated[0]!r}; rename them")
    features = _read_features(schema, folder)
    image = _find_image_column(config, schema, file)
    label = _require_scalars(schema, file, "label_column", config.label_column)
    return DataColumns(
        image=image,
        caption=_find_caption_column(config, schema, file, image),
        label=label,
        label_names=find_class_names(features, label),
        key=_require_scalars(schema, file, "key_column", config.key_column),
        fields=_find_fields(config, schema),
    )


def require_same_types(file: DataFile, columns: DataColumns) -> None:
    """Raise `UserError` unless the columns of a file can be read as those of the first one.

    A column of values without a type, all of which are null, can.
    """
    from pyarrow import types

    schema = read_schema(file)
    image_column = get_column(columns.image)
    for name in (image_column, *columns.list_values()):
        if name not in schema.names:
            raise UserError(
                f"{file.path} has no column {name!r}, as other files of the data set have; name "
                "the folder of one data set with data.path"
            )
        field = schema.field(name)
        if name == image_column:
            is_same = _name_bytes(field) == columns.image
        elif name == columns.caption:
            is_same = _is_text(field.type) or types.is_null(field.type)
        else:
            is_same = _is_scalar(field.type)
        if not is_same:
            raise UserError(
                f"{file.path}: column {name!r} has another type ({field.type}) than in other files "
                "of the data set; write them with the same types, or name the folder of one data "
                "set with data.path"
            )


def _read_features(schema: pyarrow.Schema, folder: DataFolder) -> dict[str, Any]:
    """Return the type of each column as `datasets` states it; empty if it does not."""
    metadata = (schema.metadata or {}).get(METADATA_KEY)
    if metadata is not None:
        try:
            features = parse_json(metadata.decode())["info"]["features"]
        except (*JSON_ERRORS, LookupError, TypeError):
            features = None
        if isinstance(features, dict):
            return features
    return read_info(folder.files)


def _find_image_column(config: HuggingfaceData, schema: pyarrow.Schema, file: DataFile) -> str:
    """Return the column of images; of one with the fields bytes and path, "<column>.bytes"."""
    names = {field.name: name for field in schema if (name := _name_bytes(field)) is not None}
    if config.image_column is not None:
        _require_column(schema, file, "image_column", config.image_column)
        if config.image_column not in names:
            raise UserError(
                f"{file.path}: column {config.image_column!r} has no embedded images (bytes); "
                f"{_list_columns(names or schema.names)}"
            )
        return names[config.image_column]
    if len(names) > 1:
        usual = [name for name in USUAL_NAMES["image_column"] if name in names]
        if not usual:
            raise UserError(
                f"{file.path} has several columns of images ({', '.join(names)}): name one with "
                "data.image_column"
            )
        return names[usual[0]]
    if not names:
        raise UserError(
            f"{file.path} has no column of embedded images (bytes); {_list_columns(schema.names)}"
        )
    return next(iter(names.values()))


def _name_bytes(field: pyarrow.Field) -> str | None:
    """Return where a column has the bytes of files, or None."""
    from pyarrow import types

    def is_binary(kind: pyarrow.DataType) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    if is_binary(field.type) and not field.name.endswith(".bytes"):  # which means a field
        return str(field.name)
    if types.is_struct(field.type):
        index = field.type.get_field_index("bytes")
        if index >= 0 and is_binary(field.type.field(index).type):
            return f"{field.name}.bytes"
    return None


def _find_caption_column(
    config: HuggingfaceData, schema: pyarrow.Schema, file: DataFile, image: str
) -> str | None:
    name = _require_column(schema, file, "caption_column", config.caption_column)
    if name is None:
        candidates = [n for n in (*USUAL_NAMES["caption_column"], "txt") if n in schema.names]
        texts = [n for n in candidates if _is_text(schema.field(n).type) and n != image]
        name = texts[0] if texts else None
    elif not _is_text(schema.field(name).type):
        raise UserError(
            f"{file.path}: column {name!r} has neither texts nor lists of texts "
            f"({schema.field(name).type}): name another one with data.caption_column"
        )
    if name is None and config.label_column is None:
        raise UserError(
            f"{file.path} has no column with a usual name of captions: name one with "
            f"data.caption_column, or classes with data.label_column; {_list_columns(schema.names)}"
        )
    return name


def _is_text(kind: pyarrow.DataType) -> bool:
    """Return whether a column has texts, or lists of texts."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        kind = kind.value_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _find_fields(config: HuggingfaceData, schema: pyarrow.Schema) -> tuple[str, ...]:
    """Return the columns that `data.where` reads."""
    if config.where is None:
        return ()
    wanted = SampleFilter(config.where).fields
    unknown = sorted(wanted - DERIVED_FIELDS - set(schema.names))
    if unknown:
        raise UserError(
            f"data.where={config.where!r} reads {', '.join(unknown)}, which is no column; "
            f"{_list_columns(schema.names)}, and {', '.join(sorted(DERIVED_FIELDS))}"
        )
    others = [
        name
        for name in schema.names
        if name in wanted - DERIVED_FIELDS and not _is_scalar(schema.field(name).type)
    ]
    if others:
        raise UserError(
            f"data.where={config.where!r} reads {others[0]}, which has neither texts nor numbers "
            f"({schema.field(others[0]).type}): leave it out"
        )
    sides = {"width", "height"} if "aspect" in wanted else set()
    return tuple(name for name in schema.names if name in wanted | sides)


def _require_column(
    schema: pyarrow.Schema, file: DataFile, key: str, name: str | None
) -> str | None:
    """Return the name of a column; `UserError` if there is no such column."""
    if name is not None and name not in schema.names:
        raise UserError(
            f"{file.path} has no column {name!r} (data.{key}); {_list_columns(schema.names)}"
        )
    return name


def _require_scalars(
    schema: pyarrow.Schema, file: DataFile, key: str, name: str | None
) -> str | None:
    """Return the name of a column of texts or numbers; `UserError` if there is no such column."""
    if _require_column(schema, file, key, name) is None:
        return None
    kind = schema.field(name).type
    if not _is_scalar(kind):
        raise UserError(
            f"{file.path}: column {name!r} has neither texts nor numbers ({kind}): name another "
            f"one with data.{key}"
        )
    return name


def _is_scalar(kind: pyarrow.DataType) -> bool:
    """Return whether a column has texts, numbers, or other values that are in one piece."""
    from pyarrow import types

    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _list_columns(names: Any) -> str:
    return f"the columns are {', '.join(map(repr, names))}"
