"""What all data sections have in common."""

from __future__ import annotations

import pytest

from uniclip.config import DATA, DataConfig
from uniclip.config.data_section import count_allowed


@pytest.mark.parametrize(
    ("max_broken", "num_samples", "allowed"),
    [(0.0, 1000, 0), (0.01, 10, 1), (0.01, 1000, 10), (0.5, 9, 4), (1.0, 3, 3)],
)
def test_one_sample_may_be_skipped_unless_none_may(max_broken, num_samples, allowed):
    assert count_allowed(max_broken, num_samples) == allowed


def test_every_section_has_the_optional_members():
    for data_class in DATA.values():
        assert DataConfig in data_class.__mro__
        assert data_class.primary_score is not None
        data_class().check_batch_size(16)
