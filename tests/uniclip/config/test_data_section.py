"""What all data sections have in common."""

from __future__ import annotations

import pytest

from tests.helpers.small_runs import of_method
from uniclip.config import DATA, DataConfig
from uniclip.config.data_section import count_allowed
from uniclip.errors import UserError


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


@pytest.mark.parametrize(
    ("section", "has_subsets"),
    [
        ({"name": "csv", "path": "a.csv"}, True),
        ({"name": "webdataset", "path": "a::b"}, True),
        ({"name": "webdataset", "path": "a::b", "weights": [1, 2]}, False),
        ({"name": "webdataset", "path": "a", "order": "windowed"}, False),
        ({"name": "webdataset", "path": "a", "labelled_path": "b"}, False),
        ({"name": "huggingface", "path": "a"}, True),
        ({"name": "huggingface", "path": "a", "order": "windowed"}, False),
        ({"name": "mix"}, False),
    ],
)
def test_a_subset_needs_data_that_are_shuffled_as_a_whole(section, has_subsets):
    """Refused before anything is planned."""
    assert of_method("unicl", data=section).data.has_one_order == has_subsets
    train = {"subset_size": 20, "batch_size": 16}
    if has_subsets:
        assert of_method("unicl", data=section, train=train).train.subset_size == 20
        return
    with pytest.raises(UserError, match="subset_size=20 needs data of one source that are shuffl"):
        of_method("unicl", data=section, train=train)
