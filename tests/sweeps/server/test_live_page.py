"""A live page: an answer is ready at once, and newer data follow."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

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
