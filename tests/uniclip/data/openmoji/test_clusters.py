"""Clusters of emojis: variants by skin tone, gender, age and direction, and equal images."""

from __future__ import annotations

import numpy as np

from tests.helpers.openmoji_subset import make_emoji
from uniclip import data
from uniclip.config import OpenmojiData, build_run_config
from uniclip.data.openmoji import clusters, split
from uniclip.identity import to_hashable_config


def group(*codes, **digests):
    """Return the clusters of emojis with these codes as sets of codes, in order."""
    emojis = [make_emoji(code, image_digest=digests.get(code.replace("-", "_"))) for code in codes]
    found = clusters.find_clusters(emojis)
    assert all(name in codes for name in found)
    return [
        {code for code, other in zip(codes, found) if other == name}
        for name in dict.fromkeys(found)
    ]


def test_variants_of_one_emoji_are_a_family():
    runners = (
        "1F3C3", "1F3C3-1F3FB", "1F3C3-1F3FF-200D-2640-FE0F", "1F3C3-200D-2642-FE0F-200D-27A1-FE0F",
    )  # fmt: skip
    farmers = ("1F468-1F3FC-200D-1F33E", "1F469-200D-1F33E", "1F9D1-1F3FF-200D-1F33E")
    pairs = (
        "1F469-200D-2764-FE0F-200D-1F468", "1F9D1-1F3FB-200D-2764-FE0F-200D-1F9D1-1F3FC",
    )  # fmt: skip
    single = ("1F33E", "2764-FE0F", "1F468-200D-1F33F")
    found = group(*runners, *farmers, *pairs, *single)
    assert found == [set(runners), set(farmers), set(pairs), *({code} for code in single)]


def test_ages_are_clusters_of_their_own():
    assert group("1F468", "1F9D2", "1F467", "1F475", "1F9D1-1F3FB") == [
        {"1F468", "1F9D1-1F3FB"}, {"1F9D2", "1F467"}, {"1F475"},
    ]  # fmt: skip


def test_equal_images_join_clusters():
    """Also where one image equals a variant of another family."""
    found = group("1F1E6", "1F1E7", "1F3C3", "1F3C3-1F3FB", **{"1F1E7": "x", "1F3C3_1F3FB": "x"})
    assert found == [{"1F1E6"}, {"1F1E7", "1F3C3", "1F3C3-1F3FB"}]


def test_the_order_does_not_matter():
    random = np.random.default_rng(0)
    codes = [f"{base:X}-1F3F{tone}" for base in range(40, 60) for tone in "BCD"]
    emojis = [make_emoji(code, image_digest=str(random.integers(30))) for code in codes]
    order = random.permutation(len(emojis))
    expected = clusters.find_clusters(emojis)
    shuffled = clusters.find_clusters([emojis[i] for i in order])
    assert [expected[i] for i in order] == shuffled


def test_no_family_is_in_two_splits(cache):
    emojis = [
        make_emoji(f"{base:04X}-1F3F{tone}", image_digest=f"{base if base % 7 else 0}.{tone}")
        for base in range(2000)
        for tone in "BCD"
    ]
    by_family = split.assign_splits(emojis, "family")
    family_of = clusters.find_clusters(emojis)
    assert len(set(zip(family_of, by_family))) == len(set(family_of)) < 2000
    shares = [by_family.count(name) / len(emojis) for name in data.SPLIT_NAMES]
    np.testing.assert_allclose(shares, [0.6, 0.1, 0.3], atol=0.15)  # one family is a seventh
    assert split.assign_splits(emojis) != by_family


def test_splits_state_their_clusters_and_their_rule(cache):
    for split_by in ("image", "family"):
        config = OpenmojiData(image_size=16, split_by=split_by)
        test, train = (data.open_split(config, part) for part in ("test", "train"))
        assert test.clusters.shape == (len(test),)
        assert test.clusters.dtype == np.uint64
        if split_by == "family":
            assert not set(test.clusters.tolist()) & set(train.clusters.tolist())
        assert split_by in data.fingerprint(config)["split"]


def test_the_default_leaves_run_ids_as_they_are():
    def hashed(**section):
        config = build_run_config(
            {"data": {"name": "openmoji", **section}, "method": {"name": "clip"}}
        )
        return to_hashable_config(config)["data"]

    assert hashed() == hashed(split_by="image")
    assert "split_by" not in hashed()
    assert hashed(split_by="family")["split_by"] == "family"
