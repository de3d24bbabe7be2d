"""A private PostgreSQL server in a temporary folder, reached by a socket in it alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

REQUIRED = os.environ.get("UNICLIP_POSTGRES") == "required"
"""Whether a missing server is a failure, as in `.ci/run`."""
START_SECONDS = 120


def find_server_programs() -> Path | None:
    """Return the folder of initdb and postgres; None if there is none."""
    folders = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if folders:
        return max(folders, key=lambda folder: int(folder.parent.name))
    on_path = {name: shutil.which(name) for name in ("initdb", "postgres", "pg_isready")}
    parents = {Path(path).parent for path in on_path.values() if path is not None}
    return parents.pop() if None not in on_path.values() and len(parents) == 1 else None


def require_server_programs() -> Path:
    """Return the folder of the server's programs; skip the test, or fail, without them."""
    folder = find_server_programs()
    reason = "PostgreSQL is not installed (apt-get install postgresql)" if folder is None else ""
    if find_spec("psycopg") is None:
        reason = "psycopg is not installed (the extra postgresql)"
    if reason and REQUIRED:
        pytest.fail(reason)
    if reason or folder is None:
        pytest.skip(reason)
    return folder


@contextmanager
def start_postgres() -> Iterator[str]:
    """Run a server as an unprivileged user within the block, and yield its URL."""
    programs = require_server_programs()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # short: a socket's path has 107 bytes
    account = _find_unprivileged_user()
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    arguments = {"user": account.pw_name, "group": account.pw_gid} if account else {}
    data = folder / "data"
    init = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(init, check=True, capture_output=True, cwd=folder, **arguments)
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, *options],
            stdout=log,
            stderr=log,
            cwd=folder,
            **arguments,
        )
    try:
        ready = [programs / "pg_isready", "-h", folder, "-U", "postgres", "-q"]
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(ready).returncode:
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)  # end at once, also with open connections
        server.wait()
        shutil.rmtree(folder)


def _find_unprivileged_user() -> pwd.struct_passwd | None:
    """Return the user that the server runs as; None = the user of the tests, who is not root."""
    if os.geteuid():
        return None
    names = {account.pw_name: account for account in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]
