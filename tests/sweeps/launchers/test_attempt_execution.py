"""The execution of an attempt: how it ends, and what it leaves behind."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from sweeps.claims import process
from sweeps.launchers.attempt_execution import (
    STOP_SIGNALS,
    StopFlag,
    execute_attempt,
    execute_attempt_with,
)
from sweeps.launchers.worker import Worker
from sweeps.rank_processes import LostRank
from tests.helpers.trivial_sweep import planned
from uniclip.errors import UserError
from uniclip.store import AttemptFolder, EndReason, ExitKind, Store


@pytest.fixture
def attempt(store: Store) -> AttemptFolder:
    run = store.get_run(next(iter(planned(2, 0.0).specs)))
    claimed = run.claim_attempt(1, process.make_claim_record({}))
    assert claimed is not None
    return claimed


def execute(
    attempt: AttemptFolder, cell: Callable[[], ExitKind], reason: EndReason | None = None
) -> tuple[str, str | None, EndReason | None]:
    """Kind, error and reason in the exit record of an attempt that executed `cell`."""
    stop = StopFlag()
    stop.find_reason = lambda: reason
    kind = execute_attempt(attempt.run, attempt, cell, stop)
    record = attempt.read_end()
    assert record is not None
    assert record.kind == kind
    return record.kind, record.error, record.reason


def test_an_error_is_recorded_and_output_is_logged(attempt: AttemptFolder) -> None:
    def fail() -> ExitKind:
        os.write(1, b"before the error\n")
        raise ValueError("two\nlines")

    assert execute(attempt, fail) == ("failed", "ValueError: two lines", None)
    assert attempt.log_path.read_text() == "before the error\n"


def test_the_end_of_a_long_message_is_kept(attempt: AttemptFolder) -> None:
    images = "; ".join(f"image {i} cannot be read" for i in range(100))

    def fail() -> ExitKind:
        raise UserError(
            f"100 images cannot be used:\n{images}; repair them or raise data.max_broken"
        )

    _, error, _ = execute(attempt, fail)
    assert error is not None
    assert error.startswith("UserError: 100 images cannot be used: image 0 cannot")
    assert error.endswith("; repair them or raise data.max_broken")
    assert 300 < len(error) < 330


def test_a_full_disk_is_an_interruption(attempt: AttemptFolder) -> None:
    def fill() -> ExitKind:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert execute(attempt, fill) == ("interrupted", None, EndReason.DISK_FULL)


@pytest.mark.parametrize("reason", [None, EndReason.PREEMPTED])
def test_the_reason_of_a_stop_is_recorded(attempt: AttemptFolder, reason: EndReason | None) -> None:
    assert execute(attempt, lambda: "interrupted", reason) == ("interrupted", None, reason)


def test_checkpoints_are_deleted_once_there_is_an_outcome(
    store: Store, attempt: AttemptFolder
) -> None:
    attempt.checkpoints_path.mkdir()
    checkpoint = attempt.checkpoints_path / "1.safetensors"
    checkpoint.write_text("")
    execute(attempt, lambda: "interrupted")
    assert checkpoint.exists()
    plan = planned(2, 0.0).plan
    worker = Worker(store=store, plan=plan, stop=StopFlag())
    assert worker.claim_and_execute(attempt.run.id) == "trained"
    assert not checkpoint.exists()


def test_a_stop_signal_sets_the_flag() -> None:
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        stop = StopFlag()
        stop.install_signal_handlers()
        assert not stop()
        os.kill(os.getpid(), signal.SIGUSR2)
        assert stop()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@dataclass
class StubRanks:
    """Other processes, of which one may be lost."""

    lost: LostRank | None
    report_error: Callable[[str], object] = print

    def find_lost(self, wait_seconds: float) -> LostRank | None:
        """Return the lost process."""
        return self.lost

    def exit_with(self, lost: LostRank) -> None:
        """Exit as far as a test can."""
        raise SystemExit(str(lost))


def execute_with(ranks: StubRanks, attempt: AttemptFolder, error: Exception) -> ExitKind:
    """Execute an attempt with other processes that ends with an error."""

    def fail() -> ExitKind:
        raise error

    return execute_attempt_with(ranks, attempt.run, attempt, fail, StopFlag())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lost", "error", "message"),
    [
        (None, RuntimeError("mine"), "RuntimeError: mine"),
        (
            LostRank(1, 1, "ValueError: its own"),
            RuntimeError("connection closed by peer"),
            "RuntimeError: the process of rank 1 ended: ValueError: its own",
        ),
        (
            LostRank(1, 1, "UserError: no such file"),
            UserError("no such file"),
            "UserError: no such",
        ),
    ],
)
def test_the_error_of_another_process_is_that_of_the_attempt(
    attempt: AttemptFolder, lost: LostRank | None, error: Exception, message: str
) -> None:
    assert execute_with(StubRanks(lost), attempt, error) == "failed"
    attempt_end = attempt.read_end()
    assert attempt_end is not None
    assert str(attempt_end.error).startswith(message)


def test_an_attempt_whose_other_process_was_killed_has_no_exit_record(
    attempt: AttemptFolder,
) -> None:
    with pytest.raises(SystemExit, match="rank 1 ended: it was killed by signal 9"):
        execute_with(StubRanks(LostRank(1, -9, None)), attempt, RuntimeError("connection closed"))
    assert attempt.read_end() is None
