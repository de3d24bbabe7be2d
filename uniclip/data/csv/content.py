"""What a user's table and images contain: digests of the table, and of image files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from uniclip.config import CsvData
from uniclip.data.csv.rows import (
    MAX_LOOKED_UP_BYTES,
    CsvSample,
    locate_images,
    read_samples,
)
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError, UserError
from uniclip.io import file_digests
from uniclip.io.memo import disk_memoize

MISSING_IMAGE = "missing"
"""Stands for the digest of an image that cannot be opened."""


_digests: dict[str, tuple[tuple[int, ...], dict[str, object]]] = {}
"""Path of a table -> its signature (`read_signature`), and size and digest."""


def digest_table(path: str) -> dict[str, object]:
    """Return size and digest of a table; it is read again only if it has changed.

    The digest of a large table is kept in the user's cache folder, for other processes.

    Raises:
        UserError: It cannot be read.
    """
    try:
        signature = file_digests.read_signature(Path(path))
        name = os.path.abspath(path)
        is_settled = file_digests.is_settled(signature)
        known = _digests.get(name)
        if known is None or known[0] != signature or not is_settled:
            known = signature, {}
        if not known[1] and is_settled and signature[2] > MAX_LOOKED_UP_BYTES:
            key = file_digests.name_memo(name, signature)
            known = signature, disk_memoize("table-digests", key, lambda: _digest_content(path))
        _digests[name] = signature, known[1] or _digest_content(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
    return dict(_digests[name][1])


def _digest_content(path: str) -> dict[str, object]:
    with open(path, "rb") as stream:
        content_hash = hashlib.file_digest(stream, blake2b)
        return {"bytes": stream.tell(), "digest": content_hash.hexdigest()[:32]}


def digest_csv_file(path: Path) -> str:
    """Return 32 hex digits over the content of a table."""
    return str(digest_table(str(path))["digest"])


def digest_image_list(samples: Sequence[CsvSample]) -> str:
    """Return 32 hex digits over names and sizes of the images of a table."""
    image_list_hash = blake2b()
    for sample in sorted(samples, key=lambda s: s.path):
        image_list_hash.update(f"{sample.path}\0{sample.file_size}\n".encode())
    return image_list_hash.hexdigest()[:32]


def digest_images(paths: Sequence[Path], is_kept: bool = True) -> list[str]:
    """Return the digest of each image file, `MISSING_IMAGE` for one that cannot be opened.

    is_kept: whether the digests are kept in the user's cache folder, for other processes.
    """
    try:
        return file_digests.digest_files(paths, file_digests.name_memo(*paths) if is_kept else "")
    except OSError:
        return [_digest_image(path) for path in paths]


def digest_image_contents(config: CsvData) -> str:
    """Return 32 hex digits over names and content of all images of the tables."""
    samples = sorted(
        read_samples(config), key=lambda sample: (sample.path, sample.table_path != config.path)
    )
    image_list_hash = blake2b()
    for sample, digest in zip(samples, digest_images(locate_images(samples))):
        image_list_hash.update(f"{sample.path}\0{digest}\n".encode())
    return image_list_hash.hexdigest()[:32]


def require_image(path: str, planned_digest: str) -> None:
    """Raise `DataChangedError` if an image file has not the content of the digest."""
    (digest,) = digest_images([Path(path)], is_kept=False)
    if digest != planned_digest:
        raise DataChangedError(f"{path} has changed since the plan; {CHANGED_DATA_ADVICE}")


def _digest_image(path: Path) -> str:
    try:
        return file_digests.digest_files([path])[0]
    except OSError:
        return MISSING_IMAGE
