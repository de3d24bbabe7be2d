"""The section of data sets with embedded images: what it refuses, and its defaults."""

from __future__ import annotations

import pytest

from uniclip.config import HuggingfaceData
from uniclip.errors import UserError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_groups": 4}, "data.window_groups=4 does nothing with data.order=full"),
        ({"label_templates": ()}, "must have at least one template"),
        ({"label_templates": ("a photo",)}, "must have one {} for the name"),
        ({"where": "score >"}, "cannot be read: write comparisons"),
    ],
)
def test_values_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        HuggingfaceData(**changes)


def test_labels_make_batches_labelled():
    assert HuggingfaceData(label_column="label").labelled
    assert not HuggingfaceData().labelled
    assert HuggingfaceData(order="windowed", window_groups=4).window_groups == 4
    assert HuggingfaceData().count_allowed_broken(10) == 1
