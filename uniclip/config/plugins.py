"""Plug-ins: modules of the user (`plugins=[module]`) that register methods, data and benchmarks.

A method is registered in `uniclip.config.METHODS`, a data source in `uniclip.data.SOURCES` with its
configuration in `uniclip.config.DATA`, a benchmark with its scores in
`uniclip.evaluate.BENCHMARKS`. Presets, components and ablations are YAML (`conf_dir=`). The source
of a plug-in, a file or a package, is part of the hashes of the code and is copied to every job.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from uniclip.errors import UserError

_plugin_paths: dict[str, Path] = {}
"""Top-level name -> file or package folder of each imported plug-in."""


def import_plugins(names: str | Sequence[str]) -> None:
    """Import modules from the working folder or Python's search path.

    Raises:
        UserError: a module does not exist, its import fails, or `names` is not a list.
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
    """Return the files and package folders of the imported plug-ins, by name."""
    return tuple(path for _, path in sorted(_plugin_paths.items()))


def build_python_path(*extra_folders: Path) -> str:
    """Return the PYTHONPATH of a process that imports from these folders and the plug-ins."""
    folders = dict.fromkeys([*extra_folders, *(path.parent for path in get_plugin_paths())])
    return os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH")]))
