"""Questions to a library that imports torch, asked once in another process and then remembered.

An answer holds for the versions of the libraries and of the question's code, and is kept in the
user's cache folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from uniclip.io.hashing import digest, get_library_version
from uniclip.io.memo import disk_memoize

QUERY_TIMEOUT_S = 300
"""Seconds after which no answer is expected: torch may be read from a slow file system."""


class NoAnswerError(Exception):
    """The other process did not answer."""


def recall_answer(
    kind: str,
    question: Mapping[str, Any],
    versions: tuple[int | str, ...],
    compute: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Return the answer from the cache folder `kind`, or else compute and keep it.

    Args:
        kind: Name of the folder.
        question: JSON values.
        versions: The version of the question's code, and the names of libraries.
        compute: Returns the answer, or raises `NoAnswerError`.
    """
    versions = tuple(get_library_version(v) if isinstance(v, str) else v for v in versions)
    answer = disk_memoize(kind, digest([question, *versions]), compute)
    assert isinstance(answer, dict)
    return answer


def ask(module: str, question: Mapping[str, Any], notice: str) -> dict[str, Any]:
    """Return the JSON that `python -m <module> <question>` prints last.

    Raises:
        NoAnswerError: There was none.
    """
    print(notice, file=sys.stderr)
    try:
        process = subprocess.run(
            [sys.executable, "-m", module, json.dumps(question)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=QUERY_TIMEOUT_S,
            check=False,
        )
        answer = json.loads(process.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        raise NoAnswerError from None
    assert isinstance(answer, dict)
    return answer
