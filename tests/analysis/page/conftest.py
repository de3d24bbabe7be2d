"""A store with some runs, and the page made of it."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.collect.frame import SweepData, collect_sweep_data
from analysis.page.payload import build_payload
from tests.helpers import page_store
from uniclip.store import Store


@pytest.fixture(scope="session")
def page_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, SweepData]:
    """Return a store and the data of its sweep; labels and logs are hostile."""
    store, plan = page_store.write_store(
        tmp_path_factory.mktemp("page"), label=page_store.HOSTILE, log=page_store.HOSTILE
    )
    return store, collect_sweep_data(store, plan.sweep_id)


@pytest.fixture(scope="session")
def payload(page_data: tuple[Store, SweepData]) -> dict[str, Any]:
    """Return the payload of that sweep."""
    return build_payload(*page_data, store_url="store/", generated=0.0)
