"""The sweep that names and words select: by id, by its start, by cells, and what is refused."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.config import selection
from sweeps.config.request import parse_request
from sweeps.config.schema import SlurmLauncherConfig
from tests.helpers.csv_data import write_image_set
from tests.sweeps.cli import OVERRIDES
from uniclip.errors import UserError
from uniclip.store import Plan, Store, permissions


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def store_plan(*words: str) -> Plan:
    """Write the plan of these words into the default store, as a run does."""
    plan = parse_request(list(words)).build_plan().plan
    Store("store").get_sweep(plan.sweep_id).write_plan(plan)
    return plan


@pytest.mark.parametrize("get_name", [lambda i: i, lambda i: i[:-3], lambda i: "comp"])
def test_a_sweep_is_found_by_its_id_or_the_start_of_it(get_name: object) -> None:
    plan = store_plan(*OVERRIDES)
    assert callable(get_name)
    name = get_name(plan.sweep_id)
    selected = selection.select_plan("status", [name], [])
    assert (selected.plan, selected.cell_names, selected.notes) == (plan, [], ())
    request, cell_names = selection.select_request("retry", ["full/0", name], ["seeds=1"])
    assert cell_names == ["full/0"]
    assert request.plan_request.seeds == (0,)
    assert request.argv == ("run", *OVERRIDES, "seeds=1")
    request, _ = selection.select_request("run", [name], [])
    assert request.argv == ("run", *OVERRIDES, "seeds=[0,1]"), "jobs repeat the seeds of the plan"
    assert request.build_plan().plan.sweep_id == plan.sweep_id


def test_a_follow_up_job_of_a_named_sweep_runs_its_seeds_and_no_others() -> None:
    """It repeats the words, and has no id of the sweep."""
    plan = store_plan(*OVERRIDES, "seeds=[3,7]")
    request, _ = selection.select_request("run", [plan.sweep_id], ["launcher=slurm"])
    follow_up_request = parse_request(list(request.follow_up_argv[1:]))
    assert follow_up_request.build_plan().plan.sweep_id == plan.sweep_id
    assert follow_up_request.plan_request.seeds == plan.seeds == (3, 7)


def test_names_that_select_nothing_or_too_much_are_one_line() -> None:
    plan = store_plan(*OVERRIDES)
    other = store_plan(*OVERRIDES, "train.steps=5")
    cases = [
        (["components"], "'components' is the start of 2 sweep ids, give more of it: "),
        (["nothing"], "has no sweep, cell or run 'nothing': its sweeps are"),
        (["component-smok"], "did you mean components-smoke-"),
        (["methods"], "no sweep of ablation methods is in store=.*: write ablation=methods"),
        (["full/0"], "full/0 is in several sweeps, name one of them too: components-smoke"),
        (["full/9"], "has no cell 'full/9'"),
        ([plan.sweep_id, other.sweep_id], None),
        ([""], "has no sweep, cell or run ''"),
        (["../store"], "has no cell"),
        ([], "ablation= is missing: choose from"),
    ]
    for names, match in cases:
        if match is None:
            selected = selection.select_plan("status", names, [])
            assert selected.cell_names == [other.sweep_id]
            with pytest.raises(UserError, match="leave out components-smoke"):
                selection.require_no_cells("status", selected.cell_names)
            continue
        with pytest.raises(UserError, match=match) as error:
            selection.select_plan("status", names, [])
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="it holds no sweep"):
        selection.select_plan("status", ["x"], ["store=empty"])
    assert not Path("empty").exists()


def test_cells_select_the_only_sweep_that_has_them() -> None:
    plan = store_plan(*OVERRIDES)
    store_plan("ablation=methods", "data=scenes", "budget=smoke")
    own_cell = next(cell for cell in plan.cells if cell.arm == "no-awareness")
    for name in ("full/1", own_cell.run_id[:6]):
        selected = selection.select_plan("logs", [name], [])
        assert (selected.plan.sweep_id, selected.cell_names) == (plan.sweep_id, [name])


def test_a_stored_plan_is_read_without_its_data_plug_ins_or_folders(work_folder: Path) -> None:
    path = write_image_set(work_folder / "pictures", 40)
    (work_folder / "conf" / "model").mkdir(parents=True)
    (work_folder / "conf" / "model" / "mine.yaml").write_text("embed_dim: 32\n")
    (work_folder / "toy_plugin_of_this_test.py").write_text("")
    plan = store_plan(
        "ablation=methods", "data=csv", f"data.path={path}", "budget=smoke", "arms=[clip]",
        "train.batch_size=8", "model=mine", "conf_dir=conf", "launcher=slurm",
        "launcher.array_parallelism=7", "plugins=[toy_plugin_of_this_test]",
    )  # fmt: skip
    shutil.rmtree(path.parent)
    shutil.rmtree(work_folder / "conf")
    selected = selection.select_plan("status", ["methods"], [])
    assert selected.plan == plan
    assert isinstance(selected.settings.launcher, SlurmLauncherConfig)
    assert selected.settings.launcher.array_parallelism == 7
    with pytest.raises(UserError, match="conf_dir=.*conf is not a folder"):
        selection.select_request("run", ["methods"], [])
    gone = replace(plan, base_config={**plan.base_config, "runtime": {
        **plan.base_config["runtime"], "plugins": ["no_such_plugin"]}})  # fmt: skip
    Store("store").get_sweep(plan.sweep_id).write_plan(gone)
    (note,) = selection.select_plan("status", ["methods"], []).notes
    assert "no_such_plugin cannot be imported" in note


def test_reading_commands_take_no_other_words_beside_an_id() -> None:
    store_plan(*OVERRIDES)
    with pytest.raises(UserError, match="reads the stored plan: leave out seeds="):
        selection.select_plan("status", ["components"], ["seeds=2"])
    assert selection.select_plan("status", ["components"], ["store=store"]).cell_names == []


def test_a_forgotten_budget_is_said_in_one_line() -> None:
    plan = store_plan(*OVERRIDES)
    selected = selection.select_plan("status", [], ["ablation=components", "data=scenes"])
    assert selected.plan.budget == "quick"
    (note,) = selected.notes
    assert f"the store has {plan.sweep_id} of this ablation: add budget=smoke" in note
    assert "\n" not in note
    quick = parse_request(["ablation=components", "data=scenes"]).build_plan().plan
    (note,) = selection.describe_same_words(Store("store"), quick)
    assert (
        f"this is budget=quick; the store has the same sweep with budget=smoke: {plan.sweep_id}"
        in note
    )
    longer = parse_request(["ablation=components", "data=scenes", "train.steps=9"]).build_plan()
    assert selection.describe_same_words(Store("store"), longer.plan) == ()
    assert selection.describe_same_words(Store("store"), plan) == ()
    methods = selection.select_plan("status", [], ["ablation=methods", "data=scenes"])
    assert methods.notes == ()


def test_what_a_command_writes_by_the_id_of_a_sweep_is_shared_with_the_group(
    tmp_path: Path,
) -> None:
    plan = store_plan(*OVERRIDES)
    (tmp_path / "store").chmod(0o2775)
    umask_before = os.umask(0o077)
    try:
        selection.select_plan("report", [plan.sweep_id], [])
        assert permissions.read_umask() == 0o007
    finally:
        os.umask(umask_before)
