"""The data of a live page: cells at each call, files of runs when a cell has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.monitor import page_source
from sweeps.monitor.page_source import PageSource, render_status_page
from tests.helpers import fake_sweep, page_store
from tests.helpers.other_user import open_to_other_users, run_as_other_user
from uniclip.store import Store


def test_the_page_has_the_records_of_status(tmp_path: Path) -> None:
    store, plan = page_store.write_store(tmp_path)
    payload = PageSource(store, plan, store_url="store/").read_payload()
    columns = payload["cells"]["columns"]
    rows = {(row[0], row[1]): dict(zip(columns, row)) for row in payload["cells"]["rows"]}
    assert rows[2, 1]["status"] == "failed"
    assert rows[2, 1]["reason"].startswith("OSError: h; log: ")
    assert rows[2, 1]["advice"] == "logs, then retry"
    assert payload["progress"]["num_cells"] == 6
    assert '<section id="now">' in render_status_page(plan, payload)


def test_a_plan_that_was_never_run_has_a_page(tmp_path: Path) -> None:
    plan = page_store.make_plan(fake_sweep.Truth(seeds=(0,)))
    payload = PageSource(Store(tmp_path), plan).read_payload()
    assert payload["progress"]["counts"] == {"pending": 3}
    assert payload["scores"] == []
    assert list(tmp_path.iterdir()) == []


def test_files_are_read_again_only_if_a_cell_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, plan = page_store.write_store(tmp_path)
    monkeypatch.setattr(page_source, "MIN_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(page_source, "MAX_READING_SHARE", 1e9)
    num_readings = 0
    collect = page_source.collect_plan_data

    def count(*arguments: object) -> object:
        nonlocal num_readings
        num_readings += 1
        return collect(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(page_source, "collect_plan_data", count)
    source = PageSource(store, plan)
    assert len(source.read_payload()["curves"]["runs"]) == 4
    source.read_payload()
    assert num_readings == 1
    truth = fake_sweep.Truth(seeds=(0, 1))
    fake_sweep.write_run(store, plan, page_store.get_cell(plan, "no-awareness/1"), truth)
    assert len(source.read_payload()["curves"]["runs"]) == 5
    assert num_readings == 2


def test_a_run_of_another_user_is_unreadable_on_the_page(tmp_path: Path) -> None:
    open_to_other_users(tmp_path)
    store, plan = page_store.write_store(tmp_path)
    store.get_run(plan.cells[0].run_id).path.chmod(0o700)

    def act_as_other_user() -> None:
        payload = PageSource(store, plan).read_payload()
        assert payload["progress"]["counts"]["unreadable"] == 1
        assert len(payload["usage"]["runs"]) == 3

    run_as_other_user(act_as_other_user)
