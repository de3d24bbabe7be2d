"""Attempts in a row without progress: a checkpoint or scores end the row."""

from __future__ import annotations

import os
from pathlib import Path

from sweeps.claims import process
from sweeps.claims.attempt_counts import count_attempts_without_progress
from uniclip.io.atomic import write_once
from uniclip.store import EndReason, RunFolder, Store

EXTERNAL = (EndReason.PREEMPTED,)


def claim(run: RunFolder, reason: EndReason | None = None) -> Path:
    attempt = run.claim_attempt(len(run.list_attempts()) + 1, process.make_claim_record({}))
    assert attempt is not None
    if reason is not None:
        attempt.write_end("interrupted", reason=reason)
    return attempt.checkpoints_path


def test_the_newest_attempts_are_counted_up_to_one_with_progress(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    checkpoints = [
        claim(run, reason) for reason in (None, EndReason.PREEMPTED, EndReason.PREEMPTED, None)
    ]

    def count() -> tuple[int, int]:
        return count_attempts_without_progress(run, run.list_attempts(), EXTERNAL)

    assert count() == (4, 1), "the newest of four left no exit record"
    write_once(checkpoints[1] / "1.safetensors", b"")
    assert count() == (2, 1)
    scores = run.path / "scores/a@1.json"
    write_once(scores, b"{}")
    os.utime(scores, (2e9, 2e9))
    assert count() == (0, 0), "scores that are newer than every claim"


def test_an_end_that_the_run_caused_itself_ends_the_row(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    for reason in (None, EndReason.DISK_FULL, None):
        claim(run, reason)
    assert count_attempts_without_progress(run, run.list_attempts(), EXTERNAL) == (1, 1)
