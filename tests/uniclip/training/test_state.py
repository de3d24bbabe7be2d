"""The state of training: resume, best weights, numerics class."""

from __future__ import annotations

import math

import pytest

from tests.helpers.small_runs import claimed, opened, tiny
from tests.helpers.training_runs import copy_weights, equal_weights, stop_after
from uniclip import numerics
from uniclip.io.atomic import read_jsonl
from uniclip.training import trainer


def test_a_resume_in_another_numerics_class_is_recorded(tmp_path, monkeypatch):
    run = opened(tmp_path, tiny())
    trainer.train_model(tiny(), attempt=claimed(run), stop=stop_after(1))
    numerics_class = numerics.get_numerics_class(tiny())
    other_class = {**numerics_class, "cpu_capability": "elsewhere"}
    monkeypatch.setattr(numerics, "get_numerics_class", lambda config: other_class)
    second = claimed(run)
    trainer.train_model(tiny(), attempt=second)
    (resumed,) = [
        record for record in read_jsonl(second.events_path) if record["event"] == "resumed"
    ]
    assert resumed["numerics_changed"] == {
        "cpu_capability": [numerics_class["cpu_capability"], "elsewhere"]
    }


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.5, 0.5], 4),
        ([0.5, 0.5, 0.1], 2),
        ([math.nan, 0.0, -1.0], 4),
        ([math.nan] * 3, None),
    ],
)
def test_the_earliest_best_weights_are_stored(scores, best):
    score_iterator, weights_by_step = iter(scores), {}
    step = iter((2, 4, 6))

    def validate(pretrained) -> float:
        weights_by_step[next(step)] = copy_weights(pretrained)
        return next(score_iterator)

    result = trainer.train_model(tiny(), validate=validate)
    assert result.best_step == best
    assert (
        result.best_state is None
        if best is None
        else equal_weights(result.best_state, weights_by_step[best])
    )
    records = [record for record in result.history if record["phase"] == "validation"]
    assert [record["step"] for record in records] == [2, 4, 6]
    assert [record["score"] for record in records if record["best"]][-1:] == (
        [scores[best // 2 - 1]] if best else []
    )
