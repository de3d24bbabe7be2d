"""One thing that was looked at before anything is spent, and how it was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: what was looked at, how it stands, and what mends it."""

    check: str
    level: Level
    said: str
    mend: str = ""


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check=check, level="ok", said=said)


def warning(check: str, said: str, mend: str) -> Finding:
    """A sweep would run, but not as well as it might, or not as far."""
    return Finding(check=check, level="warning", said=said, mend=mend)


def problem(check: str, said: str, mend: str) -> Finding:
    """A sweep would not run, or not to its end."""
    return Finding(check=check, level="problem", said=said, mend=mend)


def from_record(record: Mapping[str, Any]) -> Finding:
    """A finding as JSON kept it."""
    return Finding(**record)
