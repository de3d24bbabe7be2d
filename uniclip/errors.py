"""Exceptions that the command line reports in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

MAX_LISTED_NAMES = 60
"""Names that an error for an unknown name lists."""


CHANGED_DATA_ADVICE = "run again to plan the data as they are now, or put the old data back first"
"""What to do about data that are not those that were planned."""


class UserError(ValueError):
    """Invalid input: one line that names it and a remedy. The command line exits with status 2."""


class RetryLater(UserError):
    """The request is valid but cannot be met now: the same command may succeed later."""


class NotFiniteError(UserError):
    """Weights have numbers that are not finite."""


class DataChangedError(UserError):
    """Data are not those that were planned: nothing may be trained or scored on them."""


class StopRequested(Exception):
    """Long work was stopped on request; what it has cached is used when it is repeated."""


def describe_error(error: BaseException, max_start: int = 180, max_end: int = 120) -> str:
    """Return type and message of an error in one line.

    Of a longer message the middle is left out: its end says what to do.

    Args:
        error: the error.
        max_start: characters that are kept of the start of a long message.
        max_end: characters that are kept of its end.
    """
    message = " ".join(str(error).split())
    if len(message) > max_start + max_end:
        message = f"{message[:max_start]} ... {message[len(message) - max_end :]}"
    return f"{type(error).__name__}: {message}"


def make_unknown_name_error(kind: str, name: object, valid_names: Iterable[str]) -> UserError:
    """Return the error for an unknown `name`: it suggests the nearest names, or lists all.

    Of more than `MAX_LISTED_NAMES` names it lists those that are nearest.
    """
    names = sorted(valid_names)
    close_matches = get_close_matches(str(name), names, n=3, cutoff=0.6)
    if close_matches:
        hint = f"did you mean {' or '.join(close_matches)}?"
    elif len(names) <= MAX_LISTED_NAMES:
        hint = f"choose from {', '.join(names)}"
    else:
        nearest = get_close_matches(str(name), names, n=5, cutoff=0.0)
        hint = f"there are {len(names)}, of which the nearest are {', '.join(nearest)}"
    return UserError(f"unknown {kind} {str(name)!r}: {hint}")


def make_not_evaluated_error(failures: Mapping[str, str]) -> UserError:
    """Return the error for data sets that could not be evaluated (name -> reason)."""
    return UserError(f"not evaluated: {', '.join(failures)} ({'; '.join(failures.values())})")
