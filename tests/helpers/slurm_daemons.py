"""Run the daemons of a private Slurm, and end them with everything that they started.

    python slurm_daemons.py <folder with slurm.conf>

It reads lines `start <daemon>` and `stop <daemon>`. When its input ends, because the tests have
ended or their process was killed, it ends every job and every daemon. As a subreaper it inherits
orphaned processes, so children of daemons are ended too.
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
"""Names that resolve without /etc/hosts on every Linux: 127.0.0.1 and 127.0.0.2."""


def command(daemon: str, folder: Path) -> list[str]:
    """Return the command line of a daemon in the foreground."""
    if daemon == "munged":
        named = {"key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        files = [f"--{option}={folder}/munge/{name}" for option, name in named.items()]
        return ["munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *files]
    if daemon == "slurmctld":
        return ["slurmctld", "-D"]
    return ["slurmd", "-D", "-N", daemon]


class Daemons:
    """The daemons and the processes that they start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(self, daemon: str) -> None:
        """Start a daemon; wait until munged answers."""
        output = (self.folder / "log" / f"{daemon}.output").open("ab")
        self.daemons[daemon] = subprocess.Popen(
            command(daemon, self.folder), stdout=output, stderr=output, env=self.environment
        )
        deadline = time.monotonic() + 60
        while daemon == "munged" and not (self.folder / "munge" / "socket").exists():
            if time.monotonic() > deadline:
                sys.exit(f"munged does not answer: see {output.name}")
            time.sleep(0.05)

    def stop(self, daemon: str) -> None:
        """End a daemon; the processes that it started continue."""
        self.daemons[daemon].terminate()
        self.daemons[daemon].wait()

    def reap(self) -> None:
        """Reap the processes that have ended, except the daemons."""
        daemon_pids = {d.pid for d in self.daemons.values()}
        for process in psutil.Process().children():
            if process.pid not in daemon_pids and process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, 0)

    def end_all(self) -> None:
        """Cancel every job, then kill the remaining processes."""
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
    """Read commands until the input ends."""
    daemons = Daemons(folder)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        for daemon in ("munged", "slurmctld", *NODES):
            daemons.start(daemon)
        run_commands(daemons)
    finally:
        daemons.end_all()


def run_commands(daemons: Daemons) -> None:
    """Execute each line of the input and answer it."""
    os.set_blocking(0, False)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    while True:
        daemons.reap()
        if not selector.select(timeout=1.0):
            continue
        commands = os.read(0, 65536)
        if not commands:
            return
        for line in commands.decode().splitlines():
            action, daemon = line.split()
            {"start": daemons.start, "stop": daemons.stop}[action](daemon)
            print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
