"""Metrics that are read every few steps give the run that reads every step, also if it diverges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.helpers.small_runs import claimed, of_method, opened
from tests.helpers.training_runs import equal_weights, get_weights, stop_after
from uniclip.config import RunConfig
from uniclip.io.atomic import read_jsonl
from uniclip.training import divergence, trainer, training_step

CLOCKS = ("seconds", "attempt_seconds", "waited_seconds", "seconds_per_step", "peak_memory_bytes")
STEPS, FAILING_STEP = 9, 8
"""Metrics are read after steps 1, 5 and 9."""


def make_config(method: str, **train: object) -> RunConfig:
    train = {"steps": STEPS, "batch_size": 8, "validate_every": STEPS, **train}
    return of_method(method, train=train, runtime={"log_every": 100})


def train_both(monkeypatch, config, **arguments) -> list[trainer.TrainResult]:
    """Return the training that reads every step, and that which reads every fifth."""
    each = trainer.train_model(config, **arguments)
    monkeypatch.setattr(divergence, "READ_INTERVALS", {})
    return [each, trainer.train_model(config, **arguments)]


def without_clocks(history: list[dict]) -> list[dict]:
    return [{k: v for k, v in record.items() if k not in CLOCKS} for record in history]


def break_step(monkeypatch, failing_step: int) -> None:
    """Make the norm of the gradient infinite in one step of every training."""
    real, compute = training_step.nn.utils.clip_grad_norm_, training_step.optimizer
    compute_learning_rate, steps = compute.compute_learning_rate, []

    def note_step(step, train):
        steps.append(step + 1)
        return compute_learning_rate(step, train)

    monkeypatch.setattr(compute, "compute_learning_rate", note_step)
    monkeypatch.setattr(
        training_step.nn.utils,
        "clip_grad_norm_",
        lambda parameters, clip: (
            real(parameters, clip) * (math.inf if steps[-1] == failing_step else 1)
        ),
    )


@pytest.mark.parametrize("method", ["clip", "slip", "declip"])
def test_a_diverged_run_is_as_its_failing_step_left_it(monkeypatch, method):
    """Weights, running statistics, the queue, the step and the records."""
    break_step(monkeypatch, FAILING_STEP)
    each, fifth = train_both(monkeypatch, make_config(method))
    for result in (each, fifth):
        assert (result.kind, result.step) == ("diverged", FAILING_STEP - 1)
    assert equal_weights(get_weights(fifth), get_weights(each))
    assert without_clocks(fifth.history) == without_clocks(each.history)


def test_a_run_that_does_not_diverge_is_the_same(monkeypatch):
    each, fifth = train_both(monkeypatch, make_config("declip", grad_clip_norm=0.5))
    assert (each.kind, fifth.kind) == ("trained", "trained")
    assert equal_weights(get_weights(fifth), get_weights(each))
    assert without_clocks(fifth.history) == without_clocks(each.history)
    assert 0 < fifth.history[-3]["clipped_fraction"] <= 1


@pytest.mark.parametrize("train", [{"ema_decay": 0.9}, {"optimizer": "lion"}])
def test_steps_that_cannot_be_skipped_on_the_device_are_read(monkeypatch, train):
    """Averaged weights, and an optimizer of timm."""
    monkeypatch.setattr(divergence, "READ_INTERVALS", {})
    break_step(monkeypatch, 3)
    config = make_config("clip", **train)
    _, state = trainer.setup_training(config)
    assert state.latch.must_read_norm
    assert state.latch.read_interval == 1
    diverged = trainer.train_model(config)
    assert (diverged.kind, diverged.step) == ("diverged", 2)
    monkeypatch.undo()
    stopped = trainer.train_model(config, stop=stop_after(2))
    assert equal_weights(get_weights(diverged), get_weights(stopped))


def test_a_stop_and_the_event_wait_for_the_next_read(monkeypatch, tmp_path):
    monkeypatch.setattr(divergence, "READ_INTERVALS", {})
    config = make_config("clip")
    stopped = trainer.train_model(config, stop=stop_after(2))
    assert (stopped.kind, stopped.step) == ("stopped", 5)
    break_step(monkeypatch, FAILING_STEP)
    attempt = claimed(opened(tmp_path, config))
    trainer.train_model(config, attempt=attempt)
    (event,) = [e for e in read_jsonl(attempt.events_path) if e["event"] == "diverged"]
    assert event["step"] == FAILING_STEP
    assert event["grad_norm"] == "nan" or event["grad_norm"] == "inf"
    assert math.isfinite(float(event["loss"]))


@pytest.mark.parametrize(
    ("step", "is_due"), [(1, True), (2, False), (5, True), (7, True), (8, False), (9, True)]
)
def test_metrics_are_read_where_something_depends_on_them(monkeypatch, step, is_due):
    """The first and the last step, every fifth, and where a record is due."""
    monkeypatch.setattr(divergence, "READ_INTERVALS", {})
    config = make_config("clip")
    config = replace(config, runtime=replace(config.runtime, log_every=7))
    latch = trainer.setup_training(config)[1].latch
    assert latch.is_read_due(step, config) == is_due
    assert torch.equal(latch.is_set, torch.zeros(()))
