"""Writing a bundle: complete or not at all, and never over another file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.bundles.reader import check_bundle
from sweeps.bundles.writer import write_bundle
from tests.helpers.fake_sweep import Truth
from tests.helpers.labs import make_lab
from tests.sweeps.bundles.conftest import Lab
from uniclip.errors import UserError


def test_the_same_store_gives_the_same_bytes(lab: Lab, tmp_path: Path) -> None:
    write_bundle(lab.store, lab.plan, tmp_path / "again.tar", with_weights=True)
    assert (tmp_path / "again.tar").read_bytes() == lab.bundle.read_bytes()


def test_it_holds_finished_cells_and_the_report(lab: Lab) -> None:
    names = set(check_bundle(lab.bundle).manifest.hashes)
    finished = [c for c in lab.plan.cells if (c.arm, c.seed) != ("clip", 1)]
    for cell in finished:
        folder = f"store/runs/{cell.run_id}"
        assert {f"{folder}/spec.json", f"{folder}/outcome.json"} <= names
        assert any(name.startswith(f"{folder}/predictions/") for name in names)
    assert len({n.split("/")[2] for n in names if n.startswith("store/runs/")}) == len(finished)
    assert f"store/reports/{lab.plan.sweep_id}/tables/effects.csv" in names


def test_nothing_is_overwritten_and_nothing_half_written(lab: Lab, tmp_path: Path) -> None:
    target = tmp_path / "b.tar"
    target.write_text("mine")
    with pytest.raises(UserError, match="exists"):
        write_bundle(lab.store, lab.plan, target, with_weights=False)
    assert target.read_text() == "mine"
    with pytest.raises(UserError, match="there is no folder"):
        write_bundle(lab.store, lab.plan, tmp_path / "missing" / "b.tar", with_weights=False)
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    for cell in plan.cells:
        (store.get_run(cell.run_id).path / "outcome.json").unlink()
    with pytest.raises(UserError, match="no finished cell"):
        write_bundle(store, plan, tmp_path / "c.tar", with_weights=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "store"]


def test_the_description_is_plain_json(lab: Lab, tmp_path: Path) -> None:
    check_bundle(lab.bundle, unpack_to=tmp_path / "b")
    description = json.loads((tmp_path / "b" / "bundle.json").read_text())
    assert description["sweep"] == lab.plan.sweep_id
    assert len(description["cells"]) == len(lab.plan.cells) - 1
