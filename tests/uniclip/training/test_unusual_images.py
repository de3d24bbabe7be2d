"""Training on rare and broken images: the same from a table, from shards and from data sets.

What cannot be read is replaced, counted and named, or ends the run with one line.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.csv_data import write_csv
from tests.helpers.embedded_data import make_table, save_to_disk, write_hub_folder
from tests.helpers.shards import encode_image, write_tar
from tests.helpers.small_runs import claimed, of_method, opened
from tests.helpers.training_runs import Weights, equal_weights, get_weights
from tests.helpers.unusual_images import READABLE, UNREADABLE
from uniclip import data
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.io.hashing import hash_sample_id
from uniclip.training import trainer

NUM_IMAGES, NUM_FILES = 60, 3
FRACTION = 0.1
"""Of the images, held out for validation."""
SOURCES = {
    "table": {"name": "csv", "path": "table/data.csv"},
    "shards": {"name": "webdataset", "path": "shards"},
    "arrow": {"name": "huggingface", "path": "arrow"},
    "parquet": {"name": "huggingface", "path": "parquet"},
}


def make_images() -> dict[str, bytes]:
    """Return image files by their names; those that are unusual are training images."""
    images = {f"{i:05d}.png": encode_image(i) for i in range(NUM_IMAGES)}
    training = [n for n in images if hash_sample_id(f"split/csv/{n}") >> 32 >= FRACTION * 2**32]
    unusual = {**READABLE, **UNREADABLE}
    return {**images, **{n: make() for n, make in zip(training[3:], unusual.values())}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images and captions in each kind of data."""
    folder = tmp_path_factory.mktemp("unusual")
    images = make_images()
    captions = {name: f"picture {name[:5]}" for name in images}
    (folder / "table").mkdir()
    for name, content in images.items():
        (folder / "table" / name).write_bytes(content)
    write_csv(folder / "table", captions.items(), ("picture", "caption"))
    for file in range(NUM_FILES):
        names = [*images][NUM_IMAGES * file // NUM_FILES : NUM_IMAGES * (file + 1) // NUM_FILES]
        members = []
        for name in names:
            members += [(name, images[name]), (f"{name[:5]}.txt", captions[name].encode())]
        write_tar(folder / "shards" / f"{file}.tar", members)
    table = make_table(
        {
            "image": [{"bytes": content, "path": name} for name, content in images.items()],
            "caption": [[caption] for caption in captions.values()],
        }
    )
    save_to_disk(folder / "arrow", table, NUM_FILES, rows_per_batch=11)
    write_hub_folder(folder / "parquet", {"all": table}, rows_per_group=11)
    return folder


@pytest.fixture(autouse=True)
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(folder / "cache"))


def make_config(folder: Path, source: str, max_broken: float) -> RunConfig:
    section = {**SOURCES[source], "path": str(folder / SOURCES[source]["path"])}
    fractions = {"validation_fraction": FRACTION, "test_fraction": 0, "max_broken": max_broken}
    return of_method(
        "clip",
        data={**section, **fractions, "image_size": 16},
        train={"batch_size": 8, "validate_every": 20, "steps": 13},
        model={"image": {"image_size": 32}},
        runtime={"log_every": 1},
    )


@pytest.fixture(scope="module")
def weights() -> list[Weights]:
    """The weights that were trained so far."""
    return []


@pytest.mark.parametrize("source", SOURCES)
def test_what_cannot_be_read_is_replaced_and_counted(folder, tmp_path, weights, source):
    config = make_config(folder, source, max_broken=0.2)
    run = opened(tmp_path, config)
    weights.append(get_weights(trainer.train_model(config, attempt=claimed(run))))
    assert equal_weights(weights[-1], weights[0])
    assert run.count_unreadable_images() == len(UNREADABLE)
    events = read_jsonl(run.get_attempt(1).events_path)
    messages = [e["message"] for e in events if e["event"] == "unreadable_image"]
    assert len(messages) == len(UNREADABLE)
    reasons = ("truncated", "not an image in a format that Pillow reads", "exceeds limit")
    assert all(any(reason in m for m in messages) for reason in reasons)


@pytest.mark.parametrize("source", SOURCES)
def test_more_than_allowed_end_the_run_with_one_line(folder, source):
    config = make_config(folder, source, max_broken=0.02)
    num_images = len(data.open_split(config.data, "train"))
    assert config.data.count_allowed_broken(num_images) == 1
    with pytest.raises(UserError) as caught:
        trainer.train_model(config)
    message = str(caught.value)
    assert "\n" not in message
    base = f"{num_images} training images" if source == "table" else r"\d+ samples"
    assert re.match(rf"[23] of {base} cannot be used, more than", message)
    assert message.endswith("; repair them or raise data.max_broken")
