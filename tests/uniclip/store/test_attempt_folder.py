"""Heartbeats and exit records in the folder of an attempt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.helpers.store_records import make_claim_record
from uniclip.store import (
    Heartbeat,
    Store,
)


def test_a_damaged_heartbeat_is_ignored(tmp_path: Path) -> None:
    attempt = Store(tmp_path).get_run("r").claim_attempt(1, make_claim_record())
    assert attempt is not None
    assert attempt.read_heartbeat() is None
    attempt.write_heartbeat(step=3, total_steps=9, steps_per_second=2.5, phase="training")
    beat = attempt.read_heartbeat()
    assert isinstance(beat, Heartbeat)
    assert (beat.step, beat.total_steps, beat.phase) == (3, 9, "training")
    for damage in (b"{", b"[" * 100_000):
        (attempt.path / "heartbeat").write_bytes(damage)
        assert attempt.read_heartbeat() is None


def test_the_exit_record_is_written_once(tmp_path: Path) -> None:
    attempt = Store(tmp_path).get_run("r").claim_attempt(1, make_claim_record())
    assert attempt is not None
    attempt.write_end("failed", "ValueError: x")
    attempt.write_end("trained")
    ended = attempt.read_end()
    assert ended is not None
    assert (ended.kind, ended.error) == ("failed", "ValueError: x")


def test_a_heartbeat_repeats_the_claim_and_the_exit_record(tmp_path: Path) -> None:
    """So `status` needs no other file of an attempt."""
    attempt = Store(tmp_path).get_run("r").claim_attempt(1, make_claim_record())
    assert attempt is not None
    attempt.write_heartbeat(step=3, total_steps=9, steps_per_second=1.0, phase="training")
    beat = attempt.read_heartbeat()
    assert beat is not None
    assert (beat.claim, beat.end) == (make_claim_record(), None)
    attempt.write_end("failed", "ValueError: x")
    attempt.write_end("trained")
    last = attempt.read_heartbeat()
    assert last == dataclasses.replace(beat, end=attempt.read_end())


def test_an_attempt_of_a_run_that_was_moved_away_is_superseded(tmp_path: Path) -> None:
    """A stopped worker that wakes up after its run was superseded must publish nothing."""
    lab = Store(tmp_path)
    run = lab.get_run("r")
    attempt = run.claim_attempt(1, make_claim_record())
    assert attempt is not None
    assert not attempt.is_superseded()
    lab.supersede(run)
    assert attempt.is_superseded()
    afresh = lab.get_run("r").claim_attempt(1, make_claim_record(pid=2))
    assert afresh is not None
    assert attempt.is_superseded(), "another attempt has its number now"
    assert not afresh.is_superseded()
    attempt.write_heartbeat(step=5, total_steps=9, steps_per_second=1.0, phase="training")
    attempt.write_end("superseded")
    assert (afresh.read_heartbeat(), afresh.read_end()) == (None, None), "nor a word in its place"
