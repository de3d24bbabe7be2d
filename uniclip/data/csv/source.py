"""User-defined data: a CSV file with image paths, captions and, optionally, labels.

Several rows with the same path are one sample with several captions.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.config import CsvData
from uniclip.data import views
from uniclip.data.csv.rows import read_samples

if TYPE_CHECKING:
    from uniclip.data.split import Split, SplitName

SPLIT_RULE = "csv/1: hash of the path"

sample_view = views.sample_view


def fingerprint(config: CsvData) -> dict[str, object]:
    """Return size and digest of the CSV file, its columns, and names and sizes of the images."""
    path = Path(config.path)
    return {
        "source": "csv",
        "split": SPLIT_RULE,
        "index": {"bytes": path.stat().st_size, "digest": digest_csv_file(path)},
        "columns": [config.image_column, config.caption_column, config.label_column],
        "images": digest_image_list(config),
        "image_size": config.image_size,
    }


def describe_missing(config: CsvData) -> str | None:
    """Return what to do if there is no such file, or None."""
    if not config.path:
        return "name your CSV file with data.path=<file>"
    if not Path(config.path).is_file():
        return f"there is no file {config.path}; name your CSV file with data.path=<file>"
    return None


def open_split(config: CsvData, split_name: SplitName) -> Split:
    """Return one split; `UserError` for the first row that cannot be used."""
    from uniclip.data.csv import split  # imports numpy: see `uniclip.data`

    return split.open_split(config, split_name)


def digest_csv_file(path: Path) -> str:
    """Return 32 hex digits over the content of the CSV file."""
    return blake2b(path.read_bytes()).hexdigest()[:32]


def digest_image_list(config: CsvData) -> str:
    """Return 32 hex digits over names and sizes of the images; `UserError` for a faulty row."""
    image_list_hash = blake2b()
    for sample in sorted(read_samples(config), key=lambda s: s.path):
        image_list_hash.update(f"{sample.path}\0{sample.file_size}\n".encode())
    return image_list_hash.hexdigest()[:32]
