"""Exceptions that the command line reports in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


class UserError(ValueError):
    """Invalid input: one line that names it and a remedy. The command line exits with status 2."""


class RetryLater(UserError):
    """The request is valid but cannot be met now: the same command may succeed later."""


class StopRequested(Exception):
    """Long work was stopped on request; what it has cached is used when it is repeated."""


def make_unknown_name_error(kind: str, name: object, valid_names: Iterable[str]) -> UserError:
    """Return the error for an unknown `name`: it suggests the nearest names, or lists all."""
    names = sorted(valid_names)
    close_matches = get_close_matches(str(name), names, n=3, cutoff=0.6)
    hint = (
        f"did you mean {' or '.join(close_matches)}?"
        if close_matches
        else f"choose from {', '.join(names)}"
    )
    return UserError(f"unknown {kind} {str(name)!r}: {hint}")


def make_not_evaluated_error(failures: Mapping[str, str]) -> UserError:
    """Return the error for data sets that could not be evaluated (name -> reason)."""
    return UserError(f"not evaluated: {', '.join(failures)} ({'; '.join(failures.values())})")
