"""Saved predictions: outcomes of test samples, example images, and damaged files."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.collect.predictions import (
    load_examples,
    load_outcomes,
)
from analysis.results.results import Results
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep
from uniclip.errors import UserError
from uniclip.frames.records import load_arrays
from uniclip.io.atomic import atomic_write
from uniclip.store import Store


def test_the_mean_of_the_outcomes_is_the_score(
    complete_root: Path, complete_results: Results
) -> None:
    plan = complete_results.plan
    outcomes = load_outcomes(Store(complete_root), plan, "openmoji", "retrieval.r1").by_arm
    values = complete_results.observations["openmoji", "retrieval.r1"].values
    for arm, seed_values in values.items():
        for seed, value in seed_values.items():
            assert outcomes[arm][seed].shape == (fake_sweep.NUM_SAMPLES,)
            assert outcomes[arm][seed].mean() == pytest.approx(value)
    assert load_outcomes(Store(complete_root), plan, "openmoji", "ece").by_arm == {}


def test_clusters_of_images_and_of_captions(tmp_path: Path) -> None:
    """Captions are of the cluster of their image; without clusters an image is one."""
    store, sweep_id = fake_sweep.make(tmp_path, fake_sweep.Truth(seeds=(0,)))
    plan = store.get_sweep(sweep_id).read_plan()
    assert plan is not None

    def load(score: str, **arrays: np.ndarray) -> list[int] | None:
        for cell in plan.cells:
            path = store.get_run(cell.run_id).predictions_path("openmoji", fake_sweep.EVALUATION)
            stream = io.BytesIO()
            np.savez(stream, **arrays)  # type: ignore[arg-type]
            atomic_write(path, stream.getvalue())
        clusters = load_outcomes(store, plan, "openmoji", score).items.get_clusters(["full"])
        return None if clusters is None else clusters.tolist()

    clusters, image = np.array([7, 7, 9], np.uint64), np.array([0, 1, 1, 2], np.int32)
    of_images = {"ids": np.arange(3), "retrieval.r1": np.ones(3)}
    of_captions = {"retrieval.t2i.mrr": np.ones(4), "retrieval.t2i.image": image}
    assert load("retrieval.r1", **of_images) is None
    assert load("retrieval.r1", family=clusters, **of_images) == [7, 7, 9]
    assert load("retrieval.t2i.mrr", **of_captions) == [0, 1, 1, 2]
    assert load("retrieval.t2i.mrr", family=clusters, **of_captions) == [7, 7, 7, 9]
    labels = {"labels.skin_tone": np.array([2, -1, 0], np.int16)}
    assert load("retrieval.r1", family=clusters, **of_images, **labels) == [7, 7, 9]
    for score in ("zeroshot.skin_tone", "probe.skin_tone"):
        of_labelled = {"ids": np.arange(3), score: np.ones(2)}
        assert load(score, family=clusters, **of_labelled, **labels) == [7, 9]
        unmatched = load(score, family=clusters, **of_labelled)
        assert unmatched == [7, 7, 9], "of another length, so that nothing is estimated of them"


def test_examples_are_those_of_the_reference_arm(
    complete_root: Path, complete_results: Results
) -> None:
    examples = load_examples(Store(complete_root), complete_results.plan)
    assert examples is not None
    assert (examples.arm, examples.seed) == ("full", 0)
    assert examples.images.shape == (12, 3, 64, 64)
    assert len(examples.image_names) == len(examples.captions) == 12
    assert examples.is_correct.shape == examples.similarities.shape == (12, 5)
    unknown = replace(complete_results.plan, sweep_id="x", cells=())
    assert load_examples(Store(complete_root), unknown) is None


def test_arrays_that_were_not_saved_are_left_out(complete_root: Path) -> None:
    run = Store(complete_root).get_run(fake_sweep.run_id("full", 0))
    arrays = load_arrays(run, "openmoji", fake_sweep.EVALUATION, ("retrieval.r1", "nothing"))
    assert list(arrays) == ["retrieval.r1"]
    assert arrays["retrieval.r1"].dtype == np.bool_
    assert load_arrays(run, "openmoji", None, ("retrieval.r1",)) == {}
    assert load_arrays(run, "openmoji", "ffffffff", ("retrieval.r1",)) == {}


def test_damaged_predictions_are_named(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path)
    path = store.get_run(fake_sweep.run_id("clip", 0)).predictions_path(
        "openmoji", fake_sweep.EVALUATION
    )
    atomic_write(path, path.read_bytes()[:200])
    with pytest.raises(UserError, match=re.escape(str(path))):
        analyze_sweep(store, sweep)
