"""What goes wrong by the user's hand: one clear line, exit status 2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input: one line that says what, where and what to do. The command line exits with 2."""


class RetryLater(UserError):
    """Nothing is wrong with what was asked: the same words may do later."""


class StopRequested(Exception):
    """Long work was asked to end in the middle; what it kept is found by who goes on."""


def make_unknown_name_error(kind: str, name: object, valid_names: Iterable[str]) -> UserError:
    """The error for a `name` that is none of `known`: nearest names first, else all of them."""
    names = sorted(valid_names)
    close_matches = get_close_matches(str(name), names, n=3, cutoff=0.6)
    hint = (
        f"did you mean {' or '.join(close_matches)}?"
        if close_matches
        else f"choose from {', '.join(names)}"
    )
    return UserError(f"unknown {kind} {str(name)!r}: {hint}")


def make_not_evaluated_error(failures: Mapping[str, str]) -> UserError:
    """The error for data sets that could not be judged: name -> why."""
    return UserError(f"not judged: {', '.join(failures)} ({'; '.join(failures.values())})")
