"""Shards with a condition, weights or windows: the same batches however they are made.

With any data workers and processes, and from a table or a data set of the same samples.
"""

from __future__ import annotations

import json
import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch

from tests.helpers.csv_data import write_csv
from tests.helpers.embedded_data import IMAGE_TYPE, write_stream
from tests.helpers.shards import encode_image, write_tar
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.config import RunConfig
from uniclip.data.batch import Batch
from uniclip.data.loader import TrainingBatches, _concatenate_batches
from uniclip.data.text.tokenizer import Tokenizer, train_bpe
from uniclip.distributed import ProcessGroup

NUM_SAMPLES, NUM_SHARDS = 96, 6
COLUMNS = {
    "similarity": pyarrow.float64(),
    "width": pyarrow.int64(),
    "height": pyarrow.int64(),
    "LANGUAGE": pyarrow.string(),
    "NSFW": pyarrow.string(),
}
CONDITIONS = {
    "similarity": ("similarity > 0.3", lambda f: f["similarity"] > 0.3),
    "caption": (
        "caption_length > 12 and caption_words >= 3",
        lambda f: len(f["caption"]) > 12 and len(f["caption"].split()) >= 3,
    ),
    "size": (
        "aspect < 1.3 and min(width, height) >= 16",
        lambda f: f["width"] / f["height"] < 1.3 and min(f["width"], f["height"]) >= 16,
    ),
    "words": (
        'LANGUAGE in ("en", "de") and NSFW != "NSFW"',
        lambda f: f["LANGUAGE"] in ("en", "de") and f["NSFW"] != "NSFW",
    ),
}
"""Name -> the condition, and the same in Python."""


@pytest.fixture(scope="module")
def samples() -> list[dict[str, Any]]:
    """Samples as img2dataset and LAION describe them, of which some lack a field or all of them."""
    generator = random.Random(0)
    made = []
    for i in range(NUM_SAMPLES):
        words = generator.choices(("red", "small", "round", "\u00e9"), k=generator.randint(1, 5))
        width, height = generator.choice(((20, 16), (16, 20), (12, 30), (40, 14)))
        values = {
            "similarity": round(generator.random(), 3),
            "width": width,
            "height": height,
            "LANGUAGE": generator.choice(("en", "de", "fr")),
            "NSFW": generator.choice(("UNLIKELY", "NSFW")),
        }
        kept = {k: v for k, v in values.items() if generator.random() > 0.04} if i % 19 else {}
        content = encode_image(i, (width, height))
        made.append(
            {"key": f"{i:06d}", "caption": f"{' '.join(words)} {i}", "fields": kept}
            | {"image": content[:60] if i % 31 == 30 else content}
        )
    return made


