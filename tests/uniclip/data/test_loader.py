"""Batches are a function of configuration and step."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch
from PIL import Image

from tests.helpers import csv_data
from tests.helpers.small_runs import of_method
from tests.uniclip.augmentation.test_resample import draw_photograph
from uniclip import data, rng
from uniclip.augmentation import transform
from uniclip.config import build_run_config
from uniclip.data import loader, sampling
from uniclip.data.batch import PER_VIEW_FIELDS
from uniclip.data.csv.split import IMAGE_CACHE_BYTES, PHOTOGRAPH_CACHE_BYTES, CsvSplit
from uniclip.data.loader import TrainingBatches
from uniclip.data.text import tokenizer
from uniclip.distributed import SINGLE_PROCESS, ProcessGroup
from uniclip.errors import UserError

SIZE = 8


def make_batches(seed=0, stream=0, batch=SIZE, train=20, workers=0, subset=None, **views):
    config = build_run_config(
        {
            "data": {"name": "scenes", "num_train": train, "num_test": 16, "image_size": 16},
            "method": {"name": "uniclip"},
            "model": {"image": {"image_size": 16}},
            "views": {"num_weak": 1, "num_strong": 1, **views},
            "train": {"batch_size": batch, "steps": 10, "subset_size": subset},
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


@pytest.fixture(params=["sorted", "network"])
def order_kind(request, monkeypatch):
    """Both kinds of the order of an epoch; that of few samples is otherwise sorted."""
    monkeypatch.setattr(rng, "MAX_SORTED", 0 if request.param == "network" else rng.MAX_SORTED)
    sampling._get_cached_order.cache_clear()
    yield
    sampling._get_cached_order.cache_clear()


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


@pytest.mark.usefixtures("order_kind")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 4])
def test_data_workers_do_not_change_batches(workers):
    without_workers, with_workers = make_batches(), make_batches(workers=workers)
    streamed = list(with_workers.iterate_batches(1, 6))
    assert len(streamed) == 5
    assert all(
        equal(a, b) for a, b in zip(without_workers.iterate_batches(1, 6), streamed, strict=True)
    )


@pytest.mark.usefixtures("order_kind")
def test_each_epoch_shows_each_sample_once_in_a_new_order():
    batches = make_batches()
    epochs = [[batches.build_batch(2 * e + i).sample_ids for i in range(2)] for e in range(2)]
    orders = [torch.cat(epoch) for epoch in epochs]
    assert all(len(set(order.tolist())) == 16 for order in orders)
    assert not torch.equal(*orders)
    other_seed = torch.cat([make_batches(seed=1).build_batch(i).sample_ids for i in range(2)])
    assert not torch.equal(other_seed, orders[0])


def list_samples(batches, steps):
    return [i for step in range(steps) for i in batches.build_batch(step).sample_ids.tolist()]


def test_a_subset_is_all_that_a_run_sees_and_another_for_each_seed():
    subsets = {}
    for seed in (0, 1):
        batches = make_batches(seed=seed, train=40, subset=16)
        assert batches.steps_per_epoch == 2
        first, second = list_samples(batches, 2), list_samples(batches, 4)[16:]
        assert len(set(first)) == 16
        assert set(first) == set(second)
        assert first != second, "in a new order"
        subsets[seed] = set(first)
    assert subsets[0] != subsets[1]
    assert max(subsets[0] | subsets[1]) > 16, "samples of the whole split"


def test_a_subset_of_every_sample_has_every_sample():
    assert set(list_samples(make_batches(train=16, subset=16), 2)) == set(range(16))


def test_a_subset_larger_than_the_split_is_one_line():
    with pytest.raises(UserError, match="subset_size=50 is more than the 40 training samples"):
        make_batches(train=40, subset=50)
    with pytest.raises(UserError, match="subset_size=4 must be at least train.batch_size=8"):
        make_batches(train=40, subset=4)


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


@pytest.mark.parametrize("workers", [0, 1])
def test_data_workers_have_no_tokenizer(workers, monkeypatch):
    """Captions are encoded once, before workers are forked: its threads do not survive that."""
    batches = make_batches(workers=workers)
    assert not any(isinstance(value, tokenizer.Tokenizer) for value in vars(batches).values())
    expected = batches.build_batch(0).tokens
    for name in ("encode", "encode_uncut", "decode"):
        monkeypatch.setattr(tokenizer.Tokenizer, name, None)
    (batch,) = batches.iterate_batches(0, 1)
    assert torch.equal(batch.tokens, expected)


def test_batches_are_made_in_page_locked_memory_for_a_gpu(monkeypatch):
    """Of a worker's batch every tensor is pinned: torch ignores what has no `pin_memory`."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    batch = make_batches().build_batch(0)
    pinned = torch.utils.data._utils.pin_memory.pin_memory(batch)
    for field in batch.__dataclass_fields__:
        value = getattr(batch, field)
        assert value is None or torch.equal(getattr(pinned, field), value + 1), field


