"""Scores and effects without contaminated items, by hand, and what their tables say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.collect.frame import collect_sweep_data
from analysis.collect.predictions import load_outcomes
from analysis.results import contamination
from analysis.results.contamination import collect_contamination
from analysis.statistics.item_clusters import estimate_item_uncertainty
from tests.helpers import fake_published_sets
from tests.helpers.analyzed_sweeps import analyze_sweep, tables_by_name
from tests.helpers.fake_published_sets import NUM_SAMPLES
from uniclip.evaluate.checks import near_duplicates
from uniclip.store import Cell, RunFolder, Store

FAMILY = np.arange(NUM_SAMPLES) // 2
IMAGE_OF_CAPTION = np.arange(2 * NUM_SAMPLES) // 2


def plant_copies(arm: str) -> np.ndarray:
    """Return verdicts: 40 copies, and ten more in the training data of arm `clip`."""
    verdicts = np.full(NUM_SAMPLES, near_duplicates.DISTINCT, np.int8)
    verdicts[: 50 if arm == "clip" else 40] = near_duplicates.DUPLICATE
    return verdicts


def draw_outcomes(cell: Cell, num_items: int = NUM_SAMPLES) -> np.ndarray:
    """Return outcomes of which copies are always right, in arm `full` all of the first hundred."""
    random = np.random.default_rng([cell.seed, len(cell.arm), num_items])
    outcomes = random.random(num_items) < 0.4
    outcomes[: 100 if cell.arm == "full" else 40] = True
    return outcomes


def save(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
    if dataset == "dtd":
        return {
            "near_duplicate": plant_copies(cell.arm),
            "zeroshot": draw_outcomes(cell),
            "family": FAMILY,
        }
    if dataset == "coco":
        return {
            "near_duplicate": plant_copies(cell.arm),
            "retrieval.t2i.r1": draw_outcomes(cell, 2 * NUM_SAMPLES),
            "retrieval.t2i.image": IMAGE_OF_CAPTION,
        }
    if dataset == "cifar10":
        return {"near_duplicate": np.zeros(NUM_SAMPLES, np.int8), "zeroshot": draw_outcomes(cell)}
    return {}


def test_arms_with_other_test_items_have_no_effect_without_copies(tmp_path: Path) -> None:
    def save_ids(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        first = 1000 if cell.arm == "clip" else 0
        return {**save(cell, dataset), "ids": np.arange(first, first + NUM_SAMPLES)}

    results = analyze_sweep(*fake_published_sets.make(tmp_path, extra=save_ids))
    score = next(s for s in results.contamination.scores if s.key == ("dtd", "zeroshot"))
    assert {"full", "clip"} <= set(score.arms)
    for contrast in results.plan.contrasts:
        assert (contrast.name in score.effects) == ("clip" not in contrast.weights)


def test_scores_and_effects_without_the_items(tmp_path: Path) -> None:
    results = analyze_sweep(*fake_published_sets.make(tmp_path, extra=save))
    searched = results.contamination
    assert searched.clean == {"cifar10": NUM_SAMPLES}
    assert set(searched.unchecked) == {"flowers102", "voc2007", "flickr30k"}
    scores = {score.key: score for score in searched.scores}
    assert set(scores) == {("dtd", "zeroshot"), ("coco", "retrieval.t2i.r1")}

    seeds = results.plan.seeds
    outcomes = {
        arm: {c.seed: draw_outcomes(c).astype(float) for c in results.plan.cells if c.arm == arm}
        for arm in fake_published_sets.ARMS
    }
    full, clip = (scores["dtd", "zeroshot"].arms[arm] for arm in ("full", "clip"))
    assert (full.num_contaminated, clip.num_contaminated) == (40, 50)
    assert (full.num_items, full.seeds) == (NUM_SAMPLES, tuple(sorted(seeds)))
    assert full.value == pytest.approx(np.mean([o.mean() for o in outcomes["full"].values()]))
    assert full.value_without == pytest.approx(
        np.mean([o[40:].mean() for o in outcomes["full"].values()])
    )
    captions = scores["coco", "retrieval.t2i.r1"].arms["full"]
    assert (captions.num_contaminated, captions.num_items) == (80, 2 * NUM_SAMPLES)

    contrast = next(c for c in results.plan.contrasts if set(c.weights) == {"full", "clip"})
    every, without = scores["dtd", "zeroshot"].effects[contrast.name]
    rest = {arm: {s: o[50:] for s, o in by_seed.items()} for arm, by_seed in outcomes.items()}
    assert every == estimate_item_uncertainty(contrast.weights, outcomes, FAMILY)
    assert without == estimate_item_uncertainty(contrast.weights, rest, FAMILY[50:])
    assert without is not None
    assert without.num_clusters == (NUM_SAMPLES - 50) // 2


def test_each_array_of_a_run_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts, to find whether there are copies, and then the outcomes of all scores."""

    def save_scores(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        outcomes = draw_outcomes(cell)
        return {**save(cell, "dtd"), "zeroshot": outcomes, "probe": outcomes}

    store, sweep_id = fake_published_sets.make(tmp_path, extra=save_scores)
    sweep_data = collect_sweep_data(store, sweep_id)
    load_arrays, num_reads = contamination.load_arrays, Counter[tuple[str, str, str]]()

    def count(run: RunFolder, dataset: str, evaluation: str, names: list[str]) -> dict[str, Any]:
        num_reads.update((run.id, dataset, name) for name in names)
        return load_arrays(run, dataset, evaluation, names)

    monkeypatch.setattr(contamination, "load_arrays", count)
    keys = {score.key for score in collect_contamination(store, sweep_data).scores}
    assert {("dtd", "zeroshot"), ("dtd", "probe")} <= keys
    assert set(num_reads.values()) == {1}


def test_of_items_whose_clusters_are_unknown_no_uncertainty_is_estimated(tmp_path: Path) -> None:
    """As where all items count: outcomes of half the cells, which no array matches with images."""

    def save_halves(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        pairs = np.arange(NUM_SAMPLES) // 2
        outcomes = draw_outcomes(cell, NUM_SAMPLES // 2)
        arrays = {**save(cell, "dtd"), "zeroshot": outcomes, "pairs": pairs}
        return arrays if dataset == "dtd" else {}

    results = analyze_sweep(*fake_published_sets.make(tmp_path, extra=save_halves))
    score = next(s for s in results.contamination.scores if s.key == ("dtd", "zeroshot"))
    assert score.arms["full"].num_contaminated == 20
    assert set(score.effects.values()) == {(None, None)}
    outcomes = load_outcomes(Store(tmp_path), results.plan, "dtd", "zeroshot")
    clusters = outcomes.items.get_clusters(["full"])
    assert clusters is not None
    assert len(clusters) == NUM_SAMPLES


def test_without_any_search_there_are_no_effects(tmp_path: Path) -> None:
    results = analyze_sweep(*fake_published_sets.make(tmp_path))
    assert not results.contamination.scores
    assert set(results.contamination.unchecked) == set(fake_published_sets.PRESENT)
    tables = tables_by_name(results)
    assert "contamination_effects" not in tables
    assert all(row[3].text == "leakage unchecked" for row in tables["contamination"].rows)


def test_where_no_item_is_left_there_is_no_value(tmp_path: Path) -> None:
    def save_copies(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        verdicts = np.full(NUM_SAMPLES, near_duplicates.DUPLICATE, np.int8)
        return {"near_duplicate": verdicts, "zeroshot": draw_outcomes(cell)}

    results = analyze_sweep(*fake_published_sets.make(tmp_path, extra=save_copies))
    score = next(s for s in results.contamination.scores if s.key == ("dtd", "zeroshot"))
    assert {arm.value_without for arm in score.arms.values()} == {None}
    assert {without for _, without in score.effects.values()} == {None}
    rows = tables_by_name(results)["contamination"].rows
    assert rows[0][5].text == "no item is left"
