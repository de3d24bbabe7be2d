"""Decoding all images of a list once, and remembering which are known to be good.

A file is known by its path, size and times of change: what was found good is not decoded again
until one of them changes. Unreadable images are never remembered, so a repair is seen at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Literal

from uniclip.errors import UserError
from uniclip.io import rgb_image
from uniclip.io.atomic import atomic_write

ReportProgress = Callable[[int, int], object]
"""Is told how many images are done, of how many."""
ONE_COLOR: Literal["one_color"] = "one_color"
GOOD: Literal["good"] = "good"
CODES: dict[str, bytes] = {GOOD: b"g", ONE_COLOR: b"c"}
"""Finding -> how it is remembered; an unreadable image has the reason as its finding."""
KEY_BYTES = 12
"""Bytes of the key of a remembered image."""
MAX_THREADS = 16
CHUNK_SIZE = 256
"""Images that are handed to the threads at once: an interrupt waits for no more."""
REPORT_SECONDS = 2.0
"""Seconds between two reports of progress."""
MIN_AGE_SECONDS = 2.0
"""A file changed less than this ago may change again within the resolution of its timestamp."""


@dataclass(frozen=True)
class ImageLocation:
    """Where the bytes of an image are."""

    name: str
    """Description for messages."""
    path: str
    start: int = 0
    length: int | None = None
    """Bytes within a larger file; None = the whole file."""
    read: Callable[[], bytes] | None = field(default=None, compare=False)
    """Returns the bytes where they are not in one piece: `start` then is a number in the file."""


@dataclass(frozen=True, kw_only=True)
class ImageFindings:
    """What decoding found of the images of a list."""

    num_images: int
    unreadable: tuple[str, ...]
    """Name and fault of each image that cannot be read."""
    one_color: tuple[str, ...]
    """Names of the images of a single color."""
    unreadable_positions: tuple[int, ...] = ()
    """Positions in the list of the images that cannot be read."""
    num_decoded: int = 0
    """Number of images that were not remembered."""
    memory_path: Path | None = None
    """File of what is remembered."""
    memory: bytes = field(default=b"", compare=False)
    """Its content, with the images that were found good."""

    def remember(self) -> None:
        """Write what was found good, unless nothing was decoded."""
        if self.memory_path is not None and self.num_decoded:
            with suppress(OSError):  # such as a store that belongs to another user
                atomic_write(self.memory_path, self.memory)


def check_images(
    locations: Sequence[ImageLocation],
    image_size: int,
    memory_path: Path | None = None,
    report_progress: ReportProgress = lambda done, total: None,
) -> ImageFindings:
    """Decode the images that are not remembered as good, as training does; nothing is written.

    Args:
        locations: The images.
        image_size: Side of the square that is looked at, in pixels.
        memory_path: File of what is remembered (`ImageFindings.remember`); None = nothing is.
        report_progress: Called every few seconds with the number of images done, and of all.

    Raises:
        UserError: The machine cannot read files, whatever their content.
    """
    keys = [_compute_key(location, image_size) for location in locations]
    memory = _read_memory(memory_path)
    findings = {i: memory[key] for i, key in enumerate(keys) if key in memory}
    pending = [i for i in range(len(locations)) if i not in findings]
    last_report = time.monotonic()
    with rgb_image.silence_pillow_warnings(), ThreadPoolExecutor(_count_threads()) as pool:
        for start in range(0, len(pending), CHUNK_SIZE):
            chunk = pending[start : start + CHUNK_SIZE]
            chunk_findings = pool.map(lambda i: _examine(locations[i], image_size), chunk)
            findings |= dict(zip(chunk, chunk_findings))
            if time.monotonic() - last_report >= REPORT_SECONDS:
                report_progress(len(findings), len(locations))
                last_report = time.monotonic()
    named_findings = [(location.name, findings[i]) for i, location in enumerate(locations)]
    return ImageFindings(
        num_images=len(locations),
        unreadable=tuple(f"{n} cannot be read ({f})" for n, f in named_findings if f not in CODES),
        one_color=tuple(name for name, finding in named_findings if finding == ONE_COLOR),
        unreadable_positions=tuple(i for i, f in sorted(findings.items()) if f not in CODES),
        num_decoded=len(pending),
        memory_path=memory_path,
        memory=b"".join(
            key + CODES[findings[i]]
            for i, key in enumerate(keys)
            if key is not None and findings[i] in CODES
        ),
    )


def _examine(location: ImageLocation, image_size: int) -> str:
    """Return `GOOD`, `ONE_COLOR`, or why an image cannot be read."""
    try:
        if location.read is not None:
            image = rgb_image.decode_rgb_image(BytesIO(location.read()), 2 * image_size)
        elif location.length is None:
            image = rgb_image.decode_rgb_image(location.path, 2 * image_size)
        else:
            with open(location.path, "rb") as stream:
                stream.seek(location.start)
                content = BytesIO(stream.read(location.length))
            image = rgb_image.decode_rgb_image(content, 2 * image_size)
        is_one_color = rgb_image.is_one_color(rgb_image.crop_and_resize(image, image_size))
    except UserError:
        raise
    except (rgb_image.UnreadableImageError, OSError) as error:
        return str(error)
    return ONE_COLOR if is_one_color else GOOD


def _count_threads() -> int:
    return min(MAX_THREADS, os.cpu_count() or 1)


def _compute_key(location: ImageLocation, image_size: int) -> bytes | None:
    """Return the key under which an image is remembered; None for one that may change unseen."""
    try:
        status = os.stat(location.path)
    except (OSError, ValueError):
        return None
    if time.time() - max(status.st_mtime, status.st_ctime) < MIN_AGE_SECONDS:
        return None
    signature = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    position = (os.path.abspath(location.path), location.start, location.length)
    text = repr((rgb_image.IMAGE_RULE, image_size, position, signature))
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=KEY_BYTES).digest()


def _read_memory(path: Path | None) -> dict[bytes | None, str]:
    """Return key -> finding; nothing of a file that is missing or damaged."""
    content = b""
    if path is not None:
        with suppress(OSError):
            content = path.read_bytes()
    names = {code: name for name, code in CODES.items()}
    record_bytes = KEY_BYTES + 1
    starts: Iterable[int] = range(0, len(content), record_bytes)
    if len(content) % record_bytes:
        starts = ()
    records = [content[start : start + record_bytes] for start in starts]
    return {r[:KEY_BYTES]: names[r[KEY_BYTES:]] for r in records if r[KEY_BYTES:] in names}