def test_too_few_samples_for_a_batch_is_one_line():
    with pytest.raises(UserError, match="train.batch_size=64.*20 training samples"):
        make_batches(batch=64)


# ---- several processes -------------------------------------------------------------------------


@pytest.mark.usefixtures("order_kind")
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


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", ["declip", "unicl"])
def test_batches_that_workers_share_are_the_same(name, workers, world, monkeypatch):
    """Bounded memory: each worker makes a part of the rows of a batch of its process."""
    data_section = {"name": "mix", "image_size": 32, "label_sources": ["digits"]}
    sections = {"data": data_section} if name == "unicl" else {}
    config = of_method(name, runtime={"num_workers": workers}, **sections)
    split = data.open_split(config.data, "train")
    bpe = tokenizer.train_bpe([c for several in split.captions for c in several], 300)
    group = ProcessGroup(world - 1, world)
    whole = TrainingBatches(config, split, bpe, group)
    assert len(whole) == config.train.steps, "a small batch is made whole"
    monkeypatch.setattr(loader, "MAX_PREFETCHED_BYTES", 1)
    shared = TrainingBatches(config, split, bpe, group)
    num_parts = len(shared) // config.train.steps
    assert num_parts == min(workers, len(whole.build_batch(0).sample_ids))
    batches = list(shared.iterate_batches(2, 5, torch.device("cpu")))
    assert all(equal(batch, whole.build_batch(2 + i)) for i, batch in enumerate(batches))
    assert len(batches) == 3


# ---- photographs of any size ---------------------------------------------------------------------


def open_photographs(folder, group=SINGLE_PROCESS, workers=0, **views):
    """Return the batches of a table of 30 photographs of other sizes and shapes, large ones too."""
    if not (folder / "data.csv").exists():
        csv_data.write_csv(folder, [(f"{i}.jpg", f"picture {i}", "a") for i in range(30)])
        for i in range(30):
            pixels = draw_photograph(24 + 9 * i, 300 - 7 * i)
            Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=90)
    config = of_method(
        "clip",
        data={"name": "csv", "path": str(folder / "data.csv"), "image_size": 24},
        model={"image": {"image_size": 24}},
        views={"num_weak": 1, "num_strong": 1, "identity_prob": 0.3, **views},
        train={"batch_size": SIZE},
        runtime={"num_workers": workers},
    )
    split = data.open_split(config.data, "train")
    bpe = tokenizer.train_bpe([c for several in split.captions for c in several], 300)
    return TrainingBatches(config, split, bpe, group)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 4])
