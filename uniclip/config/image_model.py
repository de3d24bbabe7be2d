"""What timm says of an image model, without importing torch here: another process is asked once.

An answer holds for the versions of timm, torch and the question's code, and is kept in the user's
cache folder. The models of the presets are known: nobody is asked about them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from uniclip.io.hashing import digest, get_library_version
from uniclip.io.memo import disk_memoize

PRESETS = Path(__file__).parents[1] / "conf" / "model"
QUERY_MODULE = "uniclip.models.image_query"
QUERY_VERSION = 1
"""Raised when the same question gets another answer."""
QUERY_TIMEOUT_S = 300
"""Seconds after which no answer is expected: torch may be read from a slow file system."""


@dataclass(frozen=True, kw_only=True)
class ImageModelFacts:
    """What is known of an image model with its options at an input size."""

    image_size: int | None = None
    """Side of the input, in pixels: the requested one, else the one the model was made for."""
    error: str | None = None
    """One line for the user if there is no such model, or options or size do not suit it."""
    has_batch_norm: bool = False
    is_known: bool = True
    """Whether there is an answer; without one nothing is known to be wrong."""


def query_image_model(
    name: str, options: Mapping[str, Any], image_size: int | None, *, asks_always: bool = False
) -> ImageModelFacts:
    """Return what timm says of a model.

    Args:
        name: A timm model name.
        options: Keyword arguments of `timm.create_model`.
        image_size: Side of the input, in pixels; None = the one the model was made for.
        asks_always: Ask about the model of a preset too, for `has_batch_norm`.
    """
    for preset in () if asks_always else _read_preset_images():
        preset_size = preset["image_size"]
        is_same = (preset["name"], preset.get("options", {})) == (name, options)
        if is_same and image_size in (preset_size, None):
            return ImageModelFacts(image_size=preset_size)
    question = {"name": name, "options": dict(options), "image_size": image_size}
    try:
        answer = _recall(question, lambda: _ask(question))
        if image_size is None and (native_size := answer.get("image_size")) is not None:
            _recall({**question, "image_size": native_size}, lambda: answer)
        return ImageModelFacts(**answer)
    except (_NoAnswerError, TypeError) as error:
        missing_size = (
            f"the input size of model.image.name={name} is not known ({error}): set "
            "model.image.image_size"
        )
        return ImageModelFacts(
            image_size=image_size,
            error=missing_size if image_size is None else None,
            is_known=False,
        )


class _NoAnswerError(Exception):
    """The other process did not answer."""


def _recall(question: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the answer from the cache, or else compute and keep it."""
    versions = [QUERY_VERSION, *map(get_library_version, ("timm", "torch"))]
    answer = disk_memoize("image-models", digest([question, *versions]), compute)
    assert isinstance(answer, dict)
    return answer


def _ask(question: Mapping[str, Any]) -> dict[str, Any]:
    print(f"asking timm about model.image.name={question['name']}, once ...", file=sys.stderr)
    command = [sys.executable, "-m", QUERY_MODULE, json.dumps(question)]
    try:
        process = subprocess.run(
            command,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=QUERY_TIMEOUT_S,
            check=False,
        )
        answer = json.loads(process.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        raise _NoAnswerError("timm could not be asked") from None
    assert isinstance(answer, dict)
    return answer


@cache
def _read_preset_images() -> list[dict[str, Any]]:
    """Return the image sections of the presets."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(PRESETS.glob("*.yaml"))]
    return [yaml.safe_load(text)["image"] for text in texts]
