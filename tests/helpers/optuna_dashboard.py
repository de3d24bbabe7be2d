"""optuna-dashboard, started on a storage, and what its JSON API answers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 300


def read_json(url: str) -> Any:
    """Return what a server answers."""
    with urllib.request.urlopen(url, timeout=60) as response:
        return json.load(response)


@contextmanager
def start_dashboard(storage: str, folder: Path) -> Iterator[str]:
    """Run a dashboard in `folder` within the block, and yield its address."""
    with socket.socket() as free_socket:
        free_socket.bind(("127.0.0.1", 0))
        port = free_socket.getsockname()[1]
    program = str(Path(sys.executable).parent / "optuna-dashboard")
    command = [program, storage, "--port", str(port), "--host", "127.0.0.1", "--quiet"]
    server = subprocess.Popen(command, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(address):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait()


def _answers(address: str) -> bool:
    try:
        read_json(f"{address}/api/studies")
    except urllib.error.URLError:
        return False
    return True
