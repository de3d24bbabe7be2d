"""A Jupyter kernel of this interpreter, apart from everything that the user has set up for Jupyter.

Its spec, connection file, sockets, settings and history lie in a private folder, which is removed
afterwards. The kernel communicates through sockets there: ports of two kernels that start at once
may clash.
"""

from __future__ import annotations

import json
import os
import site
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from uniclip.io.memo import get_cache_folder

KERNEL_NAME = "uniclip"
SOURCE_FOLDER = Path(__file__).resolve().parents[2]
"""Folder of the packages `uniclip` and `analysis`."""
MAX_TEMP_PATH_BYTES = 80
"""Longest path of a temporary folder for which a socket path stays below the limit of all systems,
104 bytes."""
IGNORED_PREFIXES = ("JUPYTER_", "IPYTHON", "MPL", "MATPLOTLIB", "XDG_", "PYDEVD_")
IGNORED_VARIABLES = (
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
    "PYTHONINSPECT",
    "PYTHONOPTIMIZE",
    "PYTHONDEVMODE",
    "PYTHONBREAKPOINT",
)
"""Variables of the environment that would change what a kernel does or prints."""


def make_private_folder() -> Path:
    """Return a new folder for a kernel, with a path that is short enough for sockets."""
    fits_socket_limit = len(os.fsencode(tempfile.gettempdir())) <= MAX_TEMP_PATH_BYTES
    return Path(tempfile.mkdtemp(prefix="nb-", dir=None if fits_socket_limit else "/tmp"))


def make_kernel_manager(folder: Path) -> Any:
    """Return a manager (`jupyter_client.AsyncKernelManager`) of a kernel of this interpreter."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    spec_folder = folder / "kernels" / KERNEL_NAME
    spec_folder.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    (spec_folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    manager = AsyncKernelManager(
        kernel_name=KERNEL_NAME,
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(spec_folder.parent)]),
        transport="ipc",
    )
    manager.ip = str(folder / "s")
    manager.connection_file = str(folder / "kernel.json")
    return manager


def build_environment(folder: Path) -> dict[str, str]:
    """Return the environment of the kernel: the user's, without files and settings of the home."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(IGNORED_PREFIXES) and name not in IGNORED_VARIABLES
    }
    private_folders = (
        "HOME",
        "IPYTHONDIR",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "MPLCONFIGDIR",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
    )
    return {
        **environment,
        **{name: str(folder / name.lower()) for name in private_folders},
        **_share_font_list(),
        "UNICLIP_CACHE": str(get_cache_folder()),
        "PYTHONPATH": _prepend_source(environment.get("PYTHONPATH", "")),
        "MATPLOTLIBRC": os.devnull,
        "MPLBACKEND": "agg",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONUSERBASE": site.getuserbase(),  # packages may be installed there
    }


def _share_font_list() -> dict[str, str]:
    """Return the variable that lets the kernel read this process's list of fonts.

    Making it anew takes seconds, and matplotlib prints a warning meanwhile.
    """
    matplotlib = sys.modules.get("matplotlib")
    return {} if matplotlib is None else {"MPLCONFIGDIR": str(matplotlib.get_cachedir())}


def _prepend_source(search_path: str) -> str:
    """Return a search path with the folder of this package, unless it is installed: the notebook
    is executed by the code that writes the report."""
    installed_folders = {
        Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")
    }
    if SOURCE_FOLDER in installed_folders:
        return search_path
    return os.pathsep.join(filter(None, [str(SOURCE_FOLDER), search_path]))


def get_log_path(folder: Path) -> Path:
    """Return the file of what the kernel prints outside its cells."""
    return folder / "log"


def read_last_line(folder: Path) -> str:
    """Return the last line of the log; empty without one."""
    try:
        text = get_log_path(folder).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
