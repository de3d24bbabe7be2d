"""The splits of scenes: held-out combinations, balance, captions."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip import data
from uniclip.config import ScenesData
from uniclip.data.scenes import attributes, draw
from uniclip.data.scenes.split import _build_held_out_mask, is_held_out, sample_attributes


def test_a_fifth_of_the_combinations_is_held_out():
    held_out = _build_held_out_mask()
    assert held_out.sum() == round(0.2 * len(held_out))
    assert not is_held_out(sample_attributes("train")).any()
    assert not is_held_out(sample_attributes("validation")).any()
    share = is_held_out(sample_attributes("test")).mean()
    assert 0.15 < share < 0.25


def test_splits_are_balanced_and_disjoint():
    config = ScenesData(num_train=400, num_test=200)
    splits = {split_name: data.open_split(config, split_name) for split_name in data.SPLIT_NAMES}
    assert [len(s) for s in splits.values()] == [400, 200, 200]
    assert len(set(np.concatenate([s.ids for s in splits.values()]).tolist())) == 800
    for split_name in ("validation", "test"):
        assert splits[split_name].labels["side"].mean() == 0.5
    train = splits["train"]
    for i, caption in enumerate(train.sample_names[:50]):
        for name, classes in train.class_names.items():
            assert classes[train.labels[name][i]] in caption
    assert train.captions[3] == (train.sample_names[3],)


def test_a_scene_is_a_function_of_its_id():
    split = data.open_split(ScenesData(num_train=40, num_test=16), "train")
    larger = data.open_split(ScenesData(num_train=400, num_test=16), "train")
    index = np.array([7, 3, 7])
    pixels = split.load_pixels(index)
    assert np.array_equal(pixels, larger.load_pixels(index))
    assert np.array_equal(
        pixels, draw.draw_scenes(split.attribute_rows[index], split.ids[index], 32)
    )
    assert np.array_equal(pixels, split.load_pixels(index))
    assert not np.array_equal(pixels[0], pixels[1])


@pytest.mark.parametrize("split_name", ["train", "test"])
def test_swapped_captions_and_omitted_attributes(split_name):
    config = ScenesData(
        num_train=2000, num_test=64, caption_swap_prob=0.3, attribute_dropout_prob=0.2
    )
    split = data.open_split(config, split_name)
    captions = [c[0] for c in split.captions]
    if split_name == "test":
        assert captions == list(split.sample_names)
        return
    sides = [f"on the {attributes.ATTRIBUTES['side'][s]}" for s in split.labels["side"]]
    mentions_side = np.array(["on the" in t for t in captions])
    contradicts = np.array([s not in t for s, t in zip(sides, captions, strict=True)])[
        mentions_side
    ]
    assert abs(mentions_side.mean() - 0.8) < 0.03
    assert abs(contradicts.mean() - 0.15) < 0.03
