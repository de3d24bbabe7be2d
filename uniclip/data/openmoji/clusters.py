"""Clusters of OpenMoji: the variants of one emoji by skin tone, gender, age and direction.

Variants look alike and have almost the same name: they are not independent samples. A cluster is
what is left of the code points when skin tones, gender signs, variation selectors, joiners and the
arrow of direction are removed, and man, woman and person are one (so are boy, girl and child, and
old man, woman and person). Images that render identically are of one cluster, too. The rule is our
own: Unicode has no name for such a set.
"""

from __future__ import annotations

from collections.abc import Sequence

from uniclip.data.openmoji.render import Emoji

SKIN_TONE_CODES = ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")
IGNORED_CODES = frozenset({*SKIN_TONE_CODES, "2640", "2642", "200D", "FE0F", "27A1"})
"""Skin tones, female and male sign, joiner, variation selector and rightwards arrow."""
PERSON_BY_CODE = {
    **dict.fromkeys(("1F468", "1F469", "1F9D1"), "adult"),
    **dict.fromkeys(("1F466", "1F467", "1F9D2"), "child"),
    **dict.fromkeys(("1F474", "1F475", "1F9D3"), "older"),
}
"""Code point of a person -> age."""


def find_clusters(emojis: Sequence[Emoji]) -> list[str]:
    """Return the cluster of each emoji: the smallest code among its members."""
    group_of_name: dict[str, str] = {}

    def find_root(name: str) -> str:
        while group_of_name.setdefault(name, name) != name:
            name = group_of_name[name]
        return name

    for emoji in emojis:
        roots = sorted({find_root(_strip_variant(emoji.code)), find_root(f"={emoji.image_digest}")})
        group_of_name[roots[-1]] = roots[0]
    groups = [find_root(_strip_variant(emoji.code)) for emoji in emojis]
    smallest_code: dict[str, str] = {}
    for group, emoji in zip(groups, emojis):
        smallest_code[group] = min(emoji.code, smallest_code.get(group, emoji.code))
    return [smallest_code[group] for group in groups]


def _strip_variant(code: str) -> str:
    """Return the code without what distinguishes the variants of one emoji."""
    codes = code.split("-")
    kept_codes = [PERSON_BY_CODE.get(c, c) for c in codes if c not in IGNORED_CODES]
    return "-".join(kept_codes) or code