def test_data_workers_do_not_change_views_of_photographs(workers, tmp_path):
    alone, shared = open_photographs(tmp_path), open_photographs(tmp_path, workers=workers)
    cpu = torch.device("cpu")
    streamed = list(shared.iterate_batches(0, 5, cpu))
    expected = alone.iterate_batches(0, 5, cpu)
    assert all(equal(a, b) for a, b in zip(expected, streamed, strict=True))
    assert len({view.numpy().tobytes() for batch in streamed for view in batch.images[1]}) > 30


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_data_workers_share_the_memory_for_photographs(tmp_path, monkeypatch):
    """Each of three keeps a third of what one process does; the main process keeps its own."""
    batches = open_photographs(tmp_path, workers=3)
    divide_cache = CsvSplit.divide_cache

    def divide_and_report(split, num_workers):
        divide_cache(split, num_workers)
        limits = split.image_cache.max_bytes, split.photograph_cache.max_bytes
        (tmp_path / f"worker {os.getpid()}").write_text(repr(limits))

    monkeypatch.setattr(CsvSplit, "divide_cache", divide_and_report)  # forked processes inherit it
    assert len(list(batches.iterate_batches(0, 3))) == 3
    limits = [path.read_text() for path in tmp_path.glob("worker *")]
    assert limits == [repr((IMAGE_CACHE_BYTES // 3, PHOTOGRAPH_CACHE_BYTES // 3))] * 3
    assert batches.split.photograph_cache.max_bytes == PHOTOGRAPH_CACHE_BYTES


@pytest.mark.parametrize("world", [2, 3])
def test_processes_do_not_change_views_of_photographs(world, tmp_path):
    expected = open_photographs(tmp_path).build_batch(3)
    groups = [ProcessGroup(rank, world) for rank in range(world)]
    parts = [open_photographs(tmp_path, group).build_batch(3) for group in groups]
    assert torch.equal(torch.cat([part.images for part in parts], 1), expected.images)


def test_an_identity_view_of_a_photograph_is_its_evaluation(tmp_path):
    batches = open_photographs(tmp_path)
    batch = batches.build_batch(0)
    is_identity = (batch.augmentation_vectors == 0).all(-1)
    assert 0 < is_identity.sum() < 2 * SIZE
    squares = torch.from_numpy(batches.split.load_pixels(batch.sample_ids.numpy()))
    for view, rows in zip(batch.images, is_identity):
        assert torch.equal(view[rows], squares[rows])
        assert not (view[~rows] == squares[~rows]).all((1, 2, 3)).any()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "max_bytes"), [(0, 2**31), (1, 2**31), (4, 1)])
def test_views_made_on_the_device_are_those_of_data_workers(
    workers, max_bytes, tmp_path, monkeypatch
):
    """Parameters, vectors and pixels of photographs; with parts of batches, too."""
    monkeypatch.setattr(loader, "MAX_PREFETCHED_BYTES", max_bytes)
    cpu = torch.device("cpu")
    expected = open_photographs(tmp_path).iterate_batches(0, 5, cpu)
    on_device = open_photographs(tmp_path, workers=workers, made_on="device")
    assert len(on_device) == on_device.config.train.steps * (workers if max_bytes == 1 else 1)
    made = list(on_device.iterate_batches(0, 5, cpu))
    assert all(equal(a, b) for a, b in zip(expected, made, strict=True))
    assert all(batch.packed_views is None for batch in made)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_do_not_change_views_made_on_the_device(world, tmp_path):
    expected = open_photographs(tmp_path).build_batch(3)
    groups = [ProcessGroup(rank, world) for rank in range(world)]
    batches = [open_photographs(tmp_path, group, made_on="device") for group in groups]
    parts = [some.build_batch(3).to(torch.device("cpu")) for some in batches]
    assert torch.equal(torch.cat([part.images for part in parts], 1), expected.images)


def test_data_workers_leave_the_views_to_the_device(tmp_path):
    batch = open_photographs(tmp_path, made_on="device").build_batch(0)
    assert batch.images.shape == (2, SIZE, 3, 0, 0)
    assert batch.packed_views is not None
    rows = batch.select_rows(slice(2, 5)).to(torch.device("cpu"))
    assert torch.equal(rows.images, batch.to(torch.device("cpu")).images[:, 2:5])


def test_views_of_scenes_made_on_the_device_have_the_same_parameters():
    on_cpu = make_batches().build_batch(0)
    made = make_batches(made_on="device").build_batch(0).to(torch.device("cpu"))
    assert torch.equal(made.augmentation_vectors, on_cpu.augmentation_vectors)
    assert torch.equal(made.tokens, on_cpu.tokens)
    difference = (made.images.int() - on_cpu.images.int()).abs()
    assert difference.max() <= 16
    assert difference.float().mean() < 0.05


# ---- images that cannot be read ------------------------------------------------------------------


def open_broken(folder, broken=(0, 3, 5), name="declip", batch=8, workers=0, world=None, size=40):
    """Return the batches of every process on a CSV whose training images `broken` are cut off."""
    path = folder / "data.csv"
    if not path.exists():
        csv_data.write_image_set(folder, size)
    config = of_method(
        name,
        data={"name": "csv", "path": str(path), "image_size": 16, "max_broken": 1.0},
        train={"batch_size": batch},
        runtime={"num_workers": workers},
    )
    split = data.open_split(config.data, "train")
    csv_data.break_images(split.image_paths[i] for i in broken)
    bpe = tokenizer.train_bpe([c for several in split.captions for c in several], 300)
    groups = [SINGLE_PROCESS] if world is None else [ProcessGroup(r, world) for r in range(world)]
    return [
        TrainingBatches(config, data.open_split(config.data, "train"), bpe, group)
        for group in groups
    ]


@pytest.mark.usefixtures("order_kind")
def test_an_unreadable_image_is_replaced_by_the_same_row_of_the_next_batch(tmp_path):
    (whole,) = open_broken(tmp_path / "whole", broken=())
    (batches,) = open_broken(tmp_path / "broken")
    assert len(batches.split) >= 16
    num_replaced = 0
    for step in range(2 * batches.steps_per_epoch):
        batch, expected = batches.build_batch(step), whole.build_batch(step)
        is_broken = torch.isin(expected.sample_ids, torch.tensor([0, 3, 5]))
        num_replaced += int(is_broken.sum())
        if not is_broken.any():
            assert equal(batch, expected)
            continue
        assert torch.equal(
            batch.unreadable_ids, torch.where(is_broken, expected.sample_ids, torch.tensor(-1))
        )
        assert torch.equal(batch.sample_ids[~is_broken], expected.sample_ids[~is_broken])
        assert torch.equal(batch.images[:, ~is_broken], expected.images[:, ~is_broken])
        assert torch.equal(batch.masked_tokens[~is_broken], expected.masked_tokens[~is_broken])
        assert len(set(batch.sample_ids.tolist())) == len(batch.sample_ids)
        for row in torch.nonzero(is_broken).flatten().tolist():
            sample = int(batch.sample_ids[row])
            assert sample not in (0, 3, 5)
            # the sample is what it is in its own batch of this epoch: caption and views
            epoch = step // batches.steps_per_epoch
            own_steps = range(
                epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch
            )
            owns = [b for b in map(whole.build_batch, own_steps) if sample in b.sample_ids]
            own_row = int(torch.nonzero(owns[0].sample_ids == sample))
            assert torch.equal(batch.images[:, row], owns[0].images[:, own_row])
            length = min(batch.tokens.shape[1], owns[0].tokens.shape[1])
            assert torch.equal(batch.tokens[row, :length], owns[0].tokens[own_row, :length])
    assert num_replaced >= 4, "but for those in the remainder of an epoch"


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "max_bytes"), [(1, 2**31), (2, 2**31), (4, 1)])
def test_data_workers_do_not_change_what_replaces_an_image(
    workers, max_bytes, tmp_path, monkeypatch
):
    (alone,) = open_broken(tmp_path)
    monkeypatch.setattr(loader, "MAX_PREFETCHED_BYTES", max_bytes)
    (shared,) = open_broken(tmp_path, workers=workers)
    expected = list(alone.iterate_batches(1, 7))
    assert any(batch.unreadable_ids is not None for batch in expected)
    for one, other in zip(expected, shared.iterate_batches(1, 7), strict=True):
        assert equal(one, other)


