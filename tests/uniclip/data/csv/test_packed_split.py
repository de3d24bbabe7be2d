"""The samples of a split in files, by hand, and as a split of a run reads them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.csv_data import csv_config, write_csv
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.data.csv.packed_split import (
    CaptionLists,
    ImagePaths,
    PackedSplit,
    SplitSizes,
    choose_ends_dtype,
)
from uniclip.data.csv.split import PackedCsvSplit
from uniclip.data.loader import TrainingBatches
from uniclip.data.text.tokenizer import train_bpe


@pytest.fixture
def split(tmp_path: Path) -> PackedSplit:
    """Return a.png, which is red and blue, and b.png, which is green."""
    sizes = SplitSizes(num_samples=2, num_captions=3, path_bytes=10, caption_bytes=12)
    arrays: dict[str, NDArray[Any]] = {
        "ids": np.array([70, 80], np.uint64),
        "lines": np.array([2, 5], np.uint32),
        "paths": np.frombuffer(b"a.pngb.png", np.uint8),
        "paths_ends": np.array([5, 10], np.uint32),
        "captions": np.frombuffer(b"redbluegreen", np.uint8),
        "captions_ends": np.array([3, 7, 12], np.uint32),
        "caption_stops": np.array([2, 3], np.uint32),
    }
    for name, values in arrays.items():
        np.save(tmp_path / f"{name}.npy", values)
    return PackedSplit(tmp_path, sizes)


def test_a_split_is_read_from_its_files(split: PackedSplit) -> None:
    assert len(split) == 2
    assert (split.ids.tolist(), split.lines.tolist()) == ([70, 80], [2, 5])
    assert list(split.paths) == ["a.png", "b.png"]
    assert list(split.captions) == ["red", "blue", "green"]
    starts, counts = split.find_captions(np.array([1, 0, 1]))
    assert (starts.tolist(), counts.tolist()) == ([2, 0, 2], [1, 2, 1])
    assert split.count_captions() == 3
    assert list(split.iterate_captions(0, 2)) == ["red", "blue"]
    assert list(split.iterate_captions(1, 3)) == ["blue", "green"]
    assert list(split.iterate_captions(1, 1)) == []


def test_captions_and_image_files_are_sequences(split: PackedSplit) -> None:
    captions = CaptionLists(split, range(2))
    assert list(captions) == [("red", "blue"), ("green",)]
    assert list(captions[1:]) == [("green",)]
    with pytest.raises(IndexError):
        captions[2]
    images = ImagePaths(Path("/images"), split.paths)
    assert list(images) == ["/images/a.png", "/images/b.png"]
    assert list(images[1:]) == ["/images/b.png"]
    with pytest.raises(IndexError):
        images[2]


def test_a_split_without_all_its_files_is_not_whole(split: PackedSplit) -> None:
    assert split.is_whole(has_labels=False)
    assert not split.is_whole(has_labels=True)
    np.save(split.folder / "labels.npy", np.array([0, -1]))
    assert split.is_whole(has_labels=True)
    np.save(split.folder / "lines.npy", np.array([2], np.uint32))
    assert not split.is_whole(has_labels=True)


def test_another_process_maps_arrays_of_its_own(split: PackedSplit) -> None:
    assert split.ids.tolist() == [70, 80]
    again = pickle.loads(pickle.dumps(split))
    assert "ids" in vars(split)
    assert "ids" not in vars(again)
    assert again.ids.tolist() == [70, 80]


@pytest.mark.parametrize(
    ("num_captions", "has_labels", "num_bytes"),
    [(1000, False, 20_000), (1000, True, 28_000), (1500, False, 24_000 + 500 * 4)],
)
def test_bytes_of_a_thousand_samples_beside_their_texts(
    num_captions: int, has_labels: bool, num_bytes: int
) -> None:
    sizes = SplitSizes(num_samples=1000, num_captions=num_captions, path_bytes=0, caption_bytes=0)
    arrays = sizes.list_arrays(has_labels=has_labels).values()
    assert sum(np.dtype(dtype).itemsize * length for dtype, length in arrays) == num_bytes


def test_ends_take_64_bits_from_4_gib_on() -> None:
    assert choose_ends_dtype(2**32 - 1) == np.uint32
    assert choose_ends_dtype(2**32) == np.uint64


def test_tokens_and_pixels_are_those_of_the_split_in_memory(
    folder: Path, large: Callable[[], None]
) -> None:
    write_csv(
        folder,
        [(f"{i}.png", f"picture {i} {'x ' * k}", "a") for i in range(40) for k in range(1 + i % 3)],
    )
    config = csv_config(folder)
    small = data.open_split(config, "train")
    large()
    packed = data.open_split(config, "train")
    assert isinstance(packed, PackedCsvSplit)
    assert np.array_equal(packed.ids, small.ids)
    index = np.array([3, 0, len(small) - 1, 3])
    assert np.array_equal(packed.load_pixels(index), small.load_pixels(index))
    assert not packed.image_cache.images
    tokenizer = train_bpe(["picture 1 x x"], 300)
    for split in (packed, pickle.loads(pickle.dumps(packed))):
        for context_length in (4, 32):
            expected = small.encode_captions(tokenizer, context_length)
            tokens = split.encode_captions(tokenizer, context_length)
            for key in range(5):
                ids = small.ids[index]
                assert np.array_equal(tokens.draw(key, ids, index), expected.draw(key, ids, index))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_the_split_in_memory(
    folder: Path, large: Callable[[], None], num_workers: int
) -> None:
    captions = [(f"{i}.png", f"picture {i} {'x ' * k}", "a") for i in range(40) for k in range(3)]
    write_csv(folder, captions)
    section = {"name": "csv", "path": str(folder / "data.csv"), "image_size": 32}
    config = tiny(data=section, train={"batch_size": 8}, runtime={"num_workers": num_workers})
    tokenizer = train_bpe(["picture 1 x x"], 300)
    expected = TrainingBatches(config, data.open_split(config.data, "train"), tokenizer)
    expected_batches = [expected.build_batch(step) for step in range(5)]
    large()
    split = data.open_split(config.data, "train")
    assert isinstance(split, PackedCsvSplit)
    batches = TrainingBatches(config, split, tokenizer).iterate_batches(0, 5)
    for batch, expected_batch in zip(batches, expected_batches, strict=True):
        for name in ("images", "augmentation_vectors", "tokens", "sample_ids", "labels"):
            assert getattr(batch, name).equal(getattr(expected_batch, name)), name
