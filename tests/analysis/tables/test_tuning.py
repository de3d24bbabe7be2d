"""Tables of tuning: default and tuned values, boundaries, and the effects with either."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.results.results import Results
from analysis.tables.table import Table
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import (
    analyze_fake_sweep,
    analyze_sweep,
    read_records,
    tables_by_name,
)
from tests.helpers.fake_tuned_sweep import KEY, make_tuned_sweep
from uniclip.store import PrimaryMetric, Store


@pytest.fixture(scope="module")
def tuned_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    store, plan = make_tuned_sweep(tmp_path_factory.mktemp("store"))
    return store, plan.sweep_id


@pytest.fixture(scope="module")
def tuned_results(tuned_store: tuple[Store, str]) -> Results:
    return analyze_sweep(*tuned_store)


def records_by_key(table: Table) -> dict[str, dict[str, str]]:
    return {row.get("arm") or row["contrast"]: row for row in read_records(table)}


def test_a_sweep_that_was_not_tuned_has_no_such_table(tmp_path: Path) -> None:
    results = analyze_fake_sweep(tmp_path)
    assert results.tuning_comparison is None
    assert not [name for name in tables_by_name(results) if "tun" in name]


def test_default_and_tuned_scores(tuned_store: tuple[Store, str], tuned_results: Results) -> None:
    assert tuned_results.plan.tuning is not None
    default_results = analyze_sweep(tuned_store[0], tuned_results.plan.tuning.default_sweep)
    for arm, row in records_by_key(tables_by_name(tuned_results)["tuning"]).items():
        assert float(row["score_tuned"]) == pytest.approx(tuned_results.compute_mean(arm))
        assert float(row["score_default"]) == pytest.approx(default_results.compute_mean(arm))
        difference = float(row["score_tuned"]) - float(row["score_default"])
        assert float(row["difference"]) == pytest.approx(difference)
        if difference:  # the scores of clip are the same
            assert float(row["ci_low"]) < difference < float(row["ci_high"])
        assert row["runs_default"].split() == [fake_sweep.run_id(arm, s) for s in (0, 1, 2)]
        assert len(set(row["runs_tuned"].split())) == 3
        assert row["validation_default"] == ("" if arm == "clip" else "0.4")


def test_values_at_a_boundary_are_marked(tuned_results: Results) -> None:
    table = tables_by_name(tuned_results)["tuning"]
    column = table.headings.index(KEY)
    marked = [row[column].text.endswith("(upper boundary)") for row in table.rows]
    assert marked == [i % 2 == 1 for i in range(len(table.rows))]
    assert [row[column].tone == "bad" for row in table.rows] == marked
    note = "at the upper boundary of the search space"
    assert sum(note in n for n in table.notes) == sum(marked)
    records = records_by_key(table)
    expected = f"{KEY}:upper" if list(records).index("clip") % 2 else ""
    assert records["clip"]["at_boundary"] == expected


def test_steps_and_trials(tuned_results: Results) -> None:
    table = tables_by_name(tuned_results)["tuning"]
    assert {row["total_steps"] for row in read_records(table)} == {"2200", "2400"}
    assert any("Training steps differ" in note for note in table.notes)
    assert all(row[-2].text == "12 (2 pruned)" for row in table.rows)


def test_effects_with_default_and_tuned_values(tuned_results: Results) -> None:
    tables = tables_by_name(tuned_results)
    records = records_by_key(tables["tuned_effects"])
    assert records.keys() == {c.name for c in tuned_results.plan.contrasts}
    awareness = records["main:awareness"]
    assert float(awareness["default_effect"]) == pytest.approx(0.08, abs=0.03)
    assert float(awareness["tuned_effect"]) == pytest.approx(0.2, abs=0.03)
    effects = records_by_key(tables["effects"])
    for name, record in records.items():
        assert record["tuned_effect"] == effects[name]["effect"]
        assert record["verdict_tuned"] == effects[name]["verdict"]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [((1000,), "were not used for the selection"), ((1, 1000), "Seeds 1 were used")],
)
def test_seeds_of_the_selection_are_named(
    tmp_path: Path, seeds: tuple[int, ...], text: str
) -> None:
    store, plan = make_tuned_sweep(tmp_path, seeds=seeds)
    table = tables_by_name(analyze_sweep(store, plan.sweep_id))["tuning"]
    assert any(text in note for note in table.notes)


def test_scores_have_their_units(tuned_results: Results, tmp_path: Path) -> None:
    """Trials are selected by R@1 on the validation split, in percent whatever is tested."""
    tables = tables_by_name(tuned_results)
    assert tables["tuning"].headings[2:7] == (
        "validation R@1, default (%)",
        "validation R@1, tuned (%)",
        "R@1 both ways, default (%)",
        "R@1 both ways, tuned (%)",
        "tuned minus default (pp)",
    )
    assert tables["tuning"].rows[0][2].text == "40.0"
    assert tables["tuned_effects"].headings[1] == "default (pp)"
    assert tables["tuned_effects"].headings[3] == "tuned (pp)"
    store, plan = make_tuned_sweep(tmp_path)
    metric = PrimaryMetric(dataset="openmoji", metric="gap")
    assert plan.tuning is not None
    for sweep in (plan.sweep_id, plan.tuning.default_sweep):
        stored = store.get_sweep(sweep).read_plan()
        assert stored is not None
        store.get_sweep(sweep).write_plan(replace(stored, primary_metric=metric))
    tables = tables_by_name(analyze_sweep(store, plan.sweep_id))
    assert tables["tuning"].headings[2] == "validation R@1, default (%)"
    assert tables["tuning"].headings[4:7] == ("gap, default", "gap, tuned", "tuned minus default")
    assert not any("pp:" in note for note in tables["tuned_effects"].notes)