@pytest.mark.usefixtures("order_kind")
@pytest.mark.parametrize("world", [2, 3])
def test_processes_do_not_change_what_replaces_an_image(world, tmp_path):
    (single,) = open_broken(tmp_path)
    shares = open_broken(tmp_path, world=world)
    num_replaced = 0
    for step in range(2 * single.steps_per_epoch):
        expected, parts = single.build_batch(step), [s.build_batch(step) for s in shares]
        for field in ("sample_ids", "labels", "tokens", "masked_tokens", "mlm_labels"):
            rows = torch.cat([getattr(part, field) for part in parts])
            assert torch.equal(rows, getattr(expected, field)), field
        assert torch.equal(torch.cat([part.images for part in parts], 1), expected.images)
        unreadable = [p.unreadable_ids for p in parts if p.unreadable_ids is not None]
        found = sorted(i for ids in unreadable for i in ids.tolist() if i >= 0)
        all_found = [] if expected.unreadable_ids is None else expected.unreadable_ids.tolist()
        assert found == sorted(i for i in all_found if i >= 0)
        num_replaced += len(found)
    assert num_replaced > 0


def test_with_one_batch_an_epoch_the_remainder_takes_the_place(tmp_path):
    (batches,) = open_broken(tmp_path, batch=16, broken=(1,), name="clip")
    assert batches.steps_per_epoch == 1
    batch = next(b for b in map(batches.build_batch, range(9)) if b.unreadable_ids is not None)
    assert len(set(batch.sample_ids.tolist())) == 16


def test_if_no_image_can_be_read_one_line_says_so(tmp_path):
    (batches,) = open_broken(tmp_path, broken=())
    csv_data.break_images(tmp_path.glob("*.png"))
    with pytest.raises(UserError, match=r"line \d+: image .*cannot be read .*no other") as caught:
        batches.build_batch(0)
    assert "\n" not in str(caught.value)
    (batches,) = open_broken(tmp_path, broken=(), workers=1)
    with pytest.raises(UserError) as caught_in_worker:
        list(batches.iterate_batches(0, 1))
    assert str(caught_in_worker.value) == str(caught.value), "not the traceback of the worker"
