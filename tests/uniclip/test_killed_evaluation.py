"""An evaluation of which processes are killed is done again, with the scores of one process."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import dataset_trees
from tests.helpers.distributed_training import run_in_processes, start_processes
from tests.helpers.small_runs import claimed, opened
from tests.uniclip.test_shared_evaluation import evaluate_on_rank, read_results, write_source
from uniclip import evaluate
from uniclip import run as run_module
from uniclip.checkpoints import pretrained
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig
from uniclip.data import open_split
from uniclip.evaluate import cache
from uniclip.evaluate.features import split_features

NUM_PARTS = 1
"""Parts of its share that a process stores before it waits to be killed."""


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def evaluate_and_wait(
    rank: int, store: Path, config: RunConfig, folder: Path, moment: str, name: str
) -> None:
    """Evaluate, but wait at a moment until the file `folder`/go on exists.

    moment: "embedding" = each process has stored parts of its share; "scoring" = all have stored
    theirs, and rank 0 is about to read them.
    """
    embed, score, num_calls = PretrainedModel.compute_image_features, evaluate.evaluate, 0

    def wait() -> None:
        (folder / f"{rank} waits").touch()
        wait_until((folder / "go on").exists)

    def embed_parts(self: PretrainedModel, images: np.ndarray) -> Any:
        nonlocal num_calls
        num_calls += 1
        if moment == "embedding" and num_calls == NUM_PARTS + 1:
            wait()
        return embed(self, images)

    def score_later(*arguments: Any, **options: Any) -> Any:
        wait()
        return score(*arguments, **options)

    PretrainedModel.compute_image_features = embed_parts  # type: ignore[method-assign]
    evaluate.evaluate = score_later
    evaluate_on_rank(rank, store, config, folder, [name])


def kill_during(
    moment: str,
    victims: tuple[int, ...],
    store: Path,
    config: RunConfig,
    folder: Path,
    name: str = "csv",
) -> None:
    """Evaluate on two processes, and kill some of them at that moment; the others must end."""
    folder.mkdir()
    waiting = (0, 1) if moment == "embedding" else (0,)
    with start_processes(2, evaluate_and_wait, store, config, folder, moment, name) as processes:
        wait_until(lambda: all((folder / f"{rank} waits").exists() for rank in waiting))
        assert [*list_files(store / "cache" / ("shares" if name == "csv" else "embeddings"))]
        for rank in victims:  # stopped first: none may react to the end of another
            os.kill(processes[rank].pid, signal.SIGSTOP)
        for rank in victims:
            processes[rank].kill()
            processes[rank].join()
        (folder / "go on").touch()
        for process in processes:
            process.join(120)
        assert all(process.exitcode not in (None, 0) for process in processes)


def list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def falsify(paths: list[Path]) -> None:
    """Replace stored features by others that are as intact."""
    for path in paths:
        rows = np.load(path) + 1
        cache._write_with_checksum(path, cache._encode_npy(len(rows), rows, iter(())))
        assert cache._is_intact(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, RunConfig, Any]]:
    """A store with a trained run, its configuration, and the results of one process."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("UNICLIP_CACHE", str(folder / "cache"))
        monkeypatch.setattr(pretrained, "BATCH_SIZE", 3)
        monkeypatch.setattr(split_features, "BATCH_SIZE", 5)
        config = write_source(folder, "csv")
        run = opened(folder / "store", config)
        assert run_module.execute_run(run, config, claimed(run), evaluations={}) == "trained"
        shutil.copytree(folder / "store", folder / "alone")
        evaluate_on_rank(0, folder / "alone", config, folder, [config.data.name])
        yield folder / "store", config, read_results(folder / "alone")


@pytest.mark.parametrize(
    ("moment", "victims", "num_processes"),
    [
        ("embedding", (0,), 2),
        ("embedding", (1,), 2),
        ("embedding", (0, 1), 2),
        ("embedding", (0, 1), 1),
        ("scoring", (0,), 2),
        ("scoring", (0, 1), 2),
    ],
)
def test_it_is_done_again_with_equal_scores(tmp_path, trained, moment, victims, num_processes):
    """What dead processes left is neither read nor kept."""
    source, config, expected = trained
    store = shutil.copytree(source, tmp_path / "store")
    kill_during(moment, victims, store, config, tmp_path / "log")
    assert not list(store.glob("runs/*/scores/*"))
    left = list_files(store / "cache" / "shares")
    assert bool(left) == (victims == (0, 1)), "a process that lives on removes the shares"
    falsify(left)
    run_in_processes(num_processes, evaluate_on_rank, store, config, tmp_path, [config.data.name])
    assert read_results(store) == expected
    assert not list(store.glob("cache/shares/*"))


def test_an_image_that_changed_meanwhile_is_embedded_again(tmp_path, trained):
    """Its id, by which shares are found, is that of its path."""
    source, config, expected = trained
    stores = [shutil.copytree(source, tmp_path / name) for name in ("killed", "alone")]
    kill_during("scoring", (0, 1), stores[0], config, tmp_path / "log")
    split_features._open_split.cache_clear()  # the processes below begin with the images of this
    paths = list(open_split(config.data, "test").image_paths)
    contents = [Path(path).read_bytes() for path in paths]
    try:
        for path, content in zip(paths, contents[::-1]):
            Path(path).write_bytes(content)
        run_in_processes(2, evaluate_on_rank, stores[0], config, tmp_path, [config.data.name])
        evaluate_on_rank(0, stores[1], config, tmp_path, [config.data.name])
    finally:
        for path, content in zip(paths, contents):
            Path(path).write_bytes(content)
    assert read_results(stores[0]) == read_results(stores[1])
    assert read_results(stores[0]) != expected


@pytest.mark.parametrize(
    "rows", [{"EMBED_BATCH_SIZE": 4}, {"SEGMENT_ROWS": 3}], ids=["batches", "segments"]
)
@pytest.mark.parametrize("victims", [(0,), (0, 1)])
def test_an_evaluation_set_is_continued_from_its_parts(
    tmp_path, trained, monkeypatch, rows, victims
):
    """The cache has the same files in the end: the parts of dead processes are used and removed."""
    source, config, _ = trained
    for name, value in rows.items():
        monkeypatch.setattr(cache, name, value)
    dataset_trees.WRITERS["cifar10"](tmp_path / "sets")
    config = replace(config, runtime=replace(config.runtime, data_root=str(tmp_path / "sets")))
    stores = [shutil.copytree(source, tmp_path / name) for name in ("killed", "alone")]
    kill_during("embedding", victims, stores[0], config, tmp_path / "log", "cifar10")
    run_in_processes(2, evaluate_on_rank, stores[0], config, tmp_path, ["cifar10"])
    evaluate_on_rank(0, stores[1], config, tmp_path, ["cifar10"])
    expected = read_results(stores[1])
    assert len(expected) > 5
    assert read_results(stores[0]) == expected
    assert not list(stores[0].glob("cache/shares/*"))
