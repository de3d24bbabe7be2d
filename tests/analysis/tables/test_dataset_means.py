"""The table of effects averaged over data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.results.results import Results
from analysis.statistics.dataset_means import estimate_mean_over_datasets
from analysis.statistics.item_clusters import compute_mean_squares
from analysis.tables.table import to_markdown
from tests.helpers import fake_published_sets
from tests.helpers.analyzed_sweeps import (
    analyze_sweep,
    read_records,
    select_record,
    tables_by_name,
)
from tests.helpers.fake_published_sets import score_by_arm
from uniclip import rng
from uniclip.store import Cell, Plan

SETS = ("cifar10", "dtd", "flowers102")
CONTRAST = "full - clip"
LEVELS = {"full": 0.7}


def draw_outcomes(cell: Cell, dataset: str) -> np.ndarray:
    """Return whether each of 80 test images is classified correctly."""
    key = rng.derive_key("outcomes", cell.arm, cell.seed, dataset)
    draws = np.random.Generator(np.random.Philox(key=key))
    return draws.random(80) < LEVELS.get(cell.arm, 0.5)


def save_outcomes(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
    """Save the outcomes of zero-shot classification, but of no probe on dtd."""
    arrays = {"zeroshot": draw_outcomes(cell, dataset)}
    return arrays if dataset == "dtd" else {**arrays, "probe": arrays["zeroshot"]}


def score_outcomes(cell: Cell, dataset: str) -> float:
    """Return the mean of the outcomes."""
    return float(draw_outcomes(cell, dataset).mean())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = tmp_path_factory.mktemp("means")
    made = fake_published_sets.make(root, value=score_outcomes, extra=save_outcomes)
    return analyze_sweep(*made)


def test_the_intervals_are_those_of_the_saved_outcomes(results: Results) -> None:
    """Computed again from the outcomes of each image."""
    plan = results.plan
    cells = {(c.arm, c.seed): c for c in plan.cells}
    outcomes = {
        d: np.stack(
            [
                draw_outcomes(cells["full", s], d).astype(float)
                - draw_outcomes(cells["clip", s], d)
                for s in plan.seeds
            ]
        )
        for d in SETS
    }
    expected = estimate_mean_over_datasets(
        {d: table.mean(axis=1).tolist() for d, table in outcomes.items()},
        {d: compute_mean_squares(table) for d, table in outcomes.items()},
    )
    table = tables_by_name(results)["dataset_means"]
    row = select_record(table, contrast=CONTRAST, score="zeroshot")
    assert row["dataset"] == "mean of 3"
    assert float(row["effect"]) == pytest.approx(expected.mean)
    for name in ("seeds", "seeds_and_items", "seeds_sets_and_items"):
        interval = getattr(expected, name)
        bounds = (float(row[f"{name}_low"]), float(row[f"{name}_high"]))
        assert bounds == pytest.approx((interval.low, interval.high))
    assert float(row["p_signs"]) == pytest.approx(0.25), "three of three sets"
    assert row["num_positive"] == "3"
    assert len(row["runs"].split()) == 6


def test_without_the_outcomes_of_a_set_items_are_not_in_the_interval(results: Results) -> None:
    table = tables_by_name(results)["dataset_means"]
    row = select_record(table, contrast=CONTRAST, score="probe")
    assert row["seeds_and_items_low"] == ""
    assert row["seeds_low"] != ""
    shown = [r for r in table.rows if r[1].text.startswith("linear probe")]
    assert {r[5].text for r in shown} == {"no outcomes"}


def test_a_set_that_one_arm_lacks_is_in_no_mean(tmp_path: Path) -> None:
    """Neither in the mean of that arm, nor in that of the others."""

    def value(cell: Cell, dataset: str) -> float | None:
        is_missing = dataset == "dtd" and (cell.arm, cell.seed) == ("clip", 1)
        return None if is_missing else score_by_arm(LEVELS)(cell, dataset)

    results = analyze_sweep(*fake_published_sets.make(tmp_path, value=value))
    table = tables_by_name(results)["dataset_means"]
    for record in read_records(table):
        assert "dtd" not in record["by_dataset"]
        assert record["num_datasets"] == "2"
        assert record["seeds_sets_and_items_low"] == "", "two sets say nothing of new ones"
    assert "Mean of zero-shot accuracy: cifar10, flowers102." in to_markdown(table)


def test_primary_contrasts_are_shown_and_the_others_are_in_the_file(tmp_path: Path) -> None:
    def make_primary(plan: Plan) -> Plan:
        return replace(
            plan,
            contrasts=tuple(replace(c, primary=c.name == CONTRAST) for c in plan.contrasts),
        )

    made = fake_published_sets.make(tmp_path, value=score_by_arm(LEVELS), change=make_primary)
    table = tables_by_name(analyze_sweep(*made))["dataset_means"]
    assert {row[0].text for row in table.rows} == {"UniCLIP against CLIP"}
    assert {r["contrast"] for r in read_records(table)} > {CONTRAST}


def test_a_sweep_without_such_data_sets_has_no_table(complete_results: Results) -> None:
    assert "dataset_means" not in tables_by_name(complete_results)
