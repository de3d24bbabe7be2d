"""An evaluation by several processes: the scores and embeddings of one process, to the byte."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import csv_data, dataset_trees
from tests.helpers.distributed_training import run_in_processes
from tests.helpers.embedded_data import make_rows, make_table, save_to_disk
from tests.helpers.shards import write_shards
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import data, evaluate
from uniclip import run as run_module
from uniclip.checkpoints import pretrained
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.evaluate import cache
from uniclip.evaluate.features import split_features

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


def evaluate_on_rank(
    rank: int, store: Path, config: RunConfig, log: Path, sets: Sequence[str] = SETS
) -> None:
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
            hashes = {name: evaluate.evaluation_hash(name, config, run.cache_path) for name in sets}
            kind = run_module.execute_run(run, config, claimed(run), evaluations=hashes)
            assert kind == "evaluated"
    finally:
        PretrainedModel.compute_image_features = original  # type: ignore[method-assign]
    (log / f"{rank}.txt").write_text(str(sum(counts)))


def read_results(store: Path) -> dict[str, bytes]:
    """Return the files of scores and predictions, and the cached embeddings, by name."""
    (run_path,) = store.glob("runs/*")
    folders = [run_path / "scores", store / "cache" / "embeddings"]
    results = {p.name: p.read_bytes() for folder in folders for p in folder.glob("*")}
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


def write_source(folder: Path, name: str) -> RunConfig:
    """Write training data of a kind; a run on them."""
    fractions = {"validation_fraction": 0.3, "test_fraction": 0.3, "image_size": 16}
    if name == "csv":
        csv_data.write_image_set(folder, 150)
        section = asdict(csv_data.csv_config(folder, **fractions))
        training = data.open_split(csv_data.csv_config(folder, **fractions), "train")
        csv_data.break_images(training.image_paths[:1])
    elif name == "webdataset":
        section = {**fractions, "name": name, "path": write_shards(folder / "shards", 150, 2)}
    else:
        saved = save_to_disk(folder / "saved", make_table(make_rows(range(150))))
        section = {**fractions, "name": name, "path": saved, "label_column": "label"}
    return tiny(data=section, train={"steps": 2, "validate_every": 2})


@pytest.mark.parametrize("source", ["csv", "webdataset", "huggingface"])
def test_the_test_images_of_training_data_are_shared(tmp_path, monkeypatch, source):
    """With those of the temperature and, with a label, those of the probe; nothing remains."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "EMBED_BATCH_SIZE", 4)
    monkeypatch.setattr(pretrained, "BATCH_SIZE", 3)
    monkeypatch.setattr(split_features, "BATCH_SIZE", 10)
    config = write_source(tmp_path, source)
    alone, together = tmp_path / "alone", tmp_path / "together"
    run = opened(alone, config)
    assert run_module.execute_run(run, config, claimed(run), evaluations={}) == "trained"
    shutil.copytree(alone, together)
    evaluate_on_rank(0, alone, config, tmp_path, [source])
    total = int((tmp_path / "0.txt").read_text())
    run_in_processes(2, evaluate_on_rank, together, config, tmp_path, [source])
    expected = read_results(alone)
    assert len(expected) > 10
    assert read_results(together) == expected
    counts = [int((tmp_path / f"{rank}.txt").read_text()) for rank in (0, 1)]
    assert sum(counts) == total
    assert min(counts) > total / 3
    assert not list(together.glob("cache/shares/*"))


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