@pytest.fixture(scope="module")
def folder(samples: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples as tar files, as Arrow files with the same samples each, and as image files."""
    folder = tmp_path_factory.mktemp("sources")
    for shard in range(NUM_SHARDS):
        part = samples[NUM_SAMPLES * shard // NUM_SHARDS : NUM_SAMPLES * (shard + 1) // NUM_SHARDS]
        items = []
        for s in part:
            items.append((f"{s['key']}.png", s["image"]))
            if s["fields"]:
                items.append((f"{s['key']}.json", json.dumps(s["fields"]).encode()))
            items.append((f"{s['key']}.txt", s["caption"].encode()))
        write_tar(folder / "shards" / f"{shard}.tar", items)
        images = [{"bytes": s["image"], "path": f"{s['key']}.png"} for s in part]
        arrays = {
            "image": pyarrow.array(images, IMAGE_TYPE),
            "caption": pyarrow.array([s["caption"] for s in part]),
            **{n: pyarrow.array([s["fields"].get(n) for s in part], t) for n, t in COLUMNS.items()},
        }
        write_stream(folder / "arrow" / f"{shard}.arrow", pyarrow.table(arrays))
    (folder / "images").mkdir()
    for s in samples:
        (folder / "images" / f"{s['key']}.png").write_bytes(s["image"])
    return folder


@pytest.fixture(autouse=True)
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(folder / "cache"))


def make_config(section: dict[str, Any], num_workers: int = 0) -> RunConfig:
    fractions = {"validation_fraction": 0.1, "test_fraction": 0.1, "max_broken": 0.5}
    return tiny(
        data={"image_size": 16, **fractions, **section},
        train={"batch_size": 9, "steps": 20},
        runtime={"num_workers": num_workers},
    )


def make_batches(
    config: RunConfig, tokenizer: Tokenizer, rank: int = 0, world_size: int = 1
) -> TrainingBatches:
    split = data.open_split(config.data, "train")
    return TrainingBatches(config, split, tokenizer, ProcessGroup(rank, world_size))


@pytest.fixture(scope="module")
def tokenizer(samples: list[dict[str, Any]]) -> Tokenizer:
    return train_bpe([s["caption"] for s in samples], 300)


def assert_equal(one: Batch, two: Batch) -> None:
    for field in fields(Batch):
        values = [getattr(batch, field.name) for batch in (one, two)]
        if field.name == "unreadable_ids":  # None = none, as -1 of every row
            values = [torch.full_like(one.sample_ids, -1) if v is None else v for v in values]
        if values[0] is not None or values[1] is not None:
            assert torch.equal(*values), field.name


def choose_steps(batches: TrainingBatches) -> tuple[int, ...]:
    """Return steps of three epochs, the ends of one among them."""
    n = batches.steps_per_epoch
    return 0, n - 1, n, 2 * n + 1


FORMS: dict[str, dict[str, Any]] = {
    "full": {},
    "windowed": {"order": "windowed", "window_shards": 2},
    "weights": {"weights": [2, 1]},
    "weights, windowed": {"weights": [2, 1], "order": "windowed", "window_shards": 2},
}


@pytest.mark.parametrize(
    ("form", "condition"),
    [
        ("full", "similarity"),
        ("windowed", "words"),
        ("weights", "caption"),
        ("weights, windowed", "size"),
    ],
)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_and_processes_make_the_same_batches(folder, tokenizer, form, condition):
    path = f"{folder}/shards/{{0..3}}.tar::{folder}/shards/{{4..5}}.tar"
    section = {"name": "webdataset", "path": path, "where": CONDITIONS[condition][0], **FORMS[form]}
    config = make_config(section)
    whole = make_batches(config, tokenizer)
    for world_size in (2, 4):
        ranks = [make_batches(config, tokenizer, rank, world_size) for rank in range(world_size)]
        for step in choose_steps(whole):
            rows = [rank.build_batch(step) for rank in ranks]
            assert_equal(_concatenate_batches(rows, tokenizer.pad), whole.build_batch(step))
    for num_workers in (1, 4):
        batches = make_batches(make_config(section, num_workers), tokenizer)
        for step, batch in enumerate(batches.iterate_batches(0, 2)):
            assert_equal(batch, whole.build_batch(step))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_selects_training_samples(folder, samples, tokenizer, condition):
    """The batches are those of a table of these samples and of those held out, and of a data set
    with the condition."""
    where, accepts = CONDITIONS[condition]
    needed = {n for n in COLUMNS if n in where} | (
        {"width", "height"} if "aspect" in where else set()
    )
    captions = {f"{s['key']}.png": s["caption"] for s in samples}
    fulfilling = {
        f"{s['key']}.png"
        for s in samples
        if needed <= s["fields"].keys() and accepts({**s["fields"], "caption": s["caption"]})
    }
    assert NUM_SAMPLES / 6 < len(fulfilling) < NUM_SAMPLES
    shards = make_config({"name": "webdataset", "path": f"{folder}/shards", "where": where})
    used = {
        split: {
            name.rpartition("/")[2] for name in data.open_split(shards.data, split).sample_names
        }
        for split in data.SPLIT_NAMES
    }
    unfiltered = replace(shards.data, where=None)
    for split in ("validation", "test"):
        names = data.open_split(unfiltered, split).sample_names
        assert used[split] == {name.rpartition("/")[2] for name in names}
        assert not used[split] <= fulfilling
    assert used["train"] <= fulfilling
    all_used = set().union(*used.values())
    left_out = fulfilling - all_used
    assert all((folder / "images" / name).stat().st_size == 60 for name in left_out), "held out"
    rows = [(name, caption) for name, caption in captions.items() if name in all_used]
    write_csv(folder / "images", rows, ("picture", "caption"))
    table = make_config({"name": "csv", "path": f"{folder}/images/data.csv"})
    data_set = make_config({"name": "huggingface", "path": f"{folder}/arrow", "where": where})
    batches = make_batches(shards, tokenizer)
    for other in (table, data_set):
        from_other = make_batches(other, tokenizer)
        for step in choose_steps(batches):
            assert_equal(from_other.build_batch(step), batches.build_batch(step))


def test_groups_of_rows_are_windows_as_shards_are(folder, tokenizer):
    section = {"where": CONDITIONS["words"][0], "order": "windowed"}
    shards = {"name": "webdataset", "path": f"{folder}/shards", "window_shards": 2, **section}
    groups = {"name": "huggingface", "path": f"{folder}/arrow", "window_groups": 2, **section}
    one, two = (make_batches(make_config(s), tokenizer) for s in (shards, groups))
    for step in choose_steps(one):
        assert_equal(one.build_batch(step), two.build_batch(step))
    wider = make_batches(make_config({**shards, "window_shards": 3}), tokenizer).build_batch(0)
    assert not torch.equal(one.build_batch(0).sample_ids, wider.sample_ids)
