"""A program as a child process: started, told to stop, and killed with all that it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from uniclip.commands import supervisor
from uniclip.commands.memory import MemoryMeter

POLL_SECONDS = 0.1
LOCK_NAME = ".lock"
SAFE_PATH, PYTHON_PATH = "PYTHONSAFEPATH", "PYTHONPATH"
"""Variables with which workers are started; a program has the user's."""
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class ProgramEnd:
    """How a program ended."""

    exit_status: int
    """Its exit status; 128 plus the number of the signal that killed it."""
    was_stopped: bool
    """Whether it was told to stop."""


class Program:
    """A running program.

    Args:
        words: Its command line.
        output_folder: The folder of its files, which it has for itself.
        working_folder: The folder in which it is started.
        environment: Variables beside those of this process.
        log: The file that gets its output; None for that of this process.
    """

    def __init__(
        self,
        words: Sequence[str],
        output_folder: Path,
        working_folder: Path,
        environment: Mapping[str, str],
        log: IO[bytes] | None = None,
    ) -> None:
        output_folder.mkdir(parents=True, exist_ok=True)
        control, self._control = os.pipe()
        try:
            self._supervisor = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", supervisor.__file__),
                    *(str(control), str(output_folder / LOCK_NAME), *words),
                ],
                cwd=working_folder,
                env={**build_environment(os.environ), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=None if log is None else subprocess.STDOUT,
                pass_fds=(control,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._control)
            raise
        finally:
            os.close(control)

    @property
    def pid(self) -> int:
        """The process below which the program runs."""
        return self._supervisor.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while a process of the program lives."""
        return self._supervisor.poll()

    def stop(self) -> None:
        """Send SIGTERM to the program."""
        self._send(supervisor.STOP)

    def kill(self) -> None:
        """Kill the program and all that it started, and wait for their end."""
        self._send(supervisor.KILL)
        self._supervisor.wait()

    def close(self) -> None:
        """Kill what is left of the program."""
        if self.poll() is None:
            self.kill()
        os.close(self._control)

    def _send(self, message: bytes) -> None:
        with suppress(BrokenPipeError):
            os.write(self._control, message)


def run_program(
    words: Sequence[str],
    output_folder: Path,
    working_folder: Path,
    environment: Mapping[str, str],
    *,
    on_poll: Callable[[], object],
    stop: Callable[[], bool],
    grace_seconds: float,
    poll_seconds: float = POLL_SECONDS,
    log: IO[bytes] | None = None,
    meter: MemoryMeter | None = None,
) -> ProgramEnd:
    """Run a program to its end.

    Args:
        words: Its command line.
        output_folder: The folder of its files.
        working_folder: The folder in which it is started.
        environment: Variables beside those of this process.
        on_poll: Called every `poll_seconds`, and once after the end.
        stop: Returns True once the program should stop.
        grace_seconds: Time between SIGTERM and SIGKILL; 0 = SIGKILL at once.
        poll_seconds: Time between two looks.
        log: The file that gets its output; None for that of this process.
        meter: Measures its memory.
    """
    program = Program(words, output_folder, working_folder, environment, log)
    deadline: float | None = None
    try:
        while (exit_status := program.poll()) is None:
            on_poll()
            if meter is not None:
                meter.sample(program.pid)
            if deadline is None and stop():
                deadline = time.monotonic() + grace_seconds
                if grace_seconds:
                    program.stop()
            elif deadline is not None and time.monotonic() > deadline:
                program.kill()
            time.sleep(poll_seconds)
    finally:
        program.close()
    on_poll()
    return ProgramEnd(exit_status=exit_status, was_stopped=deadline is not None)


def build_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a worker without those that its launcher set."""
    variables_left = {name: value for name, value in variables.items() if name != SAFE_PATH}
    search_path = [
        part
        for part in variables.get(PYTHON_PATH, "").split(os.pathsep)
        if part and Path(part).resolve() != PACKAGE_ROOT
    ]
    variables_left.pop(PYTHON_PATH, None)
    return {
        **variables_left,
        **({PYTHON_PATH: os.pathsep.join(search_path)} if search_path else {}),
    }
