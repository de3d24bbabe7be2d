"""Training on shards: the same weights with any workers and after kills, the same batches on ranks.

The shards have broken images, which are replaced, counted and named.
"""

from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from tests.helpers.shards import unpack_to_csv, write_shards
from tests.helpers.small_runs import claimed, of_method, opened
from tests.helpers.training_runs import equal_weights, get_weights
from uniclip import data, distributed
from uniclip.config import RunConfig
from uniclip.data.batch import Batch
from uniclip.data.loader import TrainingBatches
from uniclip.data.text import tokenizer
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.io.tar_scan import BLOCK
from uniclip.training import trainer

ORDERS = ("full", "windowed")
WORKERS = {"full": (0, 1, 4), "windowed": (0, 2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 5 shards of 150 samples, three of whose training images are broken.

    The cache folder is beside it.
    """
    folder = tmp_path_factory.mktemp("training")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNICLIP_CACHE", str(folder / "cache"))
        path = write_shards(folder / "shards", 150, 5)
        split = data.open_split(make_config(path).data, "train")
        for i in (0, 3, 50):
            shard, start, _ = split._locate(i)
            with open(split.index.shards[shard].path, "r+b") as stream:
                stream.seek(start)
                stream.write(bytes(BLOCK))
        yield folder


def make_config(
    path: str | Path,
    workers: int = 0,
    order: str = "full",
    checkpoint_seconds: int = 30,
    **train: int,
) -> RunConfig:
    fractions = {"validation_fraction": 0.1, "test_fraction": 0.1, "max_broken": 0.2}
    source = {"name": "csv"} if str(path).endswith(".csv") else {"name": "webdataset"}
    windowed = {"order": order, "window_shards": 2} if order == "windowed" else {}
    return of_method(
        "clip",
        data={**source, "path": str(path), "image_size": 16, **fractions, **windowed},
        train={"batch_size": 8, "validate_every": 20, "steps": 5, **train},
        model={"image": {"image_size": 32}},
        runtime={"num_workers": workers, "log_every": 1, "checkpoint_seconds": checkpoint_seconds},
    )


def equal(one: Batch, two: Batch) -> bool:
    pairs = [(getattr(one, f), getattr(two, f)) for f in one.__dataclass_fields__]
    return all(a is b is None or torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_data_workers_do_not_change_weights(folder, order):
    results = [
        trainer.train_model(make_config(folder / "shards", workers, order))
        for workers in WORKERS[order]
    ]
    assert all(equal_weights(get_weights(r), get_weights(results[0])) for r in results[1:])


def test_batches_are_those_of_the_same_samples_in_a_csv(folder, tmp_path):
    csv_path = unpack_to_csv(tmp_path, sorted((folder / "shards").glob("*.tar")))
    from_shards, _ = trainer.setup_training(make_config(folder / "shards"))
    from_csv, _ = trainer.setup_training(make_config(csv_path))
    replaced = 0
    for step in (0, 3, 14, 15, 40, *range(16, 30)):
        one, two = from_shards.build_batch(step), from_csv.build_batch(step)
        assert equal(one, two)
        replaced += one.unreadable_ids is not None
    assert replaced >= 3


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_share_the_batches_of_one_process(folder, order, size):
    config = make_config(folder / "shards", order=order, batch_size=15)
    alone, _ = trainer.setup_training(config)
    bpe = tokenizer.train_bpe([t for (t,) in alone.split.captions], 300)
    parts = [
        TrainingBatches(config, alone.split, bpe, distributed.ProcessGroup(rank, size))
        for rank in range(size)
    ]
    whole = TrainingBatches(config, alone.split, bpe)
    for step in (0, 1, 9, 16):
        batch, rows = whole.build_batch(step), [part.build_batch(step) for part in parts]
        assert torch.equal(torch.cat([r.sample_ids for r in rows]), batch.sample_ids)
        assert torch.equal(torch.cat([r.images for r in rows], dim=1), batch.images)


def train_in_child(folder: Path, config: RunConfig) -> None:
    """Train with a claimed attempt until the end, or until this process is killed."""
    torch.set_num_threads(1)
    trainer.train_model(config, attempt=claimed(opened(folder, config)))
    os._exit(0)


@pytest.mark.parametrize(
    "num_kills", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.soak])]
)
def test_a_run_that_is_killed_anywhere_ends_with_the_same_weights(folder, tmp_path, num_kills):
    config = make_config(
        folder / "shards", order="windowed", checkpoint_seconds=0, steps=3 * num_kills
    )
    expected = trainer.train_model(config)
    run, generator = opened(tmp_path, config), random.Random(0)
    for _ in range(num_kills):
        process = get_context("fork").Process(target=train_in_child, args=(tmp_path, config))
        process.start()
        seen_steps = len(run.read_history())
        wanted_steps = seen_steps + generator.randint(1, 3)
        while len(run.read_history()) < wanted_steps and process.is_alive():
            time.sleep(generator.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
    resumed = trainer.train_model(config, attempt=claimed(run))
    assert equal_weights(get_weights(resumed), get_weights(expected))


def test_replaced_images_are_counted_and_named(folder, tmp_path):
    config = make_config(folder / "shards", steps=15)
    run = opened(tmp_path, config)
    trainer.train_model(config, attempt=claimed(run))
    records = [r for r in run.read_history() if r["phase"] == "train"]
    assert records[-1]["unreadable_images"] == run.count_unreadable_images() == 3
    events = read_jsonl(run.get_attempt(1).events_path)
    messages = [e["message"] for e in events if e["event"] == "unreadable_image"]
    assert len(messages) == 3
    assert all(".tar: 0000000" in m and ".png cannot be read (" in m for m in messages)


def test_more_than_allowed_end_the_run_with_one_line(folder):
    config = make_config(folder / "shards")
    strict = {**vars(config.data), "max_broken": 0.015}
    with pytest.raises(UserError) as caught:
        trainer.train_model(
            of_method(
                "clip",
                data=strict,
                train={"steps": 30, "batch_size": 8},
                model={"image": {"image_size": 32}},
            )
        )
    message = str(caught.value)
    assert message.startswith("3 of 150 samples cannot be used, more than data.max_broken=0.015")
    assert "\n" not in message
