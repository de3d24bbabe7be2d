"""The execution of a claimed attempt: its output, its exit record, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType

from sweeps.rank_processes import RankProcesses
from uniclip.errors import DataChangedError, UserError, describe_error
from uniclip.io.atomic import is_disk_full
from uniclip.store import AttemptFolder, EndReason, ExitKind, RunFolder

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
LOST_RANK_SECONDS = 2.0
"""Time in which rank 0 looks after an error whether another process was lost before."""


class StopFlag:
    """A flag that stop signals set; the training loop calls it between steps."""

    def __init__(self) -> None:
        self.requested = False
        self.find_reason: Callable[[], EndReason | None] = lambda: None
        """Returns why the process is asked to stop, for the attempt's exit record."""

    def __call__(self) -> bool:
        return self.requested

    def install_signal_handlers(self) -> None:
        """Let the stop signals set this flag, and do nothing else."""
        for signal_number in STOP_SIGNALS:
            signal.signal(signal_number, self._request_stop)
        # The parent process may have started this one with the signals blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _request_stop(self, signal_number: int, frame: FrameType | None) -> None:
        self.requested = True


ExecuteAttempt = Callable[[RunFolder, AttemptFolder, Callable[[], ExitKind], StopFlag], ExitKind]


def execute_attempt(
    run: RunFolder, attempt: AttemptFolder, execute_cell: Callable[[], ExitKind], stop: StopFlag
) -> ExitKind:
    """Execute a claimed attempt and write its exit record; return how it ended.

    Its output goes to the attempt's log. If the run has an outcome afterwards, the checkpoints of
    all its attempts are deleted.
    """
    error_message: str | None = None
    reason: EndReason | None = None
    with redirect_output(attempt.log_path):
        try:
            exit_kind = execute_cell()
            if exit_kind == "interrupted":
                reason = stop.find_reason()
        except Exception as error:
            traceback.print_exc()
            if is_disk_full(error):
                exit_kind, reason = "interrupted", EndReason.DISK_FULL
            else:
                exit_kind, error_message = "failed", describe_error(error)
                if isinstance(error, DataChangedError):
                    reason = EndReason.DATA_CHANGED
        with suppress(OSError):  # a full disk: the attempt then ends without an exit record
            attempt.write_end(exit_kind, error_message, reason=reason)
    if run.read_outcome() is not None:
        delete_checkpoints(run)
    return exit_kind


def execute_attempt_with(
    ranks: RankProcesses,
    run: RunFolder,
    attempt: AttemptFolder,
    execute_cell: Callable[[], ExitKind],
    stop: StopFlag,
) -> ExitKind:
    """Execute a claimed attempt with other processes; see `execute_attempt`.

    If another process was killed, this one exits without an exit record: its attempt was
    interrupted in the middle of a step, as if this process had been killed. If another process
    raised an error, that is the error of the attempt.
    """

    def execute_together() -> ExitKind:
        try:
            return execute_cell()
        except Exception as error:
            if isinstance(error, UserError):  # not a consequence: every process raises it
                raise
            lost = ranks.find_lost(LOST_RANK_SECONDS)
            if lost is None:
                raise
            if lost.error is None:
                ranks.exit_with(lost)
            raise RuntimeError(str(lost)) from error

    ranks.report_error = partial(attempt.write_end, "failed")
    exit_kind = execute_attempt(run, attempt, execute_together, stop)
    ranks.report_error = lambda message: None
    return exit_kind


@contextmanager
def redirect_output(path: Path) -> Iterator[None]:
    """Append the output of this process, that of C libraries included, to the file at `path`."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved_descriptors = [os.dup(1), os.dup(2)]
    log_descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.dup2(log_descriptor, 1)
        os.dup2(log_descriptor, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, saved_descriptor in zip((1, 2), saved_descriptors):
            os.dup2(saved_descriptor, descriptor)
            os.close(saved_descriptor)
        os.close(log_descriptor)


def delete_checkpoints(run: RunFolder) -> None:
    """Delete the checkpoints of every attempt of a run that has an outcome."""
    for attempt_number in run.list_attempts():
        for path in run.get_attempt(attempt_number).checkpoints_path.glob("*.safetensors"):
            path.unlink(missing_ok=True)
