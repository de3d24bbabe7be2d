"""Import of matplotlib without the user's settings: a broken matplotlibrc must not end a report.

Matplotlib reads a settings file, the variable MPLBACKEND and its cache when it is imported, and
fails or prints warnings if they cannot be read, or if the home cannot be written.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

SETTINGS_FILE = "matplotlibrc"


def import_matplotlib() -> None:
    """Import matplotlib with its own default settings; it has no effect after the first import."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # such as "building the font cache"
    variables = {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "agg"}
    if (cache_folder := _choose_cache_folder()) is not None:
        variables["MPLCONFIGDIR"] = cache_folder
    with _use_variables(variables), _leave_folder_with_settings():
        import matplotlib.font_manager  # noqa: F401  it reads the list of fonts


def _choose_cache_folder() -> str | None:
    """Return a folder for the list of fonts; None if matplotlib's own can be written."""
    folder = os.environ.get("MPLCONFIGDIR") or os.environ.get("XDG_CACHE_HOME")
    home = folder or os.path.expanduser("~")
    existing = next((p for p in (Path(home), *Path(home).parents) if p.exists()), None)
    if existing is not None and existing.is_dir() and os.access(existing, os.W_OK):
        return None
    return os.path.join(tempfile.gettempdir(), f"uniclip-matplotlib-{os.getuid()}")


@contextmanager
def _use_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment within the block."""
    earlier_values = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in earlier_values.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _leave_folder_with_settings() -> Iterator[None]:
    """Work elsewhere within the block if a file in the current folder would be read as settings."""
    if not os.path.exists(SETTINGS_FILE):
        yield
        return
    current_folder = os.open(".", os.O_RDONLY)
    try:
        os.chdir(os.path.dirname(os.path.abspath(__file__)))
        yield
    finally:
        os.fchdir(current_folder)
        os.close(current_folder)
