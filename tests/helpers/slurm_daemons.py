"""Keeps the daemons of a private Slurm, and leaves nothing of them behind.

    python daemons.py <folder with slurm.conf>

It reads lines `start <daemon>` and `stop <daemon>`; when its input ends, because the tests are over
or because their process died of whatever, it ends every job and every daemon. All that they start
stays in its family, daemons' children too, since it is the one who inherits orphans (subreaper).
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36
NODES = ("0x7f000001", "0x7f000002")
"""Names that resolve on every Linux without a line in /etc/hosts: 127.0.0.1 and 127.0.0.2."""


def command(daemon: str, folder: Path) -> list[str]:
    """The command line of a daemon in the foreground."""
    if daemon == "munged":
        named = {"key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        files = [f"--{option}={folder}/munge/{name}" for option, name in named.items()]
        return ["munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *files]
    if daemon == "slurmctld":
        return ["slurmctld", "-D"]
    return ["slurmd", "-D", "-N", daemon]


class Family:
    """The daemons and all that they start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(self, daemon: str) -> None:
        """Start a daemon; munged is waited for."""
        said = (self.folder / "log" / f"{daemon}.said").open("ab")
        self.daemons[daemon] = subprocess.Popen(
            command(daemon, self.folder), stdout=said, stderr=said, env=self.environment
        )
        deadline = time.monotonic() + 60
        while daemon == "munged" and not (self.folder / "munge" / "socket").exists():
            if time.monotonic() > deadline:
                sys.exit(f"munged does not answer: see {said.name}")
            time.sleep(0.05)

    def stop(self, daemon: str) -> None:
        """End a daemon; what it started lives on."""
        self.daemons[daemon].terminate()
        self.daemons[daemon].wait()

    def reap(self) -> None:
        """Let ended processes go; the daemons themselves stay known."""
        mine = {d.pid for d in self.daemons.values()}
        for process in psutil.Process().children():
            if process.pid not in mine and process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, 0)

    def end(self) -> None:
        """End everything: jobs first, by their scheduler; then whoever is left."""
        try:
            subprocess.run(
                ["scancel", "--full", "--signal=KILL", f"--user={os.getuid()}"],
                env=self.environment,
                timeout=10,
                capture_output=True,
            )
        except subprocess.TimeoutExpired:
            pass
        while children := psutil.Process().children(recursive=True):
            for process in children:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    pass
            try:
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
            except ChildProcessError:
                return
            time.sleep(0.05)


def main(folder: Path) -> None:
    """Obey until the input ends."""
    family = Family(folder)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        for daemon in ("munged", "slurmctld", *NODES):
            family.start(daemon)
        obey(family)
    finally:
        family.end()


def obey(family: Family) -> None:
    """Do what lines say, and answer each."""
    os.set_blocking(0, False)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    while True:
        family.reap()
        if not selector.select(timeout=1.0):
            continue
        said = os.read(0, 65536)
        if not said:
            return
        for line in said.decode().splitlines():
            verb, daemon = line.split()
            {"start": family.start, "stop": family.stop}[verb](daemon)
            print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
