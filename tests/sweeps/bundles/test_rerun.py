"""Cells of a bundle are trained anew, bit for bit; a bundle cannot make us import or open more."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from sweeps.bundles import rerun
from sweeps.bundles.reader import check_bundle
from sweeps.bundles.rerun import rerun_cells, select_cells
from sweeps.bundles.verification import OpenBundle
from sweeps.bundles.writer import write_bundle
from tests.helpers.command_line import Driver, execute
from tests.helpers.labs import edit_json
from tests.sweeps.bundles.conftest import Lab
from uniclip.errors import UserError
from uniclip.store import RunFolder, Store

WORDS = ("arms=[full,clip]", "seeds=2", "train.steps=20")


def test_the_draw_is_repeatable_and_depends_on_its_number(lab: Lab) -> None:
    bundle = OpenBundle(lab.store, lab.plan, lab.plan.cells)
    draws = [tuple(select_cells(bundle, 3, seed)) for seed in range(20)]
    assert draws == [tuple(select_cells(bundle, 3, seed)) for seed in range(20)]
    assert len(set(draws)) > 15
    assert len(select_cells(bundle, 999, 0)) == len(lab.plan.cells)


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({"executor": "os"}, (), "--rerun cannot do it"),
        ({"plugins": ["antigravity"]}, (), "antigravity, which run code"),
        ({}, ("train.steps=3",), "would make another run"),
        ({}, ("seed=3",), "would make another run"),
    ],
)
def test_a_bundle_imports_nothing_that_the_user_does_not_name(
    lab: Lab, tmp_path: Path, changes: dict[str, object], words: tuple[str, ...], message: str
) -> None:
    plan = lab.plan
    if "executor" in changes:
        plan = dataclasses.replace(plan, executor=str(changes["executor"]))
    runtime = {"plugins": changes.get("plugins", []), "device": "cpu"}
    plan = dataclasses.replace(plan, base_config={**plan.base_config, "runtime": runtime})
    bundle = OpenBundle(lab.store, plan, plan.cells)
    with pytest.raises(UserError, match=message):
        next(rerun_cells(bundle, plan.cells[:1], words, Store(tmp_path), 0.05))


def run_with(
    lab: Lab, folder: Path, base: dict[str, object], diff: dict[str, object], *words: str
) -> None:
    """Train a cell of a bundle anew whose plan was edited."""
    arms = tuple(
        dataclasses.replace(a, config_diff={**a.config_diff, **diff}) for a in lab.plan.arms
    )
    base_config = {**lab.plan.base_config, **base}
    plan = dataclasses.replace(lab.plan, arms=arms, base_config=base_config)
    bundle = OpenBundle(lab.store, plan, plan.cells)
    next(rerun_cells(bundle, plan.cells[:1], words, Store(folder / "store"), 0.05))


@pytest.mark.parametrize(
    "diff",
    [
        {"runtime.plugins": ["stranger"]},
        {"runtime": {"plugins": ["stranger"]}},
        {"runtime.plugins": ["named"], "runtime": {"plugins": ["stranger"]}},
        {"allow_torchscript": True},
    ],
)
def test_an_arm_cannot_name_plugins(lab: Lab, tmp_path: Path, diff: dict[str, object]) -> None:
    with pytest.raises(UserError, match="sets .*, which states how runs are executed"):
        run_with(lab, tmp_path, {"runtime": {"plugins": [], "device": "cpu"}}, diff)


def test_a_run_is_executed_with_the_named_plugins_only(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the configuration of the bundle spells a section in another way."""
    executed: list[dict[str, Any]] = []

    def record(
        _store: Store, published: RunFolder, run_only: dict[str, Any], _: object
    ) -> RunFolder:
        executed.append(run_only)
        return published

    monkeypatch.setattr(rerun, "_execute", record)
    (tmp_path / "named_plugin.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    runtime = {"device": "cpu", "plugins": ["named_plugin"]}
    base: dict[str, object] = {"runtime": runtime, "allow_torchscript": True}
    run_with(lab, tmp_path, base, {}, "plugins=[named_plugin]", "runtime.device=cpu")
    run_with(lab, tmp_path, {"runtime": {"device": "cpu"}, "allow_torchscript": True}, {})
    assert [values["runtime"]["plugins"] for values in executed] == [["named_plugin"], []]
    assert [values["allow_torchscript"] for values in executed] == [False, False]


@pytest.mark.slow
def test_two_cells_are_trained_anew_bit_for_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real sweep; then the same with weights that nobody has trained."""
    monkeypatch.chdir(tmp_path)
    driver = Driver(tmp_path / "store", *WORDS)
    driver.run()
    sweep_id = driver.plan().sweep_id
    assert execute("bundle", sweep_id, f"store={driver.folder}") == 0
    bundle = tmp_path / f"{sweep_id}.tar"
    assert execute("verify", str(bundle), "--rerun=2", "draw=1") == 0
    output = capsys.readouterr().out
    assert output.count("passed: ") == output.count(": bit for bit") == 2
    names = set(check_bundle(bundle).manifest.hashes)
    assert f"store/reports/{sweep_id}/report.html" in names
    assert any(name.startswith("store/environments/") for name in names)
    assert execute("merge", str(bundle), f"store={tmp_path / 'other'}") == 0
    assert execute("report", sweep_id, f"store={tmp_path / 'other'}") == 0
    reports = [Store(tmp_path / name).report_path(sweep_id) for name in ("store", "other")]
    for path in sorted((reports[0] / "tables").iterdir()):
        assert (reports[1] / "tables" / path.name).read_bytes() == path.read_bytes(), path.name
    assert (reports[1] / "origins.csv").is_file()
    assert not (reports[0] / "origins.csv").exists()
    forge_weights(driver)
    write_bundle(driver.store, driver.plan(), tmp_path / "forged.tar", with_weights=False)
    capsys.readouterr()
    assert execute("verify", str(tmp_path / "forged.tar"), "--rerun=1", "draw=1") == 1
    assert "FAILED: " in capsys.readouterr().out


def forge_weights(driver: Driver) -> None:
    """Let every run state weights that nobody has trained, consistently."""
    for run in driver.store.iter_runs():
        edit_json(run.path / "outcome.json", weights_digest="0" * 32)
        for path in run.list_score_paths():
            edit_json(path, weights_digest="0" * 32)
    shutil.rmtree(driver.store.report_path(driver.plan().sweep_id))
