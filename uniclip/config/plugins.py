"""Modules of the user's own (`plugins=[module]`): imported, they enter what they define by name.

A method goes into `uniclip.config.METHODS`, a source of data into `uniclip.data.SOURCES` with its
configuration in `uniclip.config.DATA`, a benchmark with its scores into
`uniclip.evaluate.BENCHMARKS`. Presets, components and ablations are YAML (`conf_dir=`). The sources
of a plugin, a file or a package, count in the hashes of the code and go with it to every job.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from uniclip.errors import UserError

_plugin_paths: dict[str, Path] = {}
"""Top-level name -> its file, or the folder of its package."""


def import_plugins(names: str | Sequence[str]) -> None:
    """Import modules, looked for in the working folder and where Python looks.

    Raises:
        UserError: there is no such module, importing it fails, or this is no list.
    """
    if not isinstance(names, Sequence):
        raise UserError(f"plugins must be a list such as [my_module], got {names!r}")
    for name in [names] if isinstance(names, str) else names:
        top_level_name = str(name).partition(".")[0]
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            importlib.import_module(str(name))
        except Exception as error:
            message = " ".join(str(error).split())[:200]
            raise UserError(
                f"plugins: {name} cannot be imported ({type(error).__name__}: {message}); "
                f"it is looked for in {os.getcwd()} and on PYTHONPATH"
            ) from error
        file = getattr(sys.modules[top_level_name], "__file__", None)
        if file is None:
            raise UserError(
                f"plugins: {top_level_name} is a folder without an __init__.py; give it one"
            )
        _plugin_paths[top_level_name] = (
            Path(file).parent if Path(file).stem == "__init__" else Path(file)
        )


def get_plugin_paths() -> tuple[Path, ...]:
    """The files and package folders of what is in use, by name."""
    return tuple(path for _, path in sorted(_plugin_paths.items()))


def build_python_path(*extra_folders: Path) -> str:
    """The PYTHONPATH of a process that is to find these folders and what is in use."""
    folders = dict.fromkeys([*extra_folders, *(path.parent for path in get_plugin_paths())])
    return os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH")]))
