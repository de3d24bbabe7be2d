"""The memory of real processes."""

from __future__ import annotations

import os
import subprocess
import sys

from uniclip.commands.memory import MemoryMeter

MEGABYTES = 64
PROGRAM = f"""
import os, sys
block = bytearray(b"x") * {MEGABYTES * 2**20}
worker = os.fork()
if worker:
    print("ready", flush=True)
    sys.stdin.read()
    os.kill(worker, 9)
else:
    import signal
    signal.pause()
"""


def test_pages_that_processes_share_count_once() -> None:
    meter = MemoryMeter()
    with subprocess.Popen(
        [sys.executable, "-S", "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        meter.sample(os.getpid())
        first = meter.peak_bytes
        assert program.stdin is not None
        program.stdin.close()
    assert MEGABYTES * 2**20 < first < 1.9 * MEGABYTES * 2**20
    meter.sample(os.getpid())
    assert meter.peak_bytes == first


def test_a_process_that_is_gone_is_not_measured() -> None:
    meter = MemoryMeter()
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    meter.sample(process.pid)
    assert meter.peak_bytes == 0
