"""Labelled shards and class folders in one batch with pairs."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.shards import (
    encode_image,
    shards_config,
    write_class_folders,
    write_labelled_shards,
)
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.data import inspection
from uniclip.data.loader import TrainingBatches, _concatenate_batches
from uniclip.data.text.tokenizer import train_bpe
from uniclip.data.webdataset import source
from uniclip.distributed import ProcessGroup
from uniclip.errors import UserError
from uniclip.training import trainer

NAMES = ("cat", "dog", "bird")
TEMPLATES = ("a photo of a {}.", "{}")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Settings of labelled shards and class folders, whose classes "cat" are the same."""
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "names.txt").write_text("\n".join(NAMES) + "\n")
    (folder / "wnids.txt").write_text("n02\tcat\nn01\ttree house\nn03\tunused\n")
    paths = (write_labelled_shards(folder / "shards"), write_class_folders(folder / "folders"))
    return {
        "labelled_path": "::".join(paths),
        "class_names_path": f"{folder}/names.txt::{folder}/wnids.txt",
        "label_templates": list(TEMPLATES),
        "labelled_fraction": 0.25,
    }


def make_config(
    shards: str,
    labelled: dict,
    batch_size: int = 16,
    num_workers: int = 0,
    steps: int = 4,
    **section,
):
    fields = {"name": "webdataset", "path": shards, "image_size": 16, **labelled, **section}
    return tiny(
        data={"validation_fraction": 0.1, "test_fraction": 0.1, **fields},
        method={"name": "unicl"},
        train={"batch_size": batch_size, "steps": steps},
        runtime={"num_workers": num_workers},
    )


def test_labelled_samples_follow_the_pairs_with_labels_and_prompts(shards, labelled):
    config = make_config(shards, labelled).data
    split = data.open_split(config, "train")
    pairs = data.open_split(shards_config(shards), "train")
    num_pairs = len(pairs)
    assert len(split) == num_pairs + 60 + 5
    assert np.array_equal(split.ids[:num_pairs], pairs.ids)
    assert len(set(split.ids.tolist())) == len(split)
    labels = split.training_labels
    assert (labels[:num_pairs] == -1).all()
    by_class = {name: [t.format(name) for t in TEMPLATES] for name in (*NAMES, "tree house")}
    names = {tuple(prompts): name for name, prompts in by_class.items()}
    class_of = [names[split.captions[i]] for i in range(num_pairs, len(split))]
    written = [NAMES[n % 3] for shard in range(2) for n in range(shard, 60, 2)]
    assert class_of == [*written, *["tree house"] * 3, *["cat"] * 2]
    # Classes of one name are one class, also of different sources.
    assert len(set(zip(class_of, labels[num_pairs:].tolist()))) == 4
    numbers = [n for shard in range(2) for n in range(shard, 60, 2)]
    images = [*(1000 + n for n in numbers), *range(2000, 2005)]
    copy = pickle.loads(pickle.dumps(split))
    for i, number in zip(range(num_pairs, len(split)), images):
        expected = np.random.default_rng(number).integers(0, 256, (16, 20, 3), dtype=np.uint8)
        assert np.array_equal(copy.load_photograph(i).pixels, expected)
    assert split.name_image(len(split) - 1).endswith("folders/n02/d.png")
    assert "1.tar: 000059.png" in split.name_image(num_pairs + 59)
    for name in ("validation", "test"):
        expected = data.open_split(shards_config(shards), name).ids
        assert np.array_equal(data.open_split(config, name).ids, expected)


@pytest.mark.parametrize("order", ["full", "windowed"])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_every_batch_has_the_stated_share_with_any_processes_and_workers(shards, labelled, order):
    windowed = {"order": order, "window_shards": 2} if order == "windowed" else {}
    config = make_config(shards, labelled, **windowed)
    split = data.open_split(config.data, "train")
    tokenizer = train_bpe([text for texts in split.captions for text in texts], 400)
    whole = TrainingBatches(config, split, tokenizer)
    groups = [
        [TrainingBatches(config, split, tokenizer, ProcessGroup(rank, n)) for rank in range(n)]
        for n in (2, 4)
    ]
    with_workers = make_config(shards, labelled, num_workers=2, **windowed)
    from_workers = TrainingBatches(with_workers, split, tokenizer).iterate_batches(0, 8)
    seen = []
    for step, worker_batch in zip(range(8), from_workers, strict=True):
        batch = whole.build_batch(step)
        is_labelled = batch.labels >= 0
        assert is_labelled.sum() == 4
        assert np.array_equal(batch.labels, split.training_labels[batch.sample_ids])
        rows = [[rank.build_batch(step) for rank in ranks] for ranks in groups]
        for other in (*(_concatenate_batches(r, tokenizer.pad) for r in rows), worker_batch):
            assert torch.equal(other.images, batch.images)
            assert torch.equal(other.labels, batch.labels)
        for text, i in zip(decode(tokenizer, batch.tokens), batch.sample_ids.tolist()):
            assert text in split.captions[i]
        seen += batch.sample_ids[is_labelled].tolist()
    assert len(set(seen)) == len(seen) == 32  # of 65, each once an epoch


