"""`serve`: the address of a page, ports, and what it refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.helpers import page_store
from tests.helpers.command_line import execute, restore_interrupts

ROOT = Path(__file__).parents[4]


def test_it_prints_the_address_and_serves_until_ctrl_c(tmp_path: Path) -> None:
    _, plan = page_store.write_store(tmp_path / "store")
    command = [sys.executable, ROOT / "sweep.py", "serve", plan.sweep_id, "--port=0", "store=store"]
    with subprocess.Popen(
        command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=restore_interrupts,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        (url,) = re.findall(r"page: (http://127\.0\.0\.1:\d+/\S+/)", process.stdout.readline())
        with urllib.request.urlopen(url, timeout=60) as response:
            assert plan.title.encode() in response.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "stopped\n")


def test_a_port_that_is_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page_store.write_store(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert execute("serve", f"--port={port}", "store=store") == 2
    assert f"--port={port}: Address already in use" in capsys.readouterr().err
    assert execute("serve", "--port=70000", "store=store") == 2
    assert "from 0 to 65535" in capsys.readouterr().err
