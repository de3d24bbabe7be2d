"""A user's data set that changed since the plan is found before the training."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers import dataset_trees
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import evaluate, run
from uniclip.config import RunConfig
from uniclip.errors import DataChangedError, UserError
from uniclip.store import RunFolder


def write_pictures(folder: Path) -> str:
    """Write a data set of two classes; return its name as a benchmark."""
    for part in ("train", "test"):
        for label in range(2):
            for i in range(6):
                dataset_trees.draw(folder / f"{part}/class {label}/{i}.png", label)
    return f"folder:{folder}"


def plan_run(tmp_path: Path) -> tuple[RunFolder, RunConfig, str, str]:
    """Return a run without weights, its configuration, its data set and the planned hash."""
    name = write_pictures(tmp_path / "pictures")
    config = tiny(train={"steps": 2, "validate_every": 2})
    config = replace(config, runtime=replace(config.runtime, data_root=str(tmp_path)))
    folder = opened(tmp_path / "store", config)
    return folder, config, name, evaluate.evaluation_hash(name, config, folder.cache_path)


def test_nothing_is_trained_for_a_data_set_that_has_changed(tmp_path: Path) -> None:
    folder, config, name, planned_hash = plan_run(tmp_path)
    (tmp_path / "pictures/test/class 0/5.png").unlink()
    with pytest.raises(DataChangedError, match=f"^{name}: the data or its .* changed since the pl"):
        run.execute_run(folder, config, claimed(folder), evaluations={name: planned_hash})
    assert not folder.weights_path.exists()
    dataset_trees.draw(tmp_path / "pictures/test/class 0/5.png", 0)
    end = run.execute_run(folder, config, claimed(folder), evaluations={name: planned_hash})
    assert end == "trained"
    assert folder.read_scores(name, planned_hash) is not None


def test_a_data_set_that_is_away_does_not_stop_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, config, name, planned_hash = plan_run(tmp_path)
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="pictures"):
        run.execute_run(folder, config, claimed(folder), evaluations={name: planned_hash})
    assert folder.weights_path.exists()
    assert f"{name} cannot be evaluated as it is now" in caplog.text
