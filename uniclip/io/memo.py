"""Values that are expensive to compute, kept in the user's cache folder between processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from uniclip.io.atomic import JSON_ERRORS, atomic_write, parse_json


def get_cache_folder() -> Path:
    """Return `UNICLIP_CACHE`, or the user's cache folder; everything in it can be recomputed."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("UNICLIP_CACHE") or user_cache_dir("uniclip"))


def disk_memoize(kind: str, key: str, compute: Callable[[], Any]) -> Any:
    """Return the value of `compute()`, a JSON value, from `<cache>/<kind>/<key>.json` if possible.

    A missing or damaged file costs only time: the value is computed and written again. A cache
    folder that cannot be written is ignored.
    """
    path = get_cache_folder() / kind / f"{key}.json"
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, *JSON_ERRORS):
        value = compute()
    with suppress(OSError):
        atomic_write(path, json.dumps(value).encode())
    return value
