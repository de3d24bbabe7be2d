"""The splits of OpenMoji: captions, labels, and images that render identically."""

from __future__ import annotations

import numpy as np

from tests.helpers.openmoji_subset import list_subset, make_emoji
from uniclip import data
from uniclip.config import OpenmojiData
from uniclip.data.openmoji import split


def test_splits_are_disjoint_and_rendered_once(cache, capsys):
    config = OpenmojiData(image_size=16)
    splits = {part: data.open_split(config, part) for part in data.SPLIT_NAMES}
    assert capsys.readouterr().err.count("rendering") == 1
    assert sum(map(len, splits.values())) == len(list_subset())
    ids = np.concatenate([s.ids for s in splits.values()])
    assert len(set(ids.tolist())) == len(ids)
    train = splits["train"]
    pixels = train.load_pixels(np.array([2, 0]))
    assert (pixels.shape, pixels.dtype) == ((2, 3, 16, 16), np.uint8)
    assert np.array_equal(pixels[1], train.load_pixels(np.array([0]))[0])
    assert (pixels[:, :, 0, 0] == 255).all()  # white ground
    split_by_name = {name: part for part, s in splits.items() for name in s.sample_names}
    assert split_by_name["Norway"] == split_by_name["Svalbard & Jan Mayen"]
    assert all(len(c) == 1 for c in splits["test"].captions)


def test_identical_images_stay_together():
    alone = [make_emoji(f"{i:04X}") for i in range(3000)]
    shares = [split.assign_splits(alone).count(p) / 3000 for p in data.SPLIT_NAMES]
    np.testing.assert_allclose(shares, [0.6, 0.1, 0.3], atol=0.03)
    pairs = [make_emoji(f"{i:04X}", image_digest=str(i // 2)) for i in range(3000)]
    parts = split.assign_splits(pairs)
    assert parts[::2] == parts[1::2]
    assert parts[::2] == split.assign_splits(alone)[::2]


def test_labels_are_read_from_code_and_name():
    tone = split.get_skin_tone
    assert tone(make_emoji("1F44B-1F3FD")) == "medium skin tone"
    assert tone(make_emoji("1F469-1F3FB-200D-1F91D-200D-1F468-1F3FB")) == "light skin tone"
    assert tone(make_emoji("1F469-1F3FB-200D-1F91D-200D-1F468-1F3FF")) is None
    assert tone(make_emoji("2764")) is None
    gender = split.get_gender
    assert gender(make_emoji("1", "man farmer dark skin tone")) == "man"
    assert gender(make_emoji("1", "woman-running")) == "woman"
    assert gender(make_emoji("1", "woman and man holding hands")) is None
    assert gender(make_emoji("1", "Roman mandarin")) is None


def test_aliases_never_name_another_emoji():
    e = make_emoji("1", "red heart", aliases=("heart", "Heart", "ab", "tiger", "red heart"))
    assert split._build_captions(e, {"red heart", "tiger"}) == ("red heart", "Heart")
