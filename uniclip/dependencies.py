"""The libraries that this project needs, and what to install if one of them cannot be imported.

Only the standard library is imported here: any other may be the one that is missing.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

PROJECT_MODULES = ("uniclip", "ablations", "analysis", "sweeps", "sweep", "__main__")
MODULE_NAMES = {
    "hydra-core": "hydra",
    "pillow": "PIL",
}
"""Distribution -> the module that it installs, if that is not its name with underscores."""
CONSTRAINTS_PATH = Path(__file__).parents[1] / "constraints.txt"
INSTALL_ALL = "pip install -c constraints.txt -e ."
MAX_MESSAGE_LENGTH = 200


def get_module_name(distribution: str) -> str:
    """Return the name of the module that a required distribution installs."""
    return MODULE_NAMES.get(distribution.lower(), distribution.replace("-", "_"))


def find_module(name: str) -> Path | None:
    """Return the file from which Python would import a top-level module; None: there is none.

    The module is not imported.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, OSError):
        return None
    if spec is None:
        return None
    locations = [*(spec.submodule_search_locations or ()), spec.origin or name]
    return Path(spec.origin or locations[0])


def format_install_command(distribution: str) -> str:
    """Return the command that installs a missing distribution, with the project if it is a clone.

    distribution: its name or requirement, such as "rich>=14.0".
    """
    return INSTALL_ALL if CONSTRAINTS_PATH.exists() else f'pip install "{distribution}"'


def describe_import_failure(error: BaseException) -> str | None:
    """Return one line for a library that is missing or broken, with what to install.

    Args:
        error: what was raised.

    Returns:
        The line; None if the error was not raised by the import of a library.
    """
    for cause in _iterate_causes(error):
        library = _find_failed_library(cause)
        if library is None:
            continue
        if library in sys.stdlib_module_names:
            return f"this Python lacks its module {library!r} ({sys.executable}); fix: use another"
        fix = format_install_command(_find_distribution(library))
        if isinstance(cause, ModuleNotFoundError) and cause.name == library:
            return f"the library {library!r} is not installed; fix: {fix}"
        message = " ".join(str(cause).split())[:MAX_MESSAGE_LENGTH]
        name = type(cause).__name__
        return f"the library {library!r} cannot be imported ({name}: {message}); fix: {fix}"
    return None


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, at most once each."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _find_failed_library(error: BaseException) -> str | None:
    """Return the library whose import raised an error: the one that this project imports."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and name not in PROJECT_MODULES:
            return name  # its own code failed, or one of its own imports
    if isinstance(error, SyntaxError) and error.filename:
        return _find_library_of_file(Path(error.filename))
    if isinstance(error, ImportError):
        name = (error.name or "").partition(".")[0]
        return name if name and name not in PROJECT_MODULES else None
    return None


def _find_library_of_file(path: Path) -> str | None:
    """Return the top-level module that a source file belongs to; None for one of this project."""
    while (path.parent / "__init__.py").exists():
        path = path.parent
    return path.stem if path.stem not in PROJECT_MODULES else None


def _find_distribution(module: str) -> str:
    """Return the distribution that installs a module, as far as it is known here."""
    return next((d for d, m in MODULE_NAMES.items() if m == module), module.replace("_", "-"))
