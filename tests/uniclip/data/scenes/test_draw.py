"""Drawn scenes show what their attributes say."""

from __future__ import annotations

import numpy as np

from tests.helpers.scene_images import draw_scenes_with, find_shapes


def test_images_show_their_attributes():
    left, right = (
        find_shapes(draw_scenes_with(side="left")),
        find_shapes(draw_scenes_with(side="right")),
    )
    assert not left[..., 16:].any()
    assert not right[..., :16].any()
    small, large = (find_shapes(draw_scenes_with(size=s)).sum((1, 2)) for s in ("small", "large"))
    assert 1.4 < large.mean() / small.mean() < 2.1
    areas = [
        find_shapes(draw_scenes_with(count=c)).sum((1, 2)).mean() for c in ("one", "two", "three")
    ]
    np.testing.assert_allclose(np.array(areas) / areas[0], [1, 2, 3], rtol=0.05)
    grey = draw_scenes_with(colour="grey")
    assert (grey == grey[:, :1]).all()
    red = draw_scenes_with(colour="red").astype(int)
    assert (red[:, 0] - red[:, 1])[find_shapes(red)].min() > 0
