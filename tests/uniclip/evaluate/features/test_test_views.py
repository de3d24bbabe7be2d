"""Augmented views of test images."""

from __future__ import annotations

import numpy as np

from tests.helpers import stub_models
from uniclip.evaluate.features import test_views

N = 96


DATA = {"name": "scenes", "num_train": 64, "num_test": N}


def test_views_are_the_same_for_every_model():
    test_views.draw_view.cache_clear()
    source = stub_models.config(DATA).data
    first = test_views.draw_view(source, "strong", 0, 32)
    test_views.draw_view.cache_clear()
    again = test_views.draw_view(source, "strong", 0, 32)
    assert (first.pixels == again.pixels).all()
    assert (first.vectors == again.vectors).all()
    assert np.abs(first.vectors).sum(axis=1).min() > 0  # no view is the evaluation's
