"""The result of one check of the doctor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """The result of one check: what was checked, the outcome, and how to fix it."""

    check: str
    level: Level
    message: str
    fix: str = ""


def format_diagnostic(diagnostic: Diagnostic) -> str:
    """Return a diagnostic as one line: the check, its result and how to fix it."""
    fix = f"; fix: {diagnostic.fix}" if diagnostic.fix else ""
    return f"{diagnostic.check}: {diagnostic.message}{fix}"


def ok(check: str, message: str) -> Diagnostic:
    """Return a diagnostic of a check that passed."""
    return Diagnostic(check=check, level="ok", message=message)


def warning(check: str, message: str, fix: str) -> Diagnostic:
    """Return a diagnostic of something that makes a sweep slower, or incomplete."""
    return Diagnostic(check=check, level="warning", message=message, fix=fix)


def problem(check: str, message: str, fix: str) -> Diagnostic:
    """Return a diagnostic of something that prevents a sweep from starting or from finishing."""
    return Diagnostic(check=check, level="problem", message=message, fix=fix)


def parse_diagnostic(record: Mapping[str, Any]) -> Diagnostic:
    """Return the diagnostic that was written as JSON."""
    return Diagnostic(**record)
