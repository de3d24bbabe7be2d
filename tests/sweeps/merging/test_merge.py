"""Two labs merge to the tables of one; what contradicts is refused; every origin is listed."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from analysis import tables
from analysis.collect.frame import collect_sweep_data
from analysis.report.origins import write_origins
from analysis.results.results import analyze
from analysis.tables.table import TABLE_FORMATS
from sweeps.merging.merge import MergeSource, apply_merge, name_source, prepare_merge
from tests.helpers.command_line import execute, read_files
from tests.helpers.fake_sweep import Truth
from tests.helpers.labs import edit_json, make_lab
from uniclip.errors import UserError
from uniclip.store import Plan, Store

PLANTED = {"awareness": 0.08, "mp_nce": 0.0}
BIG, FIRST, SECOND = ((0, 1, 2, 3), (0, 1, 2), (1, 2, 3))


def build_tables(store: Store, sweep_id: str) -> dict[str, str]:
    """Return every table of a report, in every format, as its file would hold it."""
    results = analyze(store, collect_sweep_data(store, sweep_id))
    return {
        f"{table.name}.{suffix}": format_table(table)
        for table in tables.build_tables(results)
        for suffix, format_table in TABLE_FORMATS.items()
    }


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Store, Plan]]:
    folder = tmp_path_factory.mktemp("labs")
    seeds = {"big": BIG, "first": FIRST, "second": SECOND}
    return {name: make_lab(folder / name, Truth(seeds=s)) for name, s in seeds.items()}


@pytest.fixture
def pair(labs: dict[str, tuple[Store, Plan]], tmp_path: Path) -> tuple[Store, Store]:
    """Copies of the two smaller labs."""
    for name in ("first", "second"):
        shutil.copytree(labs[name][0].root, tmp_path / name)
    return Store(tmp_path / "first"), Store(tmp_path / "second")


def merge(target: Store, source: Store) -> None:
    sources = [MergeSource(source.root.name, source)]
    apply_merge(target, sources, prepare_merge(target, sources))


def test_overlapping_seeds_merge_to_the_tables_of_one_store(
    labs: dict[str, tuple[Store, Plan]], pair: tuple[Store, Store], tmp_path: Path
) -> None:
    big, plan = labs["big"]
    expected = build_tables(big, plan.sweep_id)
    first, second = pair
    merge(first, second)
    assert build_tables(first, plan.sweep_id) == expected
    united = first.get_sweep(plan.sweep_id).read_plan()
    assert united is not None
    assert united.cells == plan.cells
    # in the other order, into an empty store, and again
    empty = Store(tmp_path / "empty")
    for source in (second, labs["first"][0], second):
        merge(empty, source)
    assert build_tables(empty, plan.sweep_id) == expected


def test_a_second_merge_changes_nothing(pair: tuple[Store, Store]) -> None:
    first, second = pair
    merge(first, second)
    before = read_files(first.root)
    merge(first, second)
    assert read_files(first.root) == before


def test_origins_stand_beside_the_tables(pair: tuple[Store, Store], tmp_path: Path) -> None:
    first, second = pair
    merge(first, second)
    (folder,) = first.iter_sweeps()
    plan = folder.read_plan()
    assert plan is not None
    write_origins(first, plan, tmp_path)
    rows = list(csv.DictReader((tmp_path / "origins.csv").open()))
    by_seed = {int(row["seed"]): (row["origins"], row["agreement"]) for row in rows}
    assert by_seed == {
        0: ("this store", ""),
        1: ("this store; second", "bit for bit"),
        2: ("this store; second", "bit for bit"),
        3: ("second", ""),
    }
    assert len(rows) == len(plan.cells)


def change_weights(store: Store, **outcome_changes: object) -> str:
    """Let the runs of seed 1 of one arm have other weights; return the run id."""
    (folder,) = store.iter_sweeps()
    plan = folder.read_plan()
    assert plan is not None
    run = store.get_run(next(c.run_id for c in plan.cells if (c.arm, c.seed) == ("full", 1)))
    edit_json(run.path / "outcome.json", weights_digest="x" * 32, **outcome_changes)
    for path in run.list_score_paths():
        edit_json(path, weights_digest="x" * 32)
    return run.id


def test_what_contradicts_is_refused_before_anything_is_written(
    pair: tuple[Store, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = pair
    run_id = change_weights(second)
    before = read_files(first.root)
    sources = [MergeSource("second", second)]
    summary = prepare_merge(first, sources)
    assert len(summary.contradictions) == 1
    assert run_id in summary.contradictions[0]
    assert "the weights differ" in summary.contradictions[0]
    with pytest.raises(UserError, match="nothing was merged"):
        apply_merge(first, sources, summary)
    assert execute("merge", str(second.root), f"store={first.root}") == 1
    assert "contradiction: second: run" in capsys.readouterr().out
    assert read_files(first.root) == before


def test_results_of_another_numerics_class_are_both_known(pair: tuple[Store, Store]) -> None:
    first, second = pair
    run_id = change_weights(second, numerics_class={"device": "cuda"})
    merge(first, second)
    outcome = first.get_run(run_id).read_outcome()
    assert outcome is not None
    assert outcome.weights_digest == "w" * 32, "the store keeps its own"
    records = [json.loads(line) for line in first.origins_path.read_text().splitlines()]
    agreements = {r["run"]: r["agreement"] for r in records if not r["copied"]}
    assert agreements.pop(run_id) == "not comparable bit for bit"
    assert set(agreements.values()) == {"bit for bit"}


def test_a_forged_run_is_refused(pair: tuple[Store, Store]) -> None:
    """A run id is the hash of its spec, and scores are those of the weights of the outcome."""
    first, second = pair
    runs = [run for run in second.iter_runs() if not first.get_run(run.id).has_spec()]
    edit_json(runs[0].path / "spec.json", config={"seed": 99})
    (scores_path,) = runs[1].list_score_paths()
    edit_json(scores_path, weights_digest="z" * 32)
    lines = prepare_merge(first, [MergeSource("second", second)]).contradictions
    assert any("is not the hash of its spec.json" in line for line in lines)
    assert any("has scores of other weights" in line for line in lines)


def test_scores_that_one_lacks_are_added(pair: tuple[Store, Store]) -> None:
    first, second = pair
    shared = [run for run in first.iter_runs() if second.get_run(run.id).has_spec()]
    (scores_path,) = shared[0].list_score_paths()
    content = scores_path.read_bytes()
    scores_path.unlink()
    merge(first, second)
    assert scores_path.read_bytes() == content


def test_scores_behind_a_link_are_not_added(pair: tuple[Store, Store], tmp_path: Path) -> None:
    first, second = pair
    shared = next(run for run in first.iter_runs() if second.get_run(run.id).has_spec())
    (scores_path,) = shared.list_score_paths()
    scores_path.unlink()
    folder = second.get_run(shared.id).path / "scores"
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    merge(first, second)
    assert not scores_path.exists()


def test_what_a_killed_write_left_is_no_contradiction(pair: tuple[Store, Store]) -> None:
    first, second = pair
    for run in second.iter_runs():
        (run.path / "scores" / ".x.json.1f2e").write_text("{")
    merge(first, second)
    assert not [*first.root.rglob(".x.json.*")]


def test_a_strange_spec_is_a_contradiction(pair: tuple[Store, Store]) -> None:
    """A score file too, that is no record of scores."""
    first, second = pair
    run = next(run for run in second.iter_runs() if not first.get_run(run.id).has_spec())
    for text in ('{"config": [3]}', "[]", "3"):
        (run.path / "spec.json").write_text(text)
        lines = prepare_merge(first, [MergeSource("second", second)]).contradictions
        assert any(line.startswith(f"second: {run.id}") for line in lines)
    (scores_path,) = run.list_score_paths()
    scores_path.write_text('{"dataset": 3}')
    lines = prepare_merge(first, [MergeSource("second", second)]).contradictions
    assert any(scores_path.name in line for line in lines)


def test_a_damaged_origin_is_found_before_anything_is_written(pair: tuple[Store, Store]) -> None:
    first, second = pair
    before = read_files(first.root)
    second.origins_path.write_text('{"run": 3}\n')
    with pytest.raises(UserError, match="second"):
        merge(first, second)
    assert read_files(first.root) == before


def test_links_of_a_store_are_not_followed(pair: tuple[Store, Store], tmp_path: Path) -> None:
    first, second = pair
    secret = tmp_path / "secret"
    secret.write_text("secret")
    new = [run for run in second.iter_runs() if not first.get_run(run.id).has_spec()]
    new[0].config_path.symlink_to(secret)
    attempt = new[1].get_attempt(1)
    attempt.path.rename(tmp_path / "moved")
    (tmp_path / "moved" / "log").write_text("secret")
    attempt.path.symlink_to(tmp_path / "moved")
    merge(first, second)
    assert not first.get_run(new[0].id).config_path.exists()
    assert not first.get_run(new[1].id).get_attempt(1).log_path.exists()
    assert first.get_run(new[0].id).read_outcome() is not None


def test_an_unfinished_run_is_replaced_by_a_finished_one(pair: tuple[Store, Store]) -> None:
    first, second = pair
    new = next(run for run in second.iter_runs() if not first.get_run(run.id).has_spec())
    first.get_run(new.id).write_spec(new.read_spec())
    merge(first, second)
    assert first.get_run(new.id).read_outcome() == new.read_outcome()
    assert (first.root / "superseded" / f"{new.id}.1").is_dir()


@pytest.mark.parametrize(
    ("path", "name"), [("lab-a/store", "lab-a"), ("lab-b", "lab-b"), ("x/lab-c.tar", "lab-c")]
)
def test_sources_are_named_after_their_folder(tmp_path: Path, path: str, name: str) -> None:
    assert name_source(tmp_path / path) == name
