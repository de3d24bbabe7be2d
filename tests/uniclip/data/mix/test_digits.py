"""scikit-learn's digits as labelled images."""

from __future__ import annotations

import numpy as np

from uniclip.data.mix import digits
from uniclip.data.split import SPLIT_NAMES

TEMPLATES = ("{}", "a {}")


def test_splits_cover_the_digits_once():
    splits = [digits.open_split(16, split_name, TEMPLATES) for split_name in SPLIT_NAMES]
    rows = np.concatenate([split.rows for split in splits])
    assert sorted(rows.tolist()) == list(range(1797))
    assert len(set(np.concatenate([split.ids for split in splits]).tolist())) == 1797


def test_captions_are_the_templates_with_the_name_of_the_digit():
    split = digits.open_split(16, "test", TEMPLATES)
    for captions, label in zip(split.captions, split.labels["digit"]):
        name = digits.DIGIT_NAMES[label]
        assert captions == (name, f"a {name}")


def test_images_are_dark_on_white_at_any_size():
    index = np.arange(4)
    small, large = (digits.open_split(s, "test", TEMPLATES).load_pixels(index) for s in (8, 16))
    assert (small.shape, large.dtype) == ((4, 3, 8, 8), np.uint8)
    assert np.array_equal(large[:, :, ::2, ::2], small)
    assert np.median(small) > 200
    assert small.min() < 40
