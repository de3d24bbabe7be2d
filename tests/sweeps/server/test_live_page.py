"""A live page: an answer is ready at once, and newer data follow."""

from __future__ import annotations

import gzip
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sweeps.server import live_page
from sweeps.server.live_page import LivePage
from tests.helpers import fake_sweep, page_store


def test_data_are_renewed_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "MIN_AGE_SECONDS", 0.0)
    monkeypatch.setattr(live_page, "MAX_READING_SHARE", 1e9)
    store, plan = page_store.write_store(tmp_path)
    page = LivePage(store, plan)
    first = page.get_data()
    assert gzip.decompress(first.compressed) == first.json
    fake_sweep.begin(store, page_store.get_cell(plan, "no-awareness/1").run_id)
    end = time.monotonic() + 60
    while (data := page.get_data()).tag == first.tag:
        assert time.monotonic() < end
        time.sleep(0.01)
    counts = [json.loads(d.json)["progress"]["counts"] for d in (first, data)]
    assert counts[0] != counts[1]
    assert b'data-url="data.json"' in page.render()


def test_equal_data_keep_their_tag(tmp_path: Path) -> None:
    store, plan = page_store.write_store(tmp_path)
    tags = {LivePage(store, plan).get_data().tag for _ in range(2)}
    assert len(tags) == 1


def test_more_seeds_are_shown_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "MIN_AGE_SECONDS", 0.0)
    store, plan = page_store.write_store(tmp_path)
    page = LivePage(store, plan)
    assert len(json.loads(page.get_data().json)["cells"]["rows"]) == 6
    longer = page_store.make_plan(fake_sweep.Truth(seeds=(0, 1, 2)))
    store.get_sweep(plan.sweep_id).write_plan(longer)
    page._read()
    assert len(json.loads(page.get_data().json)["cells"]["rows"]) == 9


@pytest.mark.parametrize("damage", ["damaged", "folder"])
def test_errors_of_later_readings_are_in_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    monkeypatch.setattr(live_page, "MIN_AGE_SECONDS", 0.0)
    monkeypatch.setattr(live_page, "MAX_READING_SHARE", 1e9)
    store, plan = page_store.write_store(tmp_path)
    page = LivePage(store, plan)
    first = json.loads(page.get_data().json)
    path = store.get_run(page_store.get_cell(plan, "no-awareness/1").run_id).path / "outcome.json"
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if damage == "folder" else path.write_text("{")
    data = wait_for_error(page, is_error=True)
    assert str(path) in data["error"]
    assert data["cells"] == first["cells"]
    path.rmdir() if damage == "folder" else path.unlink()
    assert wait_for_error(page, is_error=False)["error"] == ""
    assert failures == []


def wait_for_error(page: LivePage, *, is_error: bool) -> dict[str, Any]:
    """Return the data of a page as soon as they have an error, or none."""
    end = time.monotonic() + 60
    while bool((data := json.loads(page.get_data().json))["error"]) != is_error:
        assert time.monotonic() < end
        time.sleep(0.01)
    return dict(data)
