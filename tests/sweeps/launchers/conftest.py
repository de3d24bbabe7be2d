"""A small sweep that workers execute."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.trivial_sweep import pass_audit, planned
from uniclip.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A sweep of two trivial cells, planned and audited."""
    store, sweep = Store(tmp_path), planned(2, 0.0)
    store.get_sweep(sweep.plan.sweep_id).write_plan(sweep.plan)
    pass_audit(store, sweep.plan)
    for run_id, spec in sweep.specs.items():
        store.get_run(run_id).write_spec(spec)
    return store
