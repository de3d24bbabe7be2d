"""Near-duplicates of training pictures are found, and nothing else is taken for one."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import dataset_trees, stub_models
from uniclip import data, evaluate
from uniclip.config import OpenmojiData
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.checks import near_duplicates

N = 300


def photo(i: int, side: int = 96) -> Image.Image:
    """Colours that flow into each other: no two are alike."""
    random = np.random.default_rng(i)
    coarse = random.integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def greys(pictures: list[Image.Image]) -> np.ndarray:
    return np.stack([near_duplicates.compute_thumbnail(p) for p in pictures])


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg of quality 75": lambda p: jpeg(p, 75),
    "jpeg of quality 50": lambda p: jpeg(p, 50),
    "half as large": lambda p: p.resize((48, 48), Image.Resampling.BICUBIC),
    "larger": lambda p: p.resize((163, 163), Image.Resampling.BICUBIC),
    "smaller and jpeg": lambda p: jpeg(p.resize((60, 60), Image.Resampling.BICUBIC), 75),
    "borders that a centre crop takes off": lambda p: bordered(p),
    "grey": lambda p: p.convert("L"),
}
OTHERS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda p: p.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "inverted": lambda p: Image.eval(p, lambda level: 255 - level),
    "a quarter of it": lambda p: p.crop((0, 0, 48, 48)),
}


def bordered(picture: Image.Image) -> Image.Image:
    wide = Image.new("RGB", (picture.width + 40, picture.height), "red")
    wide.paste(picture, (20, 0))
    return wide


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [photo(i) for i in range(N)]


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found(photos: list[Image.Image], how: str) -> None:
    verdicts = near_duplicates.find_duplicates(
        greys([COPIES[how](p) for p in photos]), greys(photos)
    )
    assert (verdicts == near_duplicates.DUPLICATE).mean() >= 0.97


@pytest.mark.parametrize("how", OTHERS)
def test_other_images_are_distinct(photos: list[Image.Image], how: str) -> None:
    verdicts = near_duplicates.find_duplicates(
        greys([OTHERS[how](p) for p in photos]), greys(photos)
    )
    assert (verdicts == near_duplicates.DISTINCT).all()


def test_unrelated_images_are_distinct(photos: list[Image.Image]) -> None:
    others = greys([photo(i) for i in range(N, 3 * N)])
    assert (
        near_duplicates.find_duplicates(others, greys(photos)) == near_duplicates.DISTINCT
    ).all()


def test_emoji_of_different_kinds_are_distinct() -> None:
    """The false-positive rate that the table states: 1 of 1.6 million pairs."""
    test, train = (data.open_split(OpenmojiData(), part) for part in ("test", "train"))
    kinds = [split.labels["category"] for split in (test, train)]
    tested, trained = (
        near_duplicates.compute_split_thumbnails(test),
        near_duplicates.compute_split_thumbnails(train),
    )
    pairs = wrong = 0
    for kind in range(len(test.class_names["category"])):
        is_kind, others = kinds[0] == kind, (kinds[1] != kind) & (kinds[1] >= 0)
        wrong += int(
            (
                near_duplicates.find_duplicates(tested[is_kind], trained[others])
                == near_duplicates.DUPLICATE
            ).sum()
        )
        pairs += int(is_kind.sum()) * int(others.sum())
    assert pairs > 1_500_000
    assert wrong / pairs <= near_duplicates.MAX_FALSE_POSITIVE_RATE


def test_the_hash_by_hand() -> None:
    rising = np.tile(np.arange(0, 90, 10, dtype=np.uint8), (1, 8, 1))
    one = np.full((1, 8, 9), 50, np.uint8)
    one[0, 0, 1] = 60  # brighter than its left neighbour; the next one is darker
    both = np.concatenate([rising, rising[:, :, ::-1], one])
    assert [int(h).bit_count() for h in near_duplicates.compute_hashes(both)] == [64, 0, 1]


def test_a_plain_image_is_undecidable(photos: list[Image.Image]) -> None:
    plain = [Image.new("RGB", (64, 64), c) for c in ("white", "red")]
    verdicts = near_duplicates.find_duplicates(greys([*plain, photos[0]]), greys([*plain, *photos]))
    assert verdicts.tolist() == [
        near_duplicates.UNDECIDABLE,
        near_duplicates.UNDECIDABLE,
        near_duplicates.DUPLICATE,
    ]


def test_any_tiles_any_order_and_none(
    photos: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = greys(photos)
    tested = greys([jpeg(p, 75) if i % 3 else photo(i + N) for i, p in enumerate(photos)])
    expected = near_duplicates.find_duplicates(tested, trained)
    assert 0 < (expected == near_duplicates.DUPLICATE).sum() < N
    order = np.random.default_rng(0).permutation(N)
    assert np.array_equal(
        near_duplicates.find_duplicates(tested[order], trained[::-1]), expected[order]
    )
    monkeypatch.setattr(near_duplicates, "TILE_SHAPE", (7, 11))
    assert np.array_equal(near_duplicates.find_duplicates(tested, trained), expected)
    assert (near_duplicates.find_duplicates(tested, trained[:0]) == near_duplicates.DISTINCT).all()
    assert len(near_duplicates.find_duplicates(tested[:0], trained)) == 0


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_run_is_checked_where_there_are_images(tmp_path: Path) -> None:
    of = stub_models.config({"name": "scenes", "num_train": 64, "num_test": 16})
    of = replace(of, runtime=replace(of.runtime, data_root=str(tmp_path / "sets")))
    assert evaluate.find_near_duplicates("openmoji", of, tmp_path) is None
    assert evaluate.find_near_duplicates("cifar10", of, tmp_path) is None, "it is not here"
    dataset_trees.cifar10(tmp_path / "sets")
    verdicts = evaluate.find_near_duplicates("cifar10", of, tmp_path)
    assert verdicts is not None
    assert verdicts.tolist() == [near_duplicates.UNDECIDABLE] * 4
    assert len(files_in(tmp_path / "leakage")) == 4
    (tmp_path / "sets").rename(tmp_path / "elsewhere")
    again = evaluate.find_near_duplicates("cifar10", of, tmp_path)
    assert again is not None
    assert again.tolist() == verdicts.tolist(), "as they were last seen"


def test_images_are_read_once(tmp_path: Path, photos: list[Image.Image]) -> None:
    looked: list[str] = []

    def of(name: str, pictures: list[Image.Image]) -> Callable[[], np.ndarray]:
        def look() -> np.ndarray:
            looked.append(name)
            return greys(pictures)

        return look

    def check(test: str, train: str) -> list[int]:
        known = {"one": photos[:9], "two": photos[5:14], "three": photos[20:23]}
        tested, trained = of(test, known[test]), of(train, known[train])
        place = {"here": test}
        cache = Cache(tmp_path)
        finder = near_duplicates.DuplicateFinder(cache, place, {"s": train})
        return finder.find({"s": test}, tested, trained).tolist()

    assert check("two", "one") == [1] * 4 + [0] * 5
    assert check("two", "one") == [1] * 4 + [0] * 5
    assert check("three", "one") == [0] * 3
    assert looked == ["two", "one", "three"]
    for path in files_in(tmp_path):
        path.write_bytes(path.read_bytes()[:40])
    assert check("two", "one") == [1] * 4 + [0] * 5
    assert looked[3:] == ["two", "one"]
