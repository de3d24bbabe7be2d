"""The evaluation of a model in a run's folder, apart from its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import fake_sweep
from tests.helpers.checkpoint_ablations import write_captioned_images, write_open_clip_checkpoint
from uniclip import evaluate
from uniclip.checkpoints import published
from uniclip.errors import DataChangedError
from uniclip.run_evaluation import RunEvaluation
from uniclip.store import Store


def make_evaluation(folder: Path, **changes: Any) -> RunEvaluation:
    store = Store(folder / "store")
    run = store.get_run("0" * 16)
    run.write_spec({})
    pretrained = published.load_model(write_open_clip_checkpoint(folder / "model.pt"))
    values = {"stop": lambda: False, "attempt": fake_sweep.begin(store, run.id), **changes}
    return RunEvaluation(
        run=run, pretrained=pretrained, config=pretrained.config, weights_digest="w", step=5,
        total_steps=5, **values,
    )  # fmt: skip


def test_a_data_set_that_fails_does_not_prevent_the_others(tmp_path: Path) -> None:
    evaluation = make_evaluation(tmp_path)
    names = [
        write_captioned_images(tmp_path / name, "test", start)
        for name, start in (("one", 0), ("two", 8))
    ]
    hashes = {name: evaluate.evaluation_hash(name, evaluation.config) for name in names}
    (tmp_path / "one" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataChangedError, match=r"one/test\.csv .*changed since the plan"):
        evaluation.evaluate(hashes)
    run, (first, second) = evaluation.run, names
    assert run.read_scores(first, hashes[first]) is None
    assert run.read_scores(second, hashes[second]) is not None
    with np.load(run.predictions_path(second, hashes[second]), allow_pickle=False) as arrays:
        assert "near_duplicate" not in arrays, "the training images are not known"
    heartbeat = evaluation.attempt.read_heartbeat()
    assert heartbeat is not None
    assert heartbeat.phase.startswith("evaluating csv:")


def test_nothing_is_published_by_an_attempt_that_is_stopped_or_superseded(tmp_path: Path) -> None:
    name = write_captioned_images(tmp_path / "images", "test")
    evaluation = make_evaluation(tmp_path, stop=lambda: True)
    hashes = {name: evaluate.evaluation_hash(name, evaluation.config)}
    assert evaluation.evaluate(hashes) == "interrupted"
    evaluation.stop = lambda: False
    fake_sweep.begin(Store(tmp_path / "store"), evaluation.run.id)
    assert evaluation.evaluate(hashes) == "superseded"
    assert not evaluation.run.has_scores(hashes)
