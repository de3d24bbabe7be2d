"""Doctor's warnings of the training data."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sweeps.doctor.context import DoctorContext
from sweeps.doctor.training_data import check_training_data
from tests.helpers.csv_data import write_csv, write_image_set
from tests.helpers.shards import write_shards
from tests.helpers.small_runs import tiny
from uniclip.data import inspection
from uniclip.errors import UserError


def check(folder: Path, **section: Any) -> list[tuple[str, str, str]]:
    config = tiny(
        data={"name": "csv", "path": str(folder / "data.csv"), "image_size": 32, **section}
    )
    context = SimpleNamespace(resolved_plan=SimpleNamespace(configs={"a": config, "b": config}))
    found = check_training_data(cast(DoctorContext, context))
    return [(d.level, d.message, d.fix) for d in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_image_set(tmp_path, 40)
    return tmp_path


def test_data_without_a_fault_have_no_warning(folder: Path) -> None:
    assert check(folder) == []
    context = SimpleNamespace(resolved_plan=None)
    assert list(check_training_data(cast(DoctorContext, context))) == []


def test_what_should_be_changed_is_a_warning_with_a_remedy(folder: Path) -> None:
    rows = [(f"{i}.png", "the a of in " * 20 + f"number {i}", "") for i in range(40)]
    write_csv(folder, [*rows, ("", "no image", "")])
    skipped, labels, cut = check(folder, label_column="kind")
    assert {level for level, _, _ in (skipped, labels, cut)} == {"warning"}
    assert "1 training row is skipped: " in skipped[1]
    assert "line 42" in skipped[1]
    assert "is empty in all rows" in labels[1]
    assert "data.label_column" in labels[2]
    assert "40 of 40 captions are longer than model.text.context_length=" in cut[1]
    assert "after: 1)" in cut[1]
    assert "set model.text.context_length=" in cut[2]


def test_a_source_with_too_few_samples_is_named_once_the_shards_are_indexed(tmp_path: Path) -> None:
    paths = [write_shards(tmp_path / name, size, 1) for name, size in (("a", 90), ("b", 20))]
    section = {"name": "webdataset", "path": "::".join(paths), "image_size": 16}
    config = tiny(
        data={**section, "weights": [1, 3], "validation_fraction": 0.1}, train={"batch_size": 32}
    )
    inspection.check_batch_sizes([config])  # a plan does not know: nothing is indexed
    context = SimpleNamespace(resolved_plan=SimpleNamespace(configs={"a": config}))
    message = rf"takes 24 of the \d+ training samples of source 2 \({re.escape(paths[1])}\) of "
    with pytest.raises(UserError, match=message):
        list(check_training_data(cast(DoctorContext, context)))
    with pytest.raises(UserError, match=message):
        inspection.check_batch_sizes([config])
