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

_used: dict[str, Path] = {}
"""Top-level name -> its file, or the folder of its package."""


def use(names: str | Sequence[str]) -> None:
    """Import modules, looked for in the working folder and where Python looks.

    Raises:
        UserError: there is no such module, importing it fails, or this is no list.
    """
    if not isinstance(names, Sequence):
        raise UserError(f"plugins must be a list such as [my_module], got {names!r}")
    for name in [names] if isinstance(names, str) else names:
        top = str(name).partition(".")[0]
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            importlib.import_module(str(name))
        except Exception as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(
                f"plugins: {name} cannot be imported ({type(error).__name__}: {said}); "
                f"it is looked for in {os.getcwd()} and on PYTHONPATH"
            ) from error
        file = getattr(sys.modules[top], "__file__", None)
        if file is None:
            raise UserError(f"plugins: {top} is a folder without an __init__.py; give it one")
        _used[top] = Path(file).parent if Path(file).stem == "__init__" else Path(file)


def places() -> tuple[Path, ...]:
    """The files and package folders of what is in use, by name."""
    return tuple(place for _, place in sorted(_used.items()))


def search_path(*first: Path) -> str:
    """The PYTHONPATH of a process that is to find these folders and what is in use."""
    folders = dict.fromkeys([*first, *(place.parent for place in places())])
    return os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH")]))
