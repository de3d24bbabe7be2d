"""Outcomes of test items: which arms have the same ones, and the images and clusters of items."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.collect.predictions import load_outcomes
from analysis.frames.sweep import tabulate_disagreements
from analysis.report.disagreements import collect_disagreements
from analysis.results.results import find_comparability_warnings
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.frames.predictions import DifferentItemsError, _index_items
from uniclip.frames.store_frames import open_store
from uniclip.io.atomic import atomic_write
from uniclip.store import DatasetScores, Plan, Store
from uniclip.store.json_io import to_json_bytes

SCORE = "retrieval.r1"


def make_sweep(root: Path, ids: np.ndarray) -> tuple[Store, Plan]:
    """Write a sweep whose arm clip has another evaluation, of test items with these ids."""
    store, sweep_id = fake_sweep.make(root, Truth(seeds=(0, 1)))
    plan = store.get_sweep(sweep_id).read_plan()
    assert plan is not None
    hashes = {**plan.evaluation_hashes, "clip": {"openmoji": "89abcdef"}}
    plan = replace(plan, evaluation_hashes=hashes)
    store.get_sweep(sweep_id).write_plan(plan)
    for cell in plan.cells:
        run, evaluation = store.get_run(cell.run_id), hashes[cell.arm]["openmoji"]
        with np.load(run.predictions_path("openmoji", fake_sweep.EVALUATION)) as saved:
            arrays = dict(saved)
        arrays["ids"] = np.arange(len(arrays[SCORE]))
        if cell.arm == "clip":
            arrays["ids"], arrays[SCORE] = ids, arrays[SCORE][: len(ids)]
            scores = run.read_scores("openmoji", fake_sweep.EVALUATION)
            assert isinstance(scores, DatasetScores)
            content = to_json_bytes(replace(scores, evaluation_hash=evaluation))
            atomic_write(run.scores_path("openmoji", evaluation), content)
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        atomic_write(run.predictions_path("openmoji", evaluation), stream.getvalue())
    return store, plan


@pytest.mark.parametrize("ids", [np.arange(1000, 1600), np.arange(200)])
def test_arms_with_other_test_items_are_not_paired(tmp_path: Path, ids: np.ndarray) -> None:
    """Neither if there are as many of them, nor if they are a part of the items of the others."""
    store, plan = make_sweep(tmp_path, ids)
    frames = open_store(tmp_path)
    with pytest.raises(DifferentItemsError, match=r"arms full and clip .* different test items of"):
        frames.predictions(plan.sweep_id, SCORE)
    paired = frames.predictions(plan.sweep_id, SCORE, arms=("full", "no-awareness"))
    assert len(paired) == 600
    assert len(frames.predictions(plan.sweep_id, SCORE, arms=("clip",))) == len(ids)
    results = analyze_sweep(store, plan.sweep_id)
    uncertainties = results.item_uncertainties[results.primary_score]
    for contrast in plan.contrasts:
        assert (uncertainties[contrast.name] is None) == ("clip" in contrast.weights)
        assert results.effects[contrast.name].mean is not None
    (warning,) = (w for w in find_comparability_warnings(results) if "test items" in w)
    assert "paired by seed but not by item" in warning
    assert warning.count(";") == 1
    disagreements = collect_disagreements(store, results)
    label = results.get_arm_label("clip")
    assert disagreements
    assert all(label not in d.labels for d in disagreements)
    frame = tabulate_disagreements(frames, results, "full", "clip")
    assert frame.empty
    assert "different test items" in frame.attrs["note"]


def test_arms_with_another_protocol_and_the_same_items_are_paired(tmp_path: Path) -> None:
    store, plan = make_sweep(tmp_path, np.arange(600))
    assert open_store(tmp_path).predictions(plan.sweep_id, SCORE).shape == (600, len(plan.cells))
    items = load_outcomes(store, plan, "openmoji", SCORE).items
    assert items.group_arms() == [list(items)]


def test_outcomes_of_several_images_each_have_the_clusters_that_were_saved() -> None:
    """As those of WinoGAViL, of which a cue has many candidates."""
    arrays = {"association.jaccard": np.ones(3), "ids": np.arange(15)}
    assert _index_items("association.jaccard", 3, arrays).get_level_values("cluster").tolist() == (
        [-1, -1, -1]
    )
    arrays["family"] = np.array([4, 4, 7])
    index = _index_items("association.jaccard", 3, arrays)
    assert index.get_level_values("cluster").tolist() == [4, 4, 7]
    assert index.get_level_values("image").tolist() == [-1, -1, -1]
