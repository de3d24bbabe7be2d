"""User-defined data: a table with image paths, captions and, optionally, labels.

Several rows with the same path are one sample with several captions. What the data are is the
content of the table, and with `data.verify=true` the content of every image too; where they lie is
not part of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.config import CsvData, ModelConfig
from uniclip.data import views
from uniclip.data.csv.content import digest_image_contents, digest_table
from uniclip.data.csv.index import recall_index
from uniclip.data.csv.rows import must_look_up
from uniclip.data.source import DataWarning
from uniclip.data.split import SourceShare
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError, UserError
from uniclip.io import file_digests
from uniclip.io.hashing import digest
from uniclip.io.rgb_image import IMAGE_RULE

if TYPE_CHECKING:
    from uniclip.data.split import Split, SplitName

SPLIT_RULE = "csv/1: hash of the path"

sample_view = views.sample_view


def fingerprint(config: CsvData) -> dict[str, object]:
    """Return size and digest of each table, the columns and, with `verify`, a digest of all images.

    Which names lead to one image file is part of it: a copy in which hard links or symbolic links
    became files of their own is split in another way.

    Raises:
        UserError: A table or a row of it cannot be read.
    """
    content: dict[str, object] = {
        "source": "csv",
        "split": SPLIT_RULE,
        "index": digest_table(config.path),
        "columns": [config.image_column, config.caption_column, config.label_column],
        "image_size": config.image_size,
        "image_rule": IMAGE_RULE,
    }
    if config.test_path:
        content["test_index"] = digest_table(config.test_path)
    if same_images := recall_index(config).summary.same_images:
        content["same_images"] = digest(same_images, 32)
    if config.verify:
        content["images"] = _digest_images(config)
    return content


def _digest_images(config: CsvData) -> str:
    """Return 32 hex digits over names and content of all images of the tables."""
    if must_look_up(config):
        return digest_image_contents(config)
    from uniclip.data.csv import image_digests, packed_index  # import numpy: see `uniclip.data`

    return image_digests.digest_image_contents(packed_index.open_index(config))


def describe_fingerprint(config: CsvData) -> str:
    """Return one sentence on what the identity of the data rests on."""
    tables = "the bytes of the table" if not config.test_path else "the bytes of both tables"
    if config.verify:
        return f"the data are identified by {tables} and of every image (data.verify=true)"
    return (
        f"the data are identified by {tables}, not by the images' content (data.verify=true "
        "includes it)"
    )


def describe_content(config: CsvData, model: ModelConfig) -> list[str]:
    """Return what the user should know of the tables; `UserError` if they cannot be used."""
    from uniclip.data.csv import image_sizes, notes

    return [
        *notes.describe_index(config, model.text),
        *image_sizes.describe_small_images(config, recall_index(config), model.image.image_size),
        describe_fingerprint(config),
    ]


def list_warnings(config: CsvData, model: ModelConfig) -> list[DataWarning]:
    """Return what the user should change; `UserError` if the tables cannot be used."""
    from uniclip.data.csv import notes

    return notes.list_warnings(config, model.text)


def count_training_samples(config: CsvData, enough: int) -> list[SourceShare]:
    """Return the share of all training samples; `UserError` if the tables cannot be used."""
    return [SourceShare(0, recall_index(config).summary.split_counts["train"], 1.0)]


def has_test_images(config: CsvData) -> bool:
    """Return whether the test split has images; `UserError` if the tables cannot be used."""
    return recall_index(config).summary.split_counts["test"] > 0


def describe_missing(config: CsvData) -> str | None:
    """Return what to do if there is no such file, or None."""
    if not config.path:
        return "name your CSV file with data.path=<file>"
    for key in ("path", "test_path"):
        path = getattr(config, key)
        if path and not Path(path).is_file():
            return f"there is no file {path}; name your CSV file with data.{key}=<file>"
    return None


def open_split(config: CsvData, split_name: SplitName) -> Split:
    """Return one split.

    Raises:
        UserError: A row cannot be used.
        DataChangedError: A table was replaced while it was read.
    """
    from uniclip.data.csv import split  # imports numpy: see `uniclip.data`

    signatures = _read_signatures(config)
    opened = split.open_split(config, split_name)
    if _read_signatures(config) != signatures:
        raise DataChangedError(
            f"{config.path} was changed while it was read; {CHANGED_DATA_ADVICE}"
        )
    return opened


def _read_signatures(config: CsvData) -> list[tuple[int, ...]]:
    """Return what differs after a table was rewritten or replaced.

    Raises:
        UserError: A table is gone.
    """
    try:
        return [
            file_digests.read_signature(Path(path))
            for path in (config.path, config.test_path)
            if path
        ]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror})") from None
