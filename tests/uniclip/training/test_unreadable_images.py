"""Training with images that cannot be read: counted, named, limited, and the same when resumed."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.helpers.csv_data import break_images, write_image_set
from tests.helpers.distributed_training import run_in_processes
from tests.helpers.small_runs import claimed, of_method, opened
from tests.helpers.training_runs import equal_weights, get_weights, stop_after
from uniclip import data, distributed
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.training import trainer
from uniclip.training.metrics_log import MetricsLogger


def make_config(path, workers=0, max_broken=0.5, name="clip") -> RunConfig:
    return of_method(
        name,
        data={"name": "csv", "path": str(path), "image_size": 16, "max_broken": max_broken},
        train={"steps": 6, "batch_size": 8, "validate_every": 6},
        model={"image": {"image_size": 32}},
        runtime={"num_workers": workers, "log_every": 1},
    )


@pytest.fixture
def path(tmp_path):
    """A CSV of 40 images, three of whose training images are broken."""
    path = write_image_set(tmp_path / "images", 40)
    split = data.open_split(make_config(path).data, "train")
    break_images(split.image_paths[i] for i in (0, 3, 5))
    return path


def test_a_killed_and_resumed_run_replaces_the_same_images(path, tmp_path):
    """The three attempts have two, one and no data workers."""
    expected = trainer.train_model(make_config(path))
    run = opened(tmp_path / "store", make_config(path))
    for workers in (2, 1):
        config = make_config(path, workers)
        stopped = trainer.train_model(config, attempt=claimed(run), stop=stop_after(2))
        assert stopped.kind == "stopped"
    resumed = trainer.train_model(make_config(path), attempt=claimed(run))
    assert equal_weights(get_weights(resumed), get_weights(expected))
    records = [r for r in run.read_history() if r["phase"] == "train"]
    assert records[-1]["unreadable_images"] == 3
    events = [e for n in (1, 2, 3) for e in read_jsonl(run.get_attempt(n).events_path)]
    messages = [e["message"] for e in events if e["event"] == "unreadable_image"]
    assert len(messages) == len(set(messages)) == 3, "each is named once, also after a resume"
    assert all(m.startswith(f"{path} line ") and "cannot be read (" in m for m in messages)


def test_heartbeats_say_how_many_images_are_replaced(path, tmp_path, capsys):
    attempt = claimed(opened(tmp_path / "store", make_config(path)))
    logger = MetricsLogger(make_config(path), attempt)
    logger.log_unreadable(["x.csv line 2: image a.png cannot be read (why)"], 1)
    logger.write_heartbeat(3, "training")
    heartbeat = attempt.read_heartbeat()
    assert heartbeat is not None
    assert heartbeat.unreadable_images == 1
    assert "line 2: image a.png cannot be read (why): another training" in capsys.readouterr().out


def test_more_unreadable_images_than_allowed_end_the_run_with_one_line(path):
    num_images = len(data.open_split(make_config(path).data, "train"))
    data.open_split(make_config(path, max_broken=3 / num_images).data, "train").check_unreadable(
        [0, 3, 5]
    )
    with pytest.raises(UserError) as caught:
        trainer.train_model(make_config(path, max_broken=2 / num_images))
    message = str(caught.value)
    assert (
        f"3 of {num_images} training images cannot be used, more than data.max_broken=" in message
    )
    assert message.count("cannot be read (") == 3
    assert "\n" not in message
    with pytest.raises(UserError, match=rf"[123] of {num_images} training images"):
        trainer.train_model(make_config(path, max_broken=0))


def test_a_row_that_was_skipped_counts_towards_the_limit(path, tmp_path):
    config = make_config(path)
    first = data.open_split(config.data, "train")
    missing = first.image_paths[7]
    (path.parent / missing).unlink()
    split = data.open_split(config.data, "train")
    assert split.num_skipped == 1
    allowed = dataclasses.replace(split, num_allowed=4)
    allowed.check_unreadable([0, 3, 5])
    with pytest.raises(UserError, match=f"4 of {len(first)} training images"):
        dataclasses.replace(split, num_allowed=3).check_unreadable([0, 3, 5])
    run = opened(tmp_path / "store", config)
    trainer.train_model(config, attempt=claimed(run))
    heartbeat = run.get_attempt(1).read_heartbeat()
    assert (heartbeat.skipped_samples, run.count_skipped_samples()) == (1, 1)


def _train(rank, folder, config) -> None:
    result = trainer.train_model(config)
    torch.save((result.history, get_weights(result)), folder / f"{rank}.pt")
    try:
        trainer.train_model(
            dataclasses.replace(config, data=make_config(config.data.path, 0, 0).data)
        )
    except UserError as error:
        (folder / f"{rank}.txt").write_text(str(error))


def test_processes_count_the_same_images(path, tmp_path):
    config = make_config(path, name="declip")
    run_in_processes(2, _train, tmp_path, config)
    expected = trainer.train_model(config)
    (history, weights), (_, other_weights) = (torch.load(tmp_path / f"{r}.pt") for r in (0, 1))
    records = [r for r in history if r["phase"] == "train"]
    expected_records = [r for r in expected.history if r["phase"] == "train"]
    counts = [r.get("unreadable_images") for r in records]
    assert counts == [r.get("unreadable_images") for r in expected_records]
    assert counts[-1] == 3
    assert records[-1]["loss"] == pytest.approx(expected_records[-1]["loss"], rel=1e-3)
    assert equal_weights(weights, other_weights)
    messages = {(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)}
    assert len(messages) == 1, "all processes end with the same line"
    assert distributed.get_process_group() is distributed.SINGLE_PROCESS
