"""Writing a bundle: complete or not at all, and never over another file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.bundles import writer
from sweeps.bundles.contents import collect_contents
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


def test_a_plan_whose_name_no_bundle_takes_is_an_error(tmp_path: Path) -> None:
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    plan = replace(plan, sweep_id="größe-quick-1a2b3c4d")
    store.get_sweep(plan.sweep_id).write_plan(plan)
    with pytest.raises(UserError, match="letters that a bundle does not take"):
        write_bundle(store, plan, tmp_path / "b.tar", with_weights=False)
    assert not (tmp_path / "b.tar").exists()


def test_a_file_that_vanishes_meanwhile_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process builds the report again."""
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    contents = collect_contents(store, plan, with_weights=False)
    monkeypatch.setattr(writer, "collect_contents", lambda *_, **__: contents)
    (store.get_run(plan.cells[0].run_id).path / "outcome.json").unlink()
    with pytest.raises(UserError, match=r"outcome\.json was deleted .*: run the command again"):
        write_bundle(store, plan, tmp_path / "b.tar", with_weights=False)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
