"""Batches are a function of configuration and step."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.helpers.small_runs import of_method
from uniclip import data
from uniclip.augmentation import transform
from uniclip.config import build_run_config
from uniclip.data.batch import PER_VIEW_FIELDS
from uniclip.data.loader import TrainingBatches
from uniclip.data.text import tokenizer
from uniclip.distributed import ProcessGroup
from uniclip.errors import UserError

SIZE = 8


def make_batches(seed=0, stream=0, batch=SIZE, train=20, workers=0, **views):
    config = build_run_config(
        {
            "data": {"name": "scenes", "num_train": train, "num_test": 16, "image_size": 16},
            "method": {"name": "uniclip"},
            "model": {"image": {"image_size": 16}},
            "views": {"num_weak": 1, "num_strong": 1, **views},
            "train": {"batch_size": batch, "steps": 10},
            "runtime": {"num_workers": workers},
            "seed": seed,
            "stream": stream,
        }
    )
    split = data.open_split(config.data, "train")
    captions = [c for several in split.captions for c in several]
    return TrainingBatches(config, split, tokenizer.train_bpe(captions, 300))


def equal(a, b):
    pairs = [(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__]
    return all(one is two is None or torch.equal(one, two) for one, two in pairs)


def test_shapes_and_types():
    batches = make_batches(num_strong=2)
    batch = batches.build_batch(0)
    assert batches.steps_per_epoch == 2
    assert batch.images.shape == (3, SIZE, 3, 16, 16)
    assert batch.images.dtype == torch.uint8
    assert batch.augmentation_vectors.shape == (3, SIZE, transform.VECTOR_DIM)
    assert batch.augmentation_vectors.dtype == torch.float32
    assert batch.tokens.shape[0] == SIZE
    assert {batch.tokens.dtype, batch.sample_ids.dtype, batch.labels.dtype} == {torch.int64}
    assert (batch.labels == -1).all()


def test_a_batch_is_a_function_of_configuration_and_step():
    one, other = make_batches(), make_batches()
    other.build_batch(3)
    assert equal(one.build_batch(5), other.build_batch(5))
    assert not equal(one.build_batch(5), make_batches(seed=1).build_batch(5))
    assert not torch.equal(
        one.build_batch(5).sample_ids, make_batches(stream=1).build_batch(5).sample_ids
    )


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_data_workers_do_not_change_batches(workers):
    without_workers, with_workers = make_batches(), make_batches(workers=workers)
    streamed = list(with_workers.iterate_batches(1, 6))
    assert len(streamed) == 5
    assert all(
        equal(a, b) for a, b in zip(without_workers.iterate_batches(1, 6), streamed, strict=True)
    )


def test_each_epoch_shows_each_sample_once_in_a_new_order():
    batches = make_batches()
    epochs = [[batches.build_batch(2 * e + i).sample_ids for i in range(2)] for e in range(2)]
    orders = [torch.cat(epoch) for epoch in epochs]
    assert all(len(set(order.tolist())) == 16 for order in orders)
    assert not torch.equal(*orders)


def test_a_sample_gets_new_crops_in_the_next_epoch():
    batches = make_batches(batch=20, identity_prob=0.0)
    first, second = batches.build_batch(0), batches.build_batch(1)
    position = {int(s): i for i, s in enumerate(second.sample_ids)}
    match = [position[int(s)] for s in first.sample_ids]
    assert not (first.augmentation_vectors == second.augmentation_vectors[:, match]).all(-1).any()


def test_arms_share_their_common_views():
    one_view, three_views = (
        make_batches(num_strong=1).build_batch(0),
        make_batches(num_strong=3).build_batch(0),
    )
    assert torch.equal(one_view.sample_ids, three_views.sample_ids)
    assert torch.equal(one_view.images, three_views.images[:2])
    assert torch.equal(one_view.tokens, three_views.tokens)
    assert not torch.equal(three_views.images[1], three_views.images[2])


def test_one_caption_is_drawn_for_a_sample_and_epoch():
    batches = make_batches(batch=20)
    captions = tuple((f"a {i}", f"b {i}") for i in range(20))
    split = dataclasses.replace(batches.split, captions=captions)
    bpe = tokenizer.train_bpe([c for both in captions for c in both], 300)
    drawn = TrainingBatches(batches.config, split, bpe)
    texts_by_sample = {}
    for step in range(12):
        batch = drawn.build_batch(step)
        for row, sample in zip(batch.tokens, batch.sample_ids.tolist(), strict=True):
            text = bpe.decode(row.tolist())
            assert text in captions[sample]
            texts_by_sample.setdefault(sample, set()).add(text)
    assert sum(len(s) == 2 for s in texts_by_sample.values()) >= 18


def test_too_few_samples_for_a_batch_is_one_line():
    with pytest.raises(UserError, match="train.batch_size=64.*20 training samples"):
        make_batches(batch=64)


# ---- several processes -------------------------------------------------------------------------


@pytest.mark.parametrize("world", [2, 3, 7])
@pytest.mark.parametrize("name", ["declip", "mix"])
def test_the_rows_of_all_processes_are_the_batch(name, world):
    """Texts may be padded further in the full batch. In a mix some ranks have pairs only."""
    if name == "mix":
        config = of_method(
            "unicl", data={"name": "mix", "image_size": 32, "label_sources": ["digits"]}
        )
    else:
        config = of_method("declip")
    split = data.open_split(config.data, "train")
    bpe = tokenizer.train_bpe([c for several in split.captions for c in several], 300)
    full_batch = TrainingBatches(config, split, bpe).build_batch(1)
    shares = [
        TrainingBatches(config, split, bpe, ProcessGroup(rank, world)).build_batch(1)
        for rank in range(world)
    ]
    sizes = [len(share.sample_ids) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    for field in full_batch.__dataclass_fields__:
        expected, parts = getattr(full_batch, field), [getattr(share, field) for share in shares]
        if expected is None:
            assert parts == [None] * world
        elif field in PER_VIEW_FIELDS:
            assert torch.equal(torch.cat(parts, 1), expected)
        elif expected.ndim == 1:
            assert torch.equal(torch.cat(parts), expected)
        else:
            rows = [row for part in parts for row in part]
            for row, expected_row in zip(rows, expected, strict=True):
                assert torch.equal(row, expected_row[: len(row)])
                assert len(set(expected_row[len(row) :].tolist())) <= 1
