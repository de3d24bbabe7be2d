"""Scenes as a data source: always present, and their views may be damaged."""

from __future__ import annotations

import numpy as np

from uniclip import data
from uniclip.config import RedrawProbabilities, ScenesData
from uniclip.data.scenes import source, views

IDS = np.arange(100, dtype=np.uint64)


def test_scenes_are_never_missing():
    assert data.describe_missing(ScenesData()) is None
    content = {**source.fingerprint(ScenesData()), "views": data.VIEWS_VERSION}
    assert data.fingerprint(ScenesData(num_train=16)) == content


def test_views_are_those_of_scenes():
    config = ScenesData(redraw_prob=RedrawProbabilities(side=1, hue=1))
    expected = views.sample_scene_view(config, "strong", 5, IDS, 0.1)
    params = data.sample_view(config, "strong", 5, IDS, 0.1, min_crop_scale=0.01)
    assert expected.flip.any()
    assert np.array_equal(params.flip, expected.flip)
    assert np.array_equal(params.area, expected.area)
