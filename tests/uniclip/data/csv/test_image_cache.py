"""The most recently used images stay in memory."""

from __future__ import annotations

import pickle

from uniclip.data.csv.image_cache import ImageCache


def test_the_image_that_was_not_used_for_longest_leaves_first():
    cache: ImageCache[str] = ImageCache(max_bytes=10)
    cache.add(1, "a", 4)
    cache.add(2, "b", 4)
    assert cache.get(1) == "a"
    cache.add(3, "c", 4)
    assert [cache.get(i) for i in (1, 2, 3)] == ["a", None, "c"]
    assert cache.num_bytes == 8
    cache.add(4, "d", 9)
    assert [cache.get(i) for i in (1, 3, 4)] == [None, None, "d"]
    assert pickle.loads(pickle.dumps(cache)) == cache


def test_an_image_larger_than_the_cache_is_not_kept():
    cache: ImageCache[str] = ImageCache(max_bytes=10)
    cache.add(1, "a", 4)
    cache.add(2, "b", 11)
    assert cache.get(1) is cache.get(2) is None
    assert cache.num_bytes == 0


def test_a_smaller_limit_removes_images():
    cache: ImageCache[str] = ImageCache(max_bytes=10)
    for i in range(3):
        cache.add(i, str(i), 3)
    cache.limit(6)
    assert [cache.get(i) for i in range(3)] == [None, "1", "2"]
    cache.add(3, "3", 3)
    assert (cache.num_bytes, cache.get(1)) == (6, None)
