"""The process between a worker and its program: when the worker is gone, so is the program.

    python supervisor.py <control descriptor> <lock file> <program> [argument ...]

It holds the lock of the run's output folder, so that no two programs write there at once, and
starts the program. The worker writes `STOP` or `KILL` to the control pipe. The end of that pipe
means that the worker has died, even by SIGKILL: then every process that the program started is
killed, and the lock is released after the last one. The exit status is that of the program, or
128 plus the number of the signal that killed it.

Only the standard library is imported: starting this process must take no time.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

STOP, KILL = b"s", b"k"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
POLL_SECONDS = 0.05
EXIT_NOT_STARTED = 127
"""Exit status if the program cannot be started, as of a shell."""
FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that this process ignores: the worker decides what the program is told."""


class Supervisor:
    """Runs one program.

    Args:
        control: Descriptor from which the worker's messages are read.
        lock_path: The file that is locked while any process of the program lives.
    """

    def __init__(self, control: int, lock_path: str) -> None:
        self.control, self.lock_path = control, lock_path
        self.is_killed = False

    def run(self, words: list[str]) -> int:
        """Run the program to its end; return the exit status."""
        _call_prctl(PR_SET_CHILD_SUBREAPER, 1)
        lock = os.open(self.lock_path, os.O_RDWR | os.O_CREAT, 0o666)
        if not self._acquire(lock):
            return 128 + signal.SIGKILL
        try:
            # A process that is forked from the program keeps the lock, even without this one.
            program = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=(lock,),
                preexec_fn=_prepare_program,
            )  # fmt: skip
        except OSError as error:
            print(f"{words[0]}: {error.strerror}", file=sys.stderr, flush=True)
            return EXIT_NOT_STARTED
        while program.poll() is None:
            self._obey(program)
        kill_descendants()
        return program.returncode if program.returncode >= 0 else 128 - program.returncode

    def _acquire(self, lock: int) -> bool:
        """Wait for the lock, which an earlier program may still hold; False: the worker is gone."""
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if self._read_message() in (KILL, STOP):
                    return False
            except OSError:  # a file system without locks: the pipe remains
                return True

    def _obey(self, program: subprocess.Popen[bytes]) -> None:
        message = self._read_message()
        if message == STOP:
            program.send_signal(signal.SIGTERM)
        elif message == KILL and not self.is_killed:
            self.is_killed = True
            kill_descendants(keep_unreaped=program.pid)

    def _read_message(self) -> bytes:
        """Return the next message, or b"" after a short wait without one."""
        if not select.select([self.control], [], [], POLL_SECONDS)[0]:
            return b""
        message = os.read(self.control, 1)
        if not message:
            time.sleep(POLL_SECONDS)  # the end of the pipe is always readable
        return message or KILL


def kill_descendants(keep_unreaped: int = 0) -> None:
    """Kill all processes below this one, until there are none.

    Args:
        keep_unreaped: A child whose exit status is read elsewhere.
    """
    while pids := _list_living_descendants():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap_orphans(keep_unreaped)
        time.sleep(POLL_SECONDS)
    _reap_orphans(keep_unreaped)


def _reap_orphans(keep_unreaped: int) -> None:
    for pid, (parent, _) in _read_processes().items():
        if parent == os.getpid() and pid != keep_unreaped:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _list_living_descendants() -> list[int]:
    """Return the processes below this one that have not exited."""
    processes = _read_processes()
    descendants: list[int] = []
    generation = {os.getpid()}
    while generation:
        generation = {pid for pid, (parent, _) in processes.items() if parent in generation}
        descendants += [pid for pid in generation if processes[pid][1] not in "ZX"]
    return descendants


def _read_processes() -> dict[int, tuple[int, str]]:
    """Return pid -> (pid of the parent, state) of every process of this machine."""
    processes = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            state, parent, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            processes[int(path.parent.name)] = (int(parent), state)
    return processes


def _prepare_program() -> None:
    """In the new process: die with the supervisor, and handle signals as by default."""
    _call_prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in FORWARDED_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _call_prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # not Linux: the pipe and the lock remain
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def main(argv: list[str]) -> int:
    """Run the program of the command line."""
    for number in FORWARDED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    control, lock_path, *words = argv
    return Supervisor(int(control), lock_path).run(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
