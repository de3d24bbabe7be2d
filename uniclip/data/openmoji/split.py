"""The splits of OpenMoji: images with captions and labels.

The split of an image is given by a hash of its code points. Images that render identically (such as
flags of dependencies) stay together: the smallest of their codes decides for all. With
`split_by=family` all variants of an emoji, its family, stay together (`clusters`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uniclip.config import OpenmojiData
from uniclip.data.openmoji import clusters, render
from uniclip.data.openmoji.render import Emoji
from uniclip.data.split import Split, SplitName, assign_split
from uniclip.rng import hash_sample_id

VALIDATION_FRACTION, TEST_FRACTION = 0.1, 0.3

SKIN_TONES = {
    "1F3FB": "light skin tone",
    "1F3FC": "medium-light skin tone",
    "1F3FD": "medium skin tone",
    "1F3FE": "medium-dark skin tone",
    "1F3FF": "dark skin tone",
}
"""Unicode's five skin-tone modifiers -> their names."""
GENDERS = ("man", "woman")
EXCLUDED_CATEGORIES = ("Component",)
"""Unicode categories that do not describe an image."""


@dataclass(frozen=True, kw_only=True)
class OpenmojiSplit(Split):
    """Images from the cached array."""

    images_path: str
    """File of the cached (m, 3, image_size, image_size) array."""
    rows: NDArray[np.int64]
    """(n,): rows of this split in the array."""

    def load_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        # Mapped at each call: this is cheap, and no open file has to be sent to data workers.
        return np.asarray(np.load(self.images_path, mmap_mode="r")[self.rows[index]])


def open_split(config: OpenmojiData, split_name: SplitName) -> OpenmojiSplit:
    """Return one split; the images are rendered first if they are not cached."""
    images_path, emojis = render.load_rendered(config.image_size)
    cluster_codes = clusters.find_clusters(emojis)
    split_names = assign_splits(emojis, config.split_by)
    rows = np.array([i for i in range(len(emojis)) if split_names[i] == split_name], np.int64)
    split_emojis = [emojis[i] for i in rows]
    categories = tuple(
        sorted({emoji.category for emoji in emojis if emoji.category} - set(EXCLUDED_CATEGORIES))
    )
    emoji_names = {emoji.name.casefold() for emoji in emojis}
    return OpenmojiSplit(
        ids=np.array(
            [hash_sample_id(f"openmoji/{emoji.code}") for emoji in split_emojis], np.uint64
        ),
        captions=tuple(
            _build_captions(emoji, emoji_names) if split_name == "train" else (emoji.name,)
            for emoji in split_emojis
        ),
        labels={
            "category": _encode_labels([emoji.category for emoji in split_emojis], categories),
            "skin_tone": _encode_labels(
                [get_skin_tone(emoji) for emoji in split_emojis], tuple(SKIN_TONES.values())
            ),
            "gender": _encode_labels([get_gender(emoji) for emoji in split_emojis], GENDERS),
        },
        class_names={
            "category": categories,
            "skin_tone": tuple(SKIN_TONES.values()),
            "gender": GENDERS,
        },
        sample_names=tuple(emoji.name for emoji in split_emojis),
        clusters=np.array(
            [hash_sample_id(f"openmoji/family/{cluster_codes[i]}") for i in rows], np.uint64
        ),
        images_path=str(images_path),
        rows=rows,
    )


def assign_splits(
    emojis: Sequence[Emoji], split_by: Literal["image", "family"] = "image"
) -> list[SplitName]:
    """Return the split of each emoji; equal images, or all variants, are in one split."""
    if split_by == "family":
        return [_assign_split(code) for code in clusters.find_clusters(emojis)]
    smallest_code: dict[str, str] = {}
    for emoji in emojis:
        smallest_code[emoji.image_digest] = min(
            emoji.code, smallest_code.get(emoji.image_digest, emoji.code)
        )
    return [_assign_split(smallest_code[emoji.image_digest]) for emoji in emojis]


def _assign_split(code: str) -> SplitName:
    return assign_split(
        f"openmoji/{code}", validation_fraction=VALIDATION_FRACTION, test_fraction=TEST_FRACTION
    )


def get_skin_tone(emoji: Emoji) -> str | None:
    """Return the skin tone if the emoji has exactly one, however many people it shows."""
    tones = {SKIN_TONES[c] for c in emoji.code.split("-") if c in SKIN_TONES}
    return tones.pop() if len(tones) == 1 else None


def get_gender(emoji: Emoji) -> str | None:
    """Return "man" or "woman" if the name contains exactly one of the two words."""
    gender_words = set(re.split(r"[\s-]+", emoji.name.casefold())) & set(GENDERS)
    return gender_words.pop() if len(gender_words) == 1 else None


def _build_captions(emoji: Emoji, emoji_names: set[str]) -> tuple[str, ...]:
    """Return name and aliases, without aliases that are another emoji's name or under 3 letters."""
    aliases = {
        alias.casefold(): alias
        for alias in emoji.aliases
        if len(alias) > 2 and alias.casefold() not in emoji_names
    }
    return (emoji.name, *aliases.values())


def _encode_labels(values: Sequence[str | None], class_names: tuple[str, ...]) -> NDArray[np.int64]:
    return np.array([class_names.index(v) if v in class_names else -1 for v in values], np.int64)