def decode(tokenizer, tokens):
    return [tokenizer._bpe.decode(row).strip() for row in tokens.tolist()]


def test_the_loss_of_unicl_has_labels(shards, labelled):
    state = trainer.train_model(make_config(shards, labelled, steps=2))
    assert state is not None


def test_shares_of_weighted_pairs_are_those_of_the_rest(shards, labelled):
    first = str(Path(shards).parent / "{00000..00001}.tar")
    second = str(Path(shards).parent / "{00002..00003}.tar")
    section = {"path": f"{first}::{second}", "weights": [2, 1]}
    config = make_config(shards, {**labelled, **section}).data
    assert source.count_training_samples(config, 16) is None  # not indexed yet
    split = data.open_split(config, "train")
    assert [round(s.share, 9) for s in split.source_shares] == [0.5, 0.25, 0.25]
    assert source.count_training_samples(config, 16) == list(split.source_shares)


def test_a_plan_says_what_labelled_images_there_are(shards, labelled, tmp_path):
    config = make_config(shards, labelled)
    model = config.model
    sentences = source.describe_content(config.data, model)
    assert any(
        s == "the labelled images are identified by the names and sizes of their shards and the "
        "names of the files of their class folders"
        for s in sentences
    )
    inspection.list_data_warnings([config])
    sentences = source.describe_content(config.data, model)
    expected = "0.25 of each batch is of 65 labelled images, all of which are for training"
    assert expected in sentences
    inspection.check_batch_sizes([config])
    few = make_config(shards, {**labelled, "labelled_fraction": 0.8}, batch_size=160)
    with pytest.raises(UserError, match="takes 128 of the 65 training samples"):
        inspection.check_batch_sizes([few])


def test_the_identity_has_the_labelled_images_and_class_names(shards, labelled, tmp_path):
    plain = make_config(shards, {}).data
    assert "labelled" not in data.fingerprint(plain)
    first = data.fingerprint(make_config(shards, labelled).data)
    root = Path(labelled["labelled_path"].partition("::")[0]).parent
    shutil.copytree(root, tmp_path / "copy")
    moved = {
        key: value.replace(str(root), str(tmp_path / "copy")) if isinstance(value, str) else value
        for key, value in labelled.items()
    }
    section = make_config(shards, moved).data
    assert data.fingerprint(section) == first
    (tmp_path / "copy" / "names.txt").write_text("lion\ndog\nbird\n")
    renamed = data.fingerprint(section)
    assert renamed != first
    (tmp_path / "copy" / "folders" / "n02" / "e.png").write_bytes(encode_image(9))
    assert data.fingerprint(section) != renamed


def test_broken_labelled_images_are_replaced_by_labelled_ones(shards, tmp_path):
    path = write_class_folders(tmp_path / "folders")
    Path(path, "n01", "a.png").write_bytes(b"no image")
    section = {"labelled_path": path, "labelled_fraction": 0.125, "max_broken": 0.1}
    config = make_config(shards, section)
    split = data.open_split(config.data, "train")
    tokenizer = train_bpe([text for texts in split.captions for text in texts], 400)
    batches = TrainingBatches(config, split, tokenizer)
    built = [batches.build_batch(step) for step in range(2)]
    (batch,) = [batch for batch in built if batch.unreadable_ids is not None]
    assert (batch.labels >= 0).sum() == 2
    (broken,) = [i for i in batch.unreadable_ids.tolist() if i >= 0]
    assert split.describe_unreadable(broken).startswith(f"{path}/n01/a.png cannot be read (")
    strict = replace(split, max_broken=0.0, num_allowed=0)
    with pytest.raises(UserError, match="1 of 125 samples cannot be used, more than data.max"):
        strict.check_unreadable([broken])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"labelled_fraction": 0.3}, "labelled_fraction does nothing without data.labelled_path"),
        ({"labelled_path": "a", "label_templates": ["a photo"]}, "must have one {}"),
        ({"labelled_path": "a", "label_templates": []}, "must have at least one"),
        ({"labelled_path": "a", "class_names_path": "b::c"}, "has 2 files"),
        ({"labelled_path": "a", "labelled_fraction": 0.01}, "leaves no labelled image"),
    ],
)
def test_settings_that_cannot_work_are_refused(section, message):
    with pytest.raises(UserError, match=message):
        make_config("shards", section)
