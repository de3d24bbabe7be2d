"""OpenMoji's pictures with captions and labels, part by part.

A picture's part is a hash of its code points, but pictures that render identically (flags of
dependencies, say) stay together: all go where the smallest of their code points goes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniclip.config import OpenmojiData
from uniclip.data.openmoji import render
from uniclip.data.openmoji.render import Emoji
from uniclip.data.split import Part, Split, part_of
from uniclip.rng import sample_id

VALIDATION, TEST = 0.1, 0.3

TONES = {
    "1F3FB": "light skin tone",
    "1F3FC": "medium-light skin tone",
    "1F3FD": "medium skin tone",
    "1F3FE": "medium-dark skin tone",
    "1F3FF": "dark skin tone",
}
"""Unicode's five modifiers."""
GENDERS = ("man", "woman")
UNSUITABLE = ("Component",)
"""Unicode's categories that say nothing about a picture."""


@dataclass(frozen=True, kw_only=True)
class OpenmojiSplit(Split):
    """Pictures out of the cached array."""

    path: str
    """The cached (m, 3, size, size) array."""
    rows: NDArray[np.int64]
    """(n,): where in it this split's pictures stand."""

    def pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        # Mapped anew at each call: cheap, and nothing open has to travel to a data worker.
        return np.asarray(np.load(self.path, mmap_mode="r")[self.rows[index]])


def open_split(config: OpenmojiData, part: Part) -> OpenmojiSplit:
    """One part; renders the set if it isn't cached."""
    path, emojis = render.load(config.size)
    parts = parts_of(emojis)
    rows = np.array([i for i in range(len(emojis)) if parts[i] == part], np.int64)
    chosen = [emojis[i] for i in rows]
    categories = tuple(sorted({e.category for e in emojis if e.category} - set(UNSUITABLE)))
    taken = {e.name.casefold() for e in emojis}
    return OpenmojiSplit(
        ids=np.array([sample_id(f"openmoji/{e.code}") for e in chosen], np.uint64),
        captions=tuple(_captions(e, taken) if part == "train" else (e.name,) for e in chosen),
        labels={
            "category": _numbers([e.category for e in chosen], categories),
            "skin_tone": _numbers([skin_tone(e) for e in chosen], tuple(TONES.values())),
            "gender": _numbers([gender(e) for e in chosen], GENDERS),
        },
        classes={"category": categories, "skin_tone": tuple(TONES.values()), "gender": GENDERS},
        names=tuple(e.name for e in chosen),
        path=str(path),
        rows=rows,
    )


def parts_of(emojis: Sequence[Emoji]) -> list[Part]:
    """The part of each picture."""
    leader: dict[str, str] = {}
    for e in emojis:
        leader[e.pixels] = min(e.code, leader.get(e.pixels, e.code))
    return [
        part_of(f"openmoji/{leader[e.pixels]}", validation=VALIDATION, test=TEST) for e in emojis
    ]


def skin_tone(e: Emoji) -> str | None:
    """The tone if the emoji has exactly one, however many people it shows."""
    tones = {TONES[c] for c in e.code.split("-") if c in TONES}
    return tones.pop() if len(tones) == 1 else None


def gender(e: Emoji) -> str | None:
    """The one of "man" and "woman" that the name has as a word, if it has only one."""
    words = set(re.split(r"[\s-]+", e.name.casefold())) & set(GENDERS)
    return words.pop() if len(words) == 1 else None


def _captions(e: Emoji, taken: set[str]) -> tuple[str, ...]:
    """Name and aliases; none that is another picture's name, or too short to be a word."""
    aliases = {a.casefold(): a for a in e.aliases if len(a) > 2 and a.casefold() not in taken}
    return (e.name, *aliases.values())


def _numbers(values: Sequence[str | None], classes: tuple[str, ...]) -> NDArray[np.int64]:
    return np.array([classes.index(v) if v in classes else -1 for v in values], np.int64)
