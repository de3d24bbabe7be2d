"""A bundle of a small synthetic sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.bundles.writer import write_bundle
from tests.helpers.fake_sweep import Truth
from tests.helpers.labs import make_lab
from uniclip.store import EnvironmentRecord, Plan, Store


@dataclass(frozen=True)
class Lab:
    """A store with one sweep, and its bundle."""

    store: Store
    plan: Plan
    bundle: Path


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("bundles")
    store, plan = make_lab(folder / "store", Truth(seeds=(0, 1), missing=(("clip", 1),)))
    report = store.report_path(plan.sweep_id)
    (report / "tables").mkdir(parents=True)
    (report / "tables" / "effects.csv").write_text("effect\n1\n")
    (report / "my notes: draft?.txt").write_text("a name that no bundle takes\n")
    environment = EnvironmentRecord(
        python="CPython 3.12.0", packages={"torch": "2.9.0"}, commit="c", diff="", system="Linux",
        machine="x86_64", cpu="", num_cores=2, memory_gb=8.0, gpu_driver="", container="",
        scheduler="",
    )  # fmt: skip
    store.record_environment(environment)
    written = write_bundle(store, plan, folder / "lab.tar", with_weights=True)
    assert written.contents.skipped == (f"store/reports/{plan.sweep_id}/my notes: draft?.txt",)
    return Lab(store, plan, folder / "lab.tar")
