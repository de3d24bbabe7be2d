"""Verdicts on copies are of the samples that the keys of the data section select."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.embedded_data import embedded_config, make_rows, make_table, save_to_disk
from tests.helpers.shards import shards_config, write_labelled_shards
from uniclip.evaluate.checks.image_fingerprint import fingerprint_images


@pytest.mark.parametrize(
    "changes",
    [{"validation_fraction": 0.123}, {"test_fraction": 0.123}, {"where": "width > 1"},
     {"max_held_out": 16}, {"min_side": 9}],
)  # fmt: skip
def test_other_samples_of_shards_have_another_fingerprint(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    path = write_labelled_shards(tmp_path, num_samples=2)
    fingerprint = fingerprint_images(shards_config(path), "train")
    assert fingerprint_images(shards_config(path), "train") == fingerprint
    assert fingerprint_images(shards_config(path), "test") != fingerprint
    other = shards_config(path, **changes)
    assert fingerprint_images(other, "train") != fingerprint
    tests = [fingerprint_images(section, "test") for section in (shards_config(path), other)]
    assert (tests[0] == tests[1]) == ("where" in changes), "a condition selects training samples"


@pytest.mark.parametrize(
    "changes",
    [{"label_column": "label"}, {"key_column": "label"}, {"caption_column": "caption"},
     {"image_column": "image"}, {"where": "score > 0.5"}, {"max_held_out": 16},
     {"test_fraction": 0.3}],
)  # fmt: skip
def test_other_samples_of_a_data_set_have_another_fingerprint(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    """Rows without a caption, for example, are samples only where a column of labels is named."""
    path = save_to_disk(tmp_path / "saved", make_table(make_rows(range(20))))
    sections = [embedded_config(path, **values) for values in ({}, changes)]
    first, second = (fingerprint_images(section, "train") for section in sections)
    assert first != second
