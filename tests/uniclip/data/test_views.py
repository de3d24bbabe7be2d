"""The views of sources without their own augmentation are those of the policies."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from uniclip import data
from uniclip.augmentation import transform
from uniclip.config import DATA
from uniclip.data.views import sample_view

IDS = np.arange(50, dtype=np.uint64)


def equal(a, b):
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


@pytest.mark.parametrize("name", ["openmoji", "csv", "mix"])
def test_sources_sample_by_the_policies(name):
    config = DATA[name]()
    for kind, expected in (
        ("weak", transform.sample_weak(3, IDS, 0.2)),
        ("strong", transform.sample_strong(3, IDS, 0.2, 0.08)),
        ("evaluation", transform.build_evaluation_params(50)),
    ):
        assert equal(data.sample_view(config, kind, 3, IDS, 0.2, 0.08), expected)
        assert equal(sample_view(config, kind, 3, IDS, 0.2, 0.08), expected)


def test_the_smallest_crop_is_that_of_the_strong_policy():
    default = data.sample_view(DATA["openmoji"](), "strong", 3, IDS, 0.0)
    scale = transform.STRONG_POLICY.min_crop_scale
    assert equal(default, transform.sample_strong(3, IDS, 0.0, scale))
