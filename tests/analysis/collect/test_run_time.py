"""Run time: attempts are added up, and lost training is wasted. More in sweeps/costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.collect.run_time import format_duration, measure_run_time, measure_wall_seconds
from tests.helpers import fake_sweep
from uniclip.store import Store


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12 s"), (89, "89 s"), (120, "2 min"), (7200, "2.0 h")]
)
def test_durations_have_a_fitting_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_attempts_without_a_result_are_wasted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    fake_sweep.fail(store, "a", seconds=10.0)
    fake_sweep.fail(store, "a", seconds=30.0)
    run = store.get_run("a")
    run_time = measure_run_time(run, None)
    assert run_time is not None
    assert (run_time.wall_seconds, run_time.wasted_seconds) == (40.0, 40.0)
    assert (run_time.num_attempts, run_time.productive_seconds) == (2, 0.0)
    assert run_time.end_reason_counts == {"interrupted": 1, "failed": 1}
    assert measure_wall_seconds(run.get_attempt(2)) == 30.0


def test_a_run_that_never_started_has_no_run_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert measure_run_time(store.get_run("a"), None) is None
    fake_sweep.begin(store, "a")
    assert measure_run_time(store.get_run("a"), None) is None, "no heartbeat, no exit record"
