"""The patches that are kept: a function of the key and the sample, uniform, as many as stated."""

from __future__ import annotations

import numpy as np

from uniclip.data.patches import draw_kept_patches

IDS = np.arange(4000, dtype=np.uint64)


def test_each_row_depends_on_its_sample_alone():
    kept = draw_kept_patches(7, IDS[:50], 16, 0.5)
    assert kept.shape == (50, 8)
    assert np.array_equal(draw_kept_patches(7, IDS[:50][::-1], 16, 0.5), kept[::-1])
    assert np.array_equal(draw_kept_patches(7, IDS[30:31], 16, 0.5)[0], kept[30])
    assert not np.array_equal(draw_kept_patches(8, IDS[:50], 16, 0.5), kept)


def test_patches_are_distinct_ascending_and_uniform():
    kept = draw_kept_patches(1, IDS, 10, 0.7)
    assert (np.diff(kept, axis=1) > 0).all()
    shares = np.bincount(kept.ravel(), minlength=10) / len(IDS)
    assert np.abs(shares - 0.3).max() < 5 * (0.3 * 0.7 / len(IDS)) ** 0.5


def test_the_number_is_timms():
    sizes = [draw_kept_patches(0, IDS[:1], n, r).shape[1] for n, r in ((49, 0.5), (4, 0.99))]
    assert sizes == [24, 1]
