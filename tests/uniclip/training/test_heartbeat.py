"""Heartbeats are repeated while nothing else writes them."""

from __future__ import annotations

import os
import time
from functools import partial

import pytest

from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import evaluate, run
from uniclip.errors import UserError
from uniclip.io import atomic
from uniclip.store import Outcome
from uniclip.training import heartbeat
from uniclip.training.heartbeat import repeat_heartbeats


def write(attempt, step: int) -> None:
    attempt.write_heartbeat(step=step, total_steps=9, steps_per_second=2.0, phase="validating")


def test_an_old_heartbeat_is_repeated_with_the_time_alone_changed(tmp_path):
    attempt = claimed(opened(tmp_path, tiny()))
    with repeat_heartbeats(attempt, max_age_s=0.05, interval_s=0.01):
        assert attempt.read_heartbeat() is None, "there is none to be repeated"
        write(attempt, 3)
        first = attempt.read_heartbeat()
        deadline = time.monotonic() + 60
        while attempt.read_heartbeat().time == first.time and time.monotonic() < deadline:
            time.sleep(0.01)
    last = attempt.read_heartbeat()
    assert last.time > first.time
    assert (last.step, last.phase, last.steps_per_second) == (3, "validating", 2.0)


def test_a_recent_heartbeat_is_left_alone(tmp_path):
    attempt = claimed(opened(tmp_path, tiny()))
    write(attempt, 1)
    first = attempt.read_heartbeat()
    attempt.repeat_heartbeat(min_age_s=3600)
    assert attempt.read_heartbeat() == first
    attempt.repeat_heartbeat(min_age_s=0)
    assert attempt.read_heartbeat().time > first.time


def test_a_run_repeats_heartbeats_while_training_is_busy(tmp_path, monkeypatch):
    """In a step, a validation or a checkpoint that takes long."""
    config = tiny()
    run_folder = opened(tmp_path, config)

    def stay_busy(config, *, attempt, **arguments):
        write(attempt, 1)
        first, deadline = attempt.read_heartbeat(), time.monotonic() + 60
        while attempt.read_heartbeat().time == first.time and time.monotonic() < deadline:
            time.sleep(0.01)
        raise UserError("repeated" if attempt.read_heartbeat().time > first.time else "silent")

    often = partial(repeat_heartbeats, max_age_s=0.05, interval_s=0.01)
    monkeypatch.setattr(run, "repeat_heartbeats", often)
    monkeypatch.setattr(run, "train_model", stay_busy)
    with pytest.raises(UserError, match="repeated"):
        run.execute_run(run_folder, config, claimed(run_folder), evaluations={})


@pytest.mark.parametrize(("is_trained", "phase"), [(False, "opening"), (True, "evaluating")])
def test_a_run_that_digests_its_shards_has_a_heartbeat(tmp_path, monkeypatch, is_trained, phase):
    """Reading them from end to end may take hours."""
    config = tiny()
    run_folder = opened(tmp_path, config)
    attempt = claimed(run_folder)
    if is_trained:
        outcome = Outcome(
            kind="trained",
            step=6,
            attempt=1,
            training_hash="t",
            source_hash="s",
            numerics_class={},
            weights_digest="0" * 32,
            best_step=None,
            cost={},
            data_content={"key": "digest"},
        )
        run_folder.write_outcome(outcome)

    def digest_shards(data_config, earlier):
        last = attempt.read_heartbeat()
        assert last is not None
        raise UserError(f"{last.phase} at {last.step} of {last.total_steps}")

    monkeypatch.setattr(run.data, "require_content", digest_shards)
    evaluations = {"scenes": evaluate.evaluation_hash("scenes", config)}
    with pytest.raises(UserError, match=f"{phase} at {6 if is_trained else 0} of 6"):
        run.execute_run(run_folder, config, attempt, evaluations=evaluations)


def test_heartbeats_are_at_most_15_seconds_apart():
    assert heartbeat.MAX_HEARTBEAT_AGE_S + heartbeat.CHECK_INTERVAL_S <= 15


def test_a_superseded_attempt_repeats_nothing(tmp_path):
    attempt = claimed(opened(tmp_path, tiny()))
    write(attempt, 1)
    first = attempt.read_heartbeat()
    attempt.claim_path.write_bytes(b"{}")
    attempt.repeat_heartbeat(min_age_s=0)
    assert attempt.read_heartbeat().time == first.time


def test_a_heartbeat_is_not_fsynced(tmp_path, monkeypatch):
    attempt = claimed(opened(tmp_path, tiny()))

    def refuse(handle: int) -> None:
        pytest.fail("fsync")

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(atomic.os, "fsync", refuse)
    write(attempt, 1)
    attempt.repeat_heartbeat(min_age_s=0)
    assert attempt.read_heartbeat().step == 1
