"""An evaluation by several processes: the scores and embeddings of one process, to the byte."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees
from tests.helpers.distributed_training import run_in_processes
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import evaluate
from uniclip import run as run_module
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.evaluate import cache

SETS = ("cifar10", "flickr30k", "scenes")
"""Classification with a linear probe, retrieval, and a set that is not shared."""


@pytest.fixture(params=[pytest.param("segments", marks=pytest.mark.slow), "batches"])
def config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> RunConfig:
    """A configuration whose data sets have several segments, or several batches."""
    if request.param == "segments":
        monkeypatch.setattr(cache, "SEGMENT_ROWS", 8)
    else:
        monkeypatch.setattr(cache, "EMBED_BATCH_SIZE", 4)
    for name in ("cifar10", "flickr30k"):
        dataset_trees.WRITERS[name](tmp_path / "sets")
    base = tiny(train={"steps": 2, "validate_every": 2})
    return replace(base, runtime=replace(base.runtime, data_root=str(tmp_path / "sets")))


@pytest.fixture
def stores(tmp_path: Path, config: RunConfig) -> list[Path]:
    """Two copies of a store with a trained run."""
    paths = [tmp_path / "alone", tmp_path / "together"]
    run = opened(paths[0], config)
    assert run_module.execute_run(run, config, claimed(run), evaluations={}) == "trained"
    shutil.copytree(*paths)
    return paths


def evaluate_on_rank(rank: int, store: Path, config: RunConfig, log: Path) -> None:
    """Evaluate a trained run; note how many images this process embeds."""
    original, counts = PretrainedModel.compute_image_features, []

    def count(self: PretrainedModel, images: np.ndarray) -> np.ndarray:
        counts.append(len(images))
        return original(self, images)

    PretrainedModel.compute_image_features = count  # type: ignore[method-assign]
    try:
        run = opened(store, config)
        if rank > 0:
            run_module.run_nonzero_rank(config)
        else:
            hashes = {name: evaluate.evaluation_hash(name, config, run.cache_path) for name in SETS}
            kind = run_module.execute_run(run, config, claimed(run), evaluations=hashes)
            assert kind == "evaluated"
    finally:
        PretrainedModel.compute_image_features = original  # type: ignore[method-assign]
    (log / f"{rank}.txt").write_text(str(sum(counts)))


def read_results(store: Path) -> dict[str, bytes]:
    """Return the files of scores and predictions, and the cached embeddings, by name."""
    (run_path,) = store.glob("runs/*")
    folders = [run_path / "scores", store / "cache" / "embeddings"]
    results = {p.name: p.read_bytes() for folder in folders for p in folder.iterdir()}
    for path in (run_path / "predictions").iterdir():
        with np.load(path) as arrays:  # the archive has the time in it
            results |= {f"{path.name} {name}": arrays[name].tobytes() for name in arrays.files}
    return results


def test_two_processes_give_the_scores_of_one(tmp_path, config, stores):
    alone, together = stores
    (tmp_path / "log1").mkdir()
    evaluate_on_rank(0, alone, config, tmp_path / "log1")
    (tmp_path / "log2").mkdir()
    run_in_processes(2, evaluate_on_rank, together, config, tmp_path / "log2")
    expected = read_results(alone)
    assert len(expected) > 10
    assert read_results(together) == expected
    total = int((tmp_path / "log1/0.txt").read_text())
    first, second = (int((tmp_path / f"log2/{rank}.txt").read_text()) for rank in (0, 1))
    assert second > 0
    assert first < total


def fail_on_rank_one(rank: int, store: Path, config: RunConfig, log: Path) -> None:
    """Evaluate while the other process cannot read the images."""
    if rank == 1:

        def fail(*args: object, **kwargs: object) -> None:
            raise UserError("the images are not on this machine")

        evaluate.embed_share = fail
    evaluate_on_rank(rank, store, config, log)


@pytest.mark.slow
def test_what_another_process_cannot_do_is_done_by_rank_zero(tmp_path, config, stores):
    alone, together = stores
    evaluate_on_rank(0, alone, config, tmp_path)
    run_in_processes(2, fail_on_rank_one, together, config, tmp_path)
    assert read_results(together) == read_results(alone)
