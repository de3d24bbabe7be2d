"""The list of sweeps: links, titles as text, and damaged plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sweeps.server.sweep_index import render_index
from tests.helpers import page_store
from uniclip.store import Store


def test_sweeps_are_listed_with_links(tmp_path: Path) -> None:
    store, plan = page_store.write_store(tmp_path)
    store.get_sweep(plan.sweep_id).write_plan(replace(plan, title=page_store.HOSTILE))
    broken = store.get_sweep("broken-smoke-00000000").path
    broken.mkdir()
    (broken / "plan.json").write_text("{")
    page = render_index(store)
    assert f'<a href="sweep/{plan.sweep_id}/">&lt;/script&gt;' in page
    assert "6 cells, data openmoji" in page
    assert "broken-smoke-00000000" in page
    assert "is damaged" in page


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    assert "No sweep was run in this store." in render_index(Store(tmp_path))
