"""One thing that was looked at before anything is spent, and how it was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One line: what was looked at, how it stands, and what mends it."""

    check: str
    level: Level
    message: str
    fix: str = ""


def ok(check: str, message: str) -> Diagnostic:
    """All is well."""
    return Diagnostic(check=check, level="ok", message=message)


def warning(check: str, message: str, fix: str) -> Diagnostic:
    """A sweep would run, but not as well as it might, or not as far."""
    return Diagnostic(check=check, level="warning", message=message, fix=fix)


def problem(check: str, message: str, fix: str) -> Diagnostic:
    """A sweep would not run, or not to its end."""
    return Diagnostic(check=check, level="problem", message=message, fix=fix)


def parse_diagnostic(record: Mapping[str, Any]) -> Diagnostic:
    """A finding as JSON kept it."""
    return Diagnostic(**record)
