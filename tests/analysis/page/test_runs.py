"""What the page says of runs: configurations, environments, files and logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.collect.frame import SweepData
from analysis.page import runs
from tests.helpers.page_store import HOSTILE, TRACEBACK
from uniclip.store import Store


def test_configurations_are_stated_once_and_differences_by_arm(payload: dict[str, Any]) -> None:
    configs = payload["configs"]
    assert configs["reference"]["train.steps"] == "200"
    assert configs["arms"]["full"] == {}
    assert configs["arms"]["no-awareness"] == {"method.awareness": "false"}
    assert configs["arms"]["clip"] == {"method.name": "clip"}


def test_equal_environments_are_stated_once(payload: dict[str, Any]) -> None:
    environments = payload["environments"]
    assert len(environments["list"]) == 2, "of the finished runs and of the failed one"
    assert len(environments["runs"]) == 5
    assert environments["list"][0]["cpu"] == "AVX2"


def test_files_and_costs_belong_to_runs(
    page_data: tuple[Store, SweepData], payload: dict[str, Any]
) -> None:
    run = page_data[1].plan.cells[0].run_id
    root = page_data[0].root / "runs"
    assert payload["files"][run]
    assert all((root / path).exists() for _, path in payload["files"][run])
    labels = payload["costs"]["labels"]
    assert payload["costs"]["runs"][run][labels.index("training (s)")] == 20.0


def test_logs_of_failed_runs_are_shown(
    page_data: tuple[Store, SweepData], payload: dict[str, Any]
) -> None:
    (text,) = payload["logs"].values()
    assert text.startswith(HOSTILE)
    assert text.endswith(TRACEBACK)


def test_only_the_end_of_a_long_log_is_read(page_data: tuple[Store, SweepData]) -> None:
    store, data = page_data
    attempt = store.get_run(data.plan.cells[0].run_id).get_attempt(1)
    assert runs.read_log_tail([attempt]) == ""
    log_path = Path(attempt.log_path)
    log_path.write_bytes(b"".join(b"line %d \xff\n" % i for i in range(5000)))
    try:
        lines = runs.read_log_tail([attempt]).splitlines()
    finally:
        log_path.unlink()
    assert lines[-1] == "line 4999 \ufffd"
    assert lines[0].startswith("line 4")
    assert 100 < len(lines) < 1000
