"""Only files of known names are copied; a copy appears complete."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sweeps.merging.copying import (
    copy_environments,
    copy_run,
    copy_scores,
    copy_sweep_records,
    list_tuning_rounds,
)
from sweeps.merging.merge import MergeSource, apply_merge, prepare_merge
from tests.helpers.copy_verdicts import make_verdicts
from tests.helpers.fake_sweep import EVALUATION, Truth
from tests.helpers.fake_tuned_sweep import build_tuned_plan, save_trials
from tests.helpers.labs import make_lab
from uniclip.evaluate.checks.copy_search import read_verdicts, write_verdicts
from uniclip.store import CellPrices, Store
from uniclip.store.copy_searches import get_copies_path


def test_a_run_is_copied_without_strange_files(tmp_path: Path) -> None:
    source, plan = make_lab(tmp_path / "a", Truth(seeds=(0,)))
    target, run = Store(tmp_path / "b"), source.get_run(plan.cells[0].run_id)
    (run.path / "install.sh").write_text("rm -rf /")
    (run.path / "scores" / ".x.json.1f2e").write_text("{")
    run.get_attempt(1).usage_path.write_text('{"time": 1}\n')
    (run.get_attempt(1).checkpoints_path).mkdir(parents=True, exist_ok=True)
    (run.get_attempt(1).checkpoints_path / "1.safetensors").write_bytes(b"large")
    (tmp_path / "b").mkdir()
    with target.create_scratch_folder() as scratch:
        copy_run(run, target, scratch)
    copy = target.get_run(run.id)
    names = {p.relative_to(copy.path).as_posix() for p in copy.path.rglob("*") if p.is_file()}
    assert {"spec.json", "outcome.json", "attempts/1.claim", "attempts/1/metrics.jsonl"} <= names
    assert "install.sh" not in names
    assert "attempts/1/usage.jsonl" in names
    assert "scores/.x.json.1f2e" not in names, "a write that was killed"
    assert not any("safetensors" in name for name in names)
    assert copy.read_outcome() == run.read_outcome()


def test_searches_for_copies_are_copied_with_a_run_or_to_it(tmp_path: Path) -> None:
    source, plan = make_lab(tmp_path / "a", Truth(seeds=(0,)))
    target, run = Store(tmp_path / "b"), source.get_run(plan.cells[0].run_id)
    write_verdicts(run, "openmoji", EVALUATION, make_verdicts(10, 1))
    (tmp_path / "b").mkdir()
    with target.create_scratch_folder() as scratch:
        copy_run(run, target, scratch)
    copy = target.get_run(run.id)
    write_verdicts(run, "openmoji", EVALUATION, make_verdicts(10, 2))
    write_verdicts(run, "dtd", EVALUATION, make_verdicts(7, 3))
    get_copies_path(run, "coco", EVALUATION).symlink_to("/etc/passwd")
    copy_scores(run, copy)
    counts = {}
    for dataset in ("openmoji", "dtd", "coco"):
        copies = read_verdicts(copy, dataset, EVALUATION)
        counts[dataset] = None if copies is None else int((copies.verdicts == 1).sum())
    assert counts == {"openmoji": 1, "dtd": 3, "coco": None}, "those of the target stay"


def test_an_environment_must_be_what_its_name_says(tmp_path: Path) -> None:
    source, target = Store(tmp_path / "a"), Store(tmp_path / "b")
    folder = source.root / "environments"
    folder.mkdir(parents=True)
    (folder / ("0" * 16 + ".json")).write_text("{}")
    (folder / "x.json").symlink_to("/etc/passwd")
    copy_environments(source, target)
    assert not (target.root / "environments").exists()


def test_measurements_of_both_are_kept_once(tmp_path: Path) -> None:
    folders = [Store(tmp_path / name).get_sweep("s") for name in ("a", "b")]
    for folder, lines in zip(folders, ("1\n2\n", "2\n3\n")):
        folder.path.mkdir(parents=True)
        folder.probes_path.write_text(lines)
    for _ in range(2):
        copy_sweep_records(*folders)
    assert folders[1].probes_path.read_text() == "2\n3\n1\n"


def test_the_prices_of_the_target_are_kept(tmp_path: Path) -> None:
    source, target = (Store(tmp_path / name).get_sweep("s") for name in ("a", "b"))
    prices = CellPrices(gpu_hours={"full": 1.5})
    source.fix_cell_prices(prices)
    copy_sweep_records(source, target)
    assert target.read_cell_prices() == prices
    other = Store(tmp_path / "c").get_sweep("s")
    other.fix_cell_prices(CellPrices(gpu_hours={"full": 2.0}))
    copy_sweep_records(other, target)
    assert target.read_cell_prices() == prices


def test_rounds_of_a_tuning_are_copied(tmp_path: Path) -> None:
    source, default_plan = make_lab(tmp_path / "a", Truth(seeds=(0,)))
    plan = save_trials(source, build_tuned_plan(default_plan), 2)
    target = Store(tmp_path / "b")
    sources = [MergeSource("a", source)]
    apply_merge(target, sources, prepare_merge(target, sources))
    paths = [list_tuning_rounds(store, plan) for store in (source, target)]
    assert len(paths[0]) == 2
    assert [p.read_bytes() for p in paths[0]] == [p.read_bytes() for p in paths[1]]


def test_a_tuning_names_no_folder_elsewhere(tmp_path: Path) -> None:
    source, default_plan = make_lab(tmp_path / "a", Truth(seeds=(0,)))
    plan = save_trials(source, build_tuned_plan(default_plan), 1)
    assert plan.tuning is not None
    study = f"../tuning/{plan.tuning.study}"
    assert source.get_study(plan.tuning.default_sweep, study).list_round_paths()
    strange_plan = replace(plan, tuning=replace(plan.tuning, study=study))
    assert list_tuning_rounds(source, strange_plan) == []


def test_trials_that_choose_code_are_refused(tmp_path: Path) -> None:
    source, default_plan = make_lab(tmp_path / "a", Truth(seeds=(0,)))
    plan = save_trials(source, build_tuned_plan(default_plan), 1)
    (path,) = list_tuning_rounds(source, plan)
    path.write_text(path.read_text().replace("train.precision", "runtime.plugins"))
    (line,) = prepare_merge(Store(tmp_path / "b"), [MergeSource("a", source)]).contradictions
    assert "'runtime.plugins'" in line
