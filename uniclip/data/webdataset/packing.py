"""Packing of a table of images, or of a folder of the `datasets` library, into shards.

Millions of small files are slow to open; and rows with embedded images cannot be read at random.
The images are copied as they are. An image is named after a hash of its path in the table or, if
it is embedded, of its content: rows of one image are in one split.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.config import CsvData
from uniclip.data.csv.columns import TableRequest, find_columns
from uniclip.data.csv.table import iterate_rows
from uniclip.errors import UserError
from uniclip.io.hashing import hash_sample_id

if TYPE_CHECKING:
    import pyarrow

SAMPLES_PER_SHARD = 10_000
"""As img2dataset writes them."""
FORMATS = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}
"""First bytes of an image file -> its extension in a shard."""
IMAGE_COLUMNS = ("image", "jpg", "img", "picture")
"""Names of columns of embedded images that are recognized."""
CAPTION_COLUMNS = ("caption", "text", "txt", "title")
"""Names of columns of captions that are recognized beside them."""
BATCH_ROWS = 256
"""Rows with embedded images that are in memory at once."""


@dataclass(frozen=True)
class PackedSample:
    """A row: an image file and its caption."""

    name: str
    """What the image is named after."""
    caption: str
    content: bytes | None
    """The image file; None if it is missing."""


def pack_table(config: CsvData, folder: Path) -> Counter[str]:
    """Write the images and captions of a table or data set as shards into a new folder.

    Args:
        config: `path` is a CSV or Parquet file with paths of images, or a folder of Arrow or
            Parquet files with embedded ones, such as `datasets` writes.
        folder: A folder that does not exist, or is empty.

    Returns:
        The number of rows "packed", and for each reason of those that are left out.

    Raises:
        UserError: The table cannot be read, has no image, or the folder cannot be written.
    """
    is_folder = Path(config.path).expanduser().is_dir()
    samples = _iterate_embedded(config) if is_folder else _iterate_table(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"{folder} has files already: name another folder with to=")
        counts = _write_shards(samples, folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error})") from None
    if not counts["packed"]:
        raise UserError(f"{config.path} has no image that can be packed ({dict(counts)})")
    return counts


def _write_shards(samples: Iterator[PackedSample], folder: Path) -> Counter[str]:
    """Write shards 00000.tar, ...; one that is not complete has another name."""
    counts: Counter[str] = Counter()
    last_name = ""
    archive: tarfile.TarFile | None = None
    try:
        for sample in samples:
            reason, extension = _check_sample(sample, last_name)
            counts[reason] += 1
            if reason != "packed":
                continue
            assert sample.content is not None
            last_name = sample.name
            if archive is None:
                number = (counts["packed"] - 1) // SAMPLES_PER_SHARD
                path = folder / f"{number:05d}.tar"
                archive = tarfile.open(f"{path}.partial", "w")
            key = f"{hash_sample_id(sample.name):016x}"
            _add_member(archive, f"{key}.{extension}", sample.content)
            _add_member(archive, f"{key}.txt", sample.caption.encode("utf-8", "replace"))
            if counts["packed"] % SAMPLES_PER_SHARD == 0:
                _finish(archive, path)
                archive = None
        if archive is not None:
            _finish(archive, path)
    finally:
        if archive is not None:
            archive.close()
    return counts


def _check_sample(sample: PackedSample, last_name: str) -> tuple[str, str]:
    """Return "packed", or why a sample is left out, and the extension of its image."""
    if sample.content is None:
        return "no image", ""
    if not sample.caption.strip():
        return "no caption", ""
    if sample.name == last_name:  # members of one name would be one sample
        return "another caption of the image before", ""
    for first_bytes, extension in FORMATS.items():
        if sample.content.startswith(first_bytes):
            return "packed", extension
    return "neither JPEG, PNG nor WebP", ""


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _finish(archive: tarfile.TarFile, path: Path) -> None:
    archive.close()
    Path(f"{path}.partial").rename(path)


def _iterate_table(config: CsvData) -> Iterator[PackedSample]:
    """Yield the rows of a table with paths of images."""
    columns = find_columns(TableRequest.from_config(config, config.path))
    root = Path(config.path).expanduser().parent
    for _, fields in iterate_rows(columns.table):
        path = fields[columns.positions["image_column"]]
        try:
            content = (root / path).read_bytes() if path else None
        except (OSError, ValueError):
            content = None
        yield PackedSample(path, fields[columns.positions["caption_column"]], content)


def _iterate_embedded(config: CsvData) -> Iterator[PackedSample]:
    """Yield the rows of a folder of Arrow or Parquet files with embedded images."""
    folder = Path(config.path).expanduser()
    files = sorted(path for kind in ("arrow", "parquet") for path in folder.rglob(f"*.{kind}"))
    if not files:
        raise UserError(f"{folder} has no .arrow or .parquet file")
    for path in files:
        with _convert_errors(path):
            yield from _iterate_file(config, path)


def _iterate_file(config: CsvData, path: Path) -> Iterator[PackedSample]:
    is_parquet = path.suffix == ".parquet"
    for batch in _iterate_parquet(path) if is_parquet else _iterate_arrow(path):
        image = _find_column(batch, path, "image_column", config.image_column, IMAGE_COLUMNS)
        caption = _find_column(
            batch, path, "caption_column", config.caption_column, CAPTION_COLUMNS
        )
        for start in range(0, len(batch), BATCH_ROWS):
            rows = batch.slice(start, BATCH_ROWS)
            images, captions = rows.column(image).to_pylist(), rows.column(caption).to_pylist()
            for value, text in zip(images, captions):
                content = value.get("bytes") if isinstance(value, dict) else value
                if not isinstance(content, (bytes, type(None))):
                    raise UserError(
                        f"{path}: column {image!r} has no embedded images (bytes); name their "
                        "column with data.image_column"
                    )
                text = text[0] if isinstance(text, list) and text else text
                name = "" if content is None else blake2b(content, digest_size=16).hexdigest()
                yield PackedSample(name, "" if text is None else str(text).strip(), content)


def _find_column(
    batch: pyarrow.RecordBatch, path: Path, key: str, wanted: str, usual_names: tuple[str, ...]
) -> str:
    """Return the column that the configuration names, or else a usual one."""
    names = batch.schema.names
    candidates = (wanted,) if wanted != getattr(CsvData, key) else (wanted, *usual_names)
    for name in candidates:
        if name in names:
            return name
    listed = ", ".join(map(repr, names))
    raise UserError(f"{path}: there is no column {wanted!r}: name one of {listed} with data.{key}")


def _iterate_parquet(path: Path) -> Iterator[pyarrow.RecordBatch]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        yield from file.iter_batches(BATCH_ROWS)


def _iterate_arrow(path: Path) -> Iterator[pyarrow.RecordBatch]:
    """Yield the batches of a file in the stream format of Arrow (`datasets`) or its file format."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        if source.read(6) == b"ARROW1":
            source.seek(0)
            reader = pyarrow.ipc.open_file(source)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            source.seek(0)
            yield from pyarrow.ipc.open_stream(source)


@contextmanager
def _convert_errors(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read ({reason}); write it again") from None
