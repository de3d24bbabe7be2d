"""A store as data frames: indices, units, values, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import uniclip
from tests.helpers import ROOT, fake_sweep, small_runs
from tests.helpers.fake_sweep import Truth
from tests.helpers.other_user import open_to_other_users, run_as_other_user
from uniclip import data
from uniclip.errors import UserError
from uniclip.frames.store_frames import StoreFrames
from uniclip.store import Cell

SWEEP = "components-quick-1a2b3c4d"


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> StoreFrames:
    """Return the frames of a synthetic sweep with a diverged and a missing run."""
    root = tmp_path_factory.mktemp("frames")
    truth = Truth(seeds=(0, 1), diverged=(("clip", 1),), missing=(("none", 0),))
    fake_sweep.make(root, truth)
    return uniclip.open_store(root)


def test_a_sweep_is_named_by_the_start_of_its_id(frames: StoreFrames) -> None:
    assert frames.sweeps().loc[SWEEP, "num_cells"] == 22
    assert frames.find_sweep("components") == SWEEP
    with pytest.raises(UserError, match=f"unknown sweep 'losses'.*{SWEEP}"):
        frames.scores("losses")


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no store: it has no folder sweeps"):
        uniclip.open_store(tmp_path)


def test_runs_have_status_costs_and_provenance(frames: StoreFrames) -> None:
    runs = frames.runs(SWEEP)
    assert runs.index.names == ["arm", "seed"]
    assert len(runs) == 22
    assert runs.loc[("full", 0), ["status", "host", "code"]].tolist() == ["complete", "h", "s"]
    assert runs.loc[("clip", 1), "status"] == "diverged"
    assert runs.loc[("none", 0), "status"] == "pending"
    assert runs.attrs["units"]["training_seconds"] == "s"
    every_run = frames.runs()
    assert set(every_run.index) == set(runs["run"]) - {fake_sweep.run_id("none", 0)}


def test_scores_are_tidy_and_not_in_percent(frames: StoreFrames) -> None:
    scores = frames.scores(SWEEP)
    assert scores.index.names == ["dataset", "score", "arm", "seed"]
    assert scores.index.is_unique
    row = scores.loc[("openmoji", "retrieval.r1", "full", 0)]
    stored = frames.store.get_run(row["run"]).read_scores("openmoji", fake_sweep.EVALUATION)
    assert stored is not None
    (expected,) = [s.value for s in stored.scores if s.name == "retrieval.r1"]
    assert (row["value"], row["unit"], row["num_samples"]) == (expected, "fraction", 600)
    assert ("none", 0) not in scores.index.droplevel([0, 1])


def test_metrics_of_a_phase(frames: StoreFrames) -> None:
    with pytest.raises(UserError, match="unknown phase 'trian': did you mean train"):
        frames.metrics(SWEEP, "trian")
    validations = frames.metrics(SWEEP, "validation")
    assert validations.loc[("full", 0, "validation", 200), "score"] > 0
    assert "loss" not in validations
    assert frames.metrics(SWEEP).loc[("full", 0, "train", 10), "loss_terms.contrastive"] == 1.0


def test_the_mean_of_a_column_of_predictions_is_the_score(frames: StoreFrames) -> None:
    predictions = frames.predictions(SWEEP, "retrieval.r1")
    scores = frames.scores(SWEEP).loc[("openmoji", "retrieval.r1"), "value"]
    assert predictions.mean().to_dict() == pytest.approx(scores.to_dict())
    assert predictions.index.names == ["item", "image", "cluster"]
    with pytest.raises(UserError, match="saved the outcomes of gap"):
        frames.predictions(SWEEP, "gap")


def test_contrasts_are_weights_of_arms(frames: StoreFrames) -> None:
    weights = frames.contrasts(SWEEP)
    assert weights.loc["main:awareness"].sum() == pytest.approx(0)
    assert weights.loc["noise", ["full", "full-again", "clip"]].tolist() == [1.0, -1.0, 0.0]


def test_frames_are_the_same_after_parquet(frames: StoreFrames, tmp_path: Path) -> None:
    for frame in (frames.runs(SWEEP), frames.scores(SWEEP), frames.metrics(SWEEP)):
        frame.to_parquet(tmp_path / "frame.parquet")
        read = pd.read_parquet(tmp_path / "frame.parquet")
        pd.testing.assert_frame_equal(read, frame)
        assert read.attrs == frame.attrs


def test_a_sweep_without_runs_has_empty_frames(tmp_path: Path) -> None:
    cells = tuple((a.name, 0) for a in fake_sweep.arms())
    fake_sweep.make(tmp_path, Truth(seeds=(0,), missing=cells))
    frames = uniclip.open_store(tmp_path)
    assert frames.scores(SWEEP).empty
    assert frames.metrics(SWEEP).empty
    assert set(frames.runs(SWEEP)["status"]) == {"pending"}


def test_pictures_are_those_of_the_test_split(tmp_path: Path) -> None:
    config = small_runs.tiny()
    run = small_runs.opened(tmp_path, config)
    sweep_plan = fake_sweep.plan(Truth(seeds=(0,)))
    cells = (Cell(arm="full", seed=0, run_id=run.id),)
    frames = StoreFrames(small_runs.Store(tmp_path))
    frames.store.get_sweep(SWEEP).write_plan(replace(sweep_plan, cells=cells, data="scenes"))
    shown = frames.load_images(SWEEP, [5, 2])
    split = data.open_split(config.data, "test")
    assert np.array_equal(shown.images, split.load_pixels(np.array([5, 2])))
    assert shown.captions == (split.captions[5], split.captions[2])
    with pytest.raises(UserError, match="has 64 images only"):
        frames.load_images(SWEEP, [64])


def test_frames_need_no_torch_and_the_package_no_pandas(frames: StoreFrames) -> None:
    code = (
        "import sys, uniclip; assert 'pandas' not in sys.modules; "
        f"frames = uniclip.open_store({str(frames.store.root)!r}); frames.scores({SWEEP!r}); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_metrics_of_runs_of_other_users_are_left_out(tmp_path: Path) -> None:
    open_to_other_users(tmp_path)
    store, _ = fake_sweep.make(tmp_path, Truth(seeds=(0,)))
    (store.get_run(fake_sweep.run_id("full", 0)).path / "attempts").chmod(0o700)

    def act_as_other_user() -> None:
        metrics = uniclip.open_store(tmp_path).metrics(SWEEP)
        assert "full" not in metrics.index.unique("arm")
        assert "clip" in metrics.index.unique("arm")

    run_as_other_user(act_as_other_user)
