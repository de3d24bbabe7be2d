"""Code that runs as another user, in a process of its own: only root can start one."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import ROOT

USER_ID, GROUP_ID = 41234, 41235
"""Ids that no user and no group of the system has."""


def open_to_other_users(folder: Path) -> None:
    """Let every user search a temporary folder and all folders that pytest made above it."""
    for parent in (folder, *folder.parents):
        if parent == Path(tempfile.gettempdir()):
            return
        parent.chmod(0o755)


def run_as_other_user(function: Callable[[], object], umask: int = 0o022) -> None:
    """Call a function as `USER_ID` in `GROUP_ID`, and fail if it raises.

    Skipped where that user cannot read this checkout: imports inside the function would fail.
    """
    if os.geteuid():
        pytest.skip("only root can start a process as another user")
    for module_root in (ROOT, Path(sys.prefix).resolve()):
        for folder in (module_root, *module_root.parents):
            if not folder.stat().st_mode & 0o001:
                pytest.skip(f"another user cannot read the modules below {folder}")
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0, "see the output of the child process"
        return
    try:
        os.setgroups([])
        os.setgid(GROUP_ID)
        os.setuid(USER_ID)
        os.umask(umask)
        function()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
