"""The keys of `key=value` words: short ones, and words that replace others of the same key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

KEY_ALIASES = {
    "data_root": "runtime.data_root",
    "protocol": "runtime.protocol",
    "plugins": "runtime.plugins",
}
"""Short key -> key of the run's configuration."""


def get_key(override: str) -> str:
    """Return the key of a word; of a short one, the key that it stands for."""
    key = override.partition("=")[0]
    return KEY_ALIASES.get(key, key)


def replace_overrides(recorded: Iterable[str], overrides: Sequence[str]) -> list[str]:
    """Return recorded words, completed by others.

    Each of the others replaces the recorded word of its key, and `launcher=` replaces every
    recorded setting of a launcher.
    """
    keys = {get_key(word) for word in overrides}
    remaining = [word for word in recorded if get_key(word) not in keys]
    if "launcher" in keys:
        remaining = [word for word in remaining if not word.startswith("launcher.")]
    return [*remaining, *overrides]
