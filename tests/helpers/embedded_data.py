"""Small data sets with embedded images, byte for byte as `datasets` 5.2 lays them out on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from tests.helpers.shards import encode_image
from uniclip.config import HuggingfaceData

CLASSES = ("owl", "cat", "dog")
"""The names of the classes 0, 1 and 2, not sorted."""
FEATURES: dict[str, Any] = {
    "image": {"_type": "Image"},
    "caption": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    "label": {"names": list(CLASSES), "_type": "ClassLabel"},
    "score": {"dtype": "float32", "_type": "Value"},
}
IMAGE_TYPE = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
TYPES: dict[str, pyarrow.DataType] = {
    "image": IMAGE_TYPE,
    "caption": pyarrow.list_(pyarrow.string()),
    "label": pyarrow.int64(),
    "score": pyarrow.float32(),
}


def make_rows(numbers: Sequence[int], **changes: Any) -> dict[str, list[Any]]:
    """Return the columns of rows: an image with its path, two captions, a class and a score."""
    columns: dict[str, list[Any]] = {
        "image": [{"bytes": encode_image(n), "path": f"{n:05d}.png"} for n in numbers],
        "caption": [[f"one {n}", f"two {n}"] for n in numbers],
        "label": [n % 3 for n in numbers],
        "score": [n / 100 for n in numbers],
    }
    return {**columns, **changes}


def make_table(columns: Mapping[str, list[Any]], with_features: bool = True) -> pyarrow.Table:
    """Return rows with the types of `datasets`, and its metadata."""
    arrays = {name: pyarrow.array(c, TYPES.get(name)) for name, c in columns.items()}
    table = pyarrow.table(arrays)
    if not with_features:
        return table
    features = {name: FEATURES[name] for name in columns if name in FEATURES}
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def write_stream(path: Path, table: pyarrow.Table, rows_per_batch: int = 1000) -> None:
    """Write a file in the stream format of Arrow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyarrow.OSFile(str(path), "wb") as sink:
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=rows_per_batch)


def save_to_disk(
    folder: Path, table: pyarrow.Table, num_files: int = 1, rows_per_batch: int = 1000
) -> str:
    """Write what `Dataset.save_to_disk` writes; return the folder."""
    names = [f"data-{i:05d}-of-{num_files:05d}.arrow" for i in range(num_files)]
    for i, name in enumerate(names):
        start, stop = (len(table) * k // num_files for k in (i, i + 1))
        write_stream(folder / name, table.slice(start, stop - start), rows_per_batch)
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "9bfd6a1ecb1c01df",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2))
    features = {name: FEATURES[name] for name in table.column_names if name in FEATURES}
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))
    return str(folder)


def save_dict_to_disk(folder: Path, tables: Mapping[str, pyarrow.Table]) -> str:
    """Write what `DatasetDict.save_to_disk` writes; return the folder."""
    folder.mkdir(parents=True)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(tables)}))
    for name, table in tables.items():
        save_to_disk(folder / name, table)
    return str(folder)


def write_hub_folder(
    folder: Path, tables: Mapping[str, pyarrow.Table], rows_per_group: int = 100
) -> str:
    """Write the Parquet files of a repository of the Hub, two for each split; return the folder."""
    (folder / "data").mkdir(parents=True)
    for name, table in tables.items():
        for i in range(2):
            start, stop = (len(table) * k // 2 for k in (i, i + 1))
            path = folder / "data" / f"{name}-{i:05d}-of-00002.parquet"
            part = table.slice(start, stop - start)
            parquet.write_table(part, path, row_group_size=rows_per_group, compression="snappy")
    return str(folder)


def embedded_config(path: str | Path, **changes: Any) -> HuggingfaceData:
    """Return a data section; a fifth is held out for validation and testing each."""
    values = {"path": str(path), "image_size": 16}
    fractions = {"validation_fraction": 0.2, "test_fraction": 0.2}
    return HuggingfaceData(**{**values, **fractions, **changes})
