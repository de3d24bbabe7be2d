"""The processes of this machine that execute runs together, without Slurm and without torchrun.

Rank 0 is the process that starts the others. All meet at a socket of 127.0.0.1 that it opens before
they start, so nobody else can take its port, and messages stay on this machine. None outlives
another: where one ends before its work is done, all of them end.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import NoReturn

from uniclip.errors import describe_error

HOST = "127.0.0.1"
LOOPBACK_NAMES = ("lo", "lo0")
"""Names of the network interface of 127.0.0.1: of Linux, and of BSD and macOS."""
PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.2
GRACE_SECONDS = 10.0
"""Time that rank 0 has to notice by itself that another process is lost, before it is ended."""
END_SECONDS = 60.0
"""Time that the other processes have to exit after their work."""
MAX_HALF_MESSAGE = 400
"""Characters that are kept of either end of a long message: what a pipe takes in one piece."""

_FORK = get_context("fork")  # nothing was computed yet, so the processes share no state of threads


@dataclass(frozen=True)
class LostRank:
    """A process that ended before its work was done."""

    rank: int
    exit_code: int
    """As `subprocess` has it: -9 if signal 9 killed it."""
    error: str | None
    """Its error in one line; None if it was killed."""

    def __str__(self) -> str:
        end = self.error or f"it was killed by signal {-self.exit_code}"
        return f"the process of rank {self.rank} ended: {end}"


class RankProcesses:
    """The processes that execute runs together with this one, which is rank 0.

    Args:
        size: Number of processes, this one included.
        run_rank: What each of the others does.
    """

    def __init__(self, size: int, run_rank: Callable[[], None]) -> None:
        self.size, self.run_rank = size, run_rank
        self.report_error: Callable[[str], object] = lambda message: None
        """Called with the error of a lost process if this one is ended because of it."""
        self._listener = socket.create_server((HOST, 0), backlog=max(size, 16))
        self._errors = _FORK.SimpleQueue()
        self._error_by_rank: dict[int, str] = {}
        self._lock = threading.Lock()
        self._has_ended = threading.Event()
        self._processes = {
            rank: _FORK.Process(target=self._be_rank, args=(rank, os.getpid()))
            for rank in range(1, size)
        }

    def run(self, work: Callable[[], None]) -> None:
        """Start the other processes, call `work` in this one, and wait until they have ended.

        To be called before this process starts threads or imports torch. If `work` raises an error,
        all processes exit, this one with status 1: a regular exit would wait for others.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        for process in self._processes.values():
            process.start()
        self._set_environment(rank=0)
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            rendezvous = self._serve_rendezvous()
            work()
        except BaseException:
            traceback.print_exc()
            self._exit()
        self._has_ended.set()
        for process in self._processes.values():
            process.join(END_SECONDS)
        self._kill_others()
        del rendezvous

    def find_lost(self, wait_seconds: float = 0.0) -> LostRank | None:
        """Return a process that was killed or, if there is none, the first that raised an error.

        wait_seconds: time to wait for one.
        """
        deadline = time.monotonic() + wait_seconds
        while (lost := self._find_lost()) is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return lost

    def exit_with(self, lost: LostRank) -> NoReturn:
        """Exit at once and without a trace, as the lost process did; the others are killed."""
        print(lost, file=sys.stderr)
        self._exit()

    # -- rank 0 --

    def _serve_rendezvous(self) -> object:
        """Serve the store at which the processes meet, as torchrun's agent does."""
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        return TCPStore(
            HOST,
            self._listener.getsockname()[1],
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=self._listener.detach(),
        )

    def _find_lost(self) -> LostRank | None:
        with self._lock:
            exit_codes = {rank: p.exitcode for rank, p in self._processes.items()}
            while not self._errors.empty():
                rank, message = self._errors.get()
                self._error_by_rank[rank] = message
        killed = [rank for rank, code in exit_codes.items() if code is not None and code < 0]
        failed = [rank for rank, code in exit_codes.items() if code is not None and code > 0]
        in_order = [*killed, *(r for r in self._error_by_rank if r in failed), *failed]
        if not in_order:
            return None
        rank = in_order[0]
        exit_code = exit_codes[rank]
        assert exit_code is not None
        unknown = None if exit_code < 0 else f"exit status {exit_code}"
        return LostRank(rank, exit_code, self._error_by_rank.get(rank, unknown))

    def _watch(self) -> None:
        """End this process if another is lost and it does not notice: NCCL waits for half an hour.

        What a killed process leaves is what a killed rank 0 leaves: an attempt without a record.
        """
        while not self._has_ended.wait(POLL_SECONDS):
            lost = self._find_lost()
            if lost is not None and not self._has_ended.wait(GRACE_SECONDS):
                if lost.error is not None:
                    self.report_error(str(lost))
                self.exit_with(lost)

    def _kill_others(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.join()

    def _exit(self) -> NoReturn:
        self._has_ended.set()
        with suppress(Exception):
            self._kill_others()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(1)

    # -- every rank --

    def _set_environment(self, rank: int) -> None:
        """Set the variables of `uniclip.distributed`, as torchrun does."""
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(self.size),
            LOCAL_WORLD_SIZE=str(self.size),
            MASTER_ADDR=HOST,
            MASTER_PORT=str(self._listener.getsockname()[1]),
            TORCHELASTIC_USE_AGENT_STORE="True",
        )
        interfaces = {name for _, name in socket.if_nameindex()}
        for name in LOOPBACK_NAMES:
            if name in interfaces:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", name)

    def _be_rank(self, rank: int, parent: int) -> None:
        _die_with(parent)
        self._set_environment(rank)
        self._listener.close()
        exit_status = 1
        try:
            self.run_rank()
            exit_status = 0
        except BaseException as error:
            traceback.print_exc()
            self._errors.put((rank, describe_error(error, MAX_HALF_MESSAGE, MAX_HALF_MESSAGE)))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_status)


def _die_with(parent: int) -> None:
    """Let this process be killed when its parent has ended, in whatever way."""
    with suppress(OSError, AttributeError):  # not Linux: the thread remains
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
