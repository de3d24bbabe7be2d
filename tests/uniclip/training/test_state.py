"""The state of training: resume, best weights, numerics class."""

from __future__ import annotations

import math

import pytest
import torch

from tests.helpers.small_runs import claimed, of_method, opened, tiny
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


def perturb(relative_std, **sections):
    """Return the initial weights of two runs: unchanged, and perturbed."""
    runs = (tiny(**sections), tiny(train={"weight_perturbation": relative_std}, **sections))
    return [trainer.setup_training(run)[1] for run in runs]


def test_initial_weights_are_perturbed_by_the_stated_share():
    state, perturbed_state = perturb(1e-3)
    weights, perturbed = (dict(s.modules.named_parameters()) for s in (state, perturbed_state))
    ratios = torch.cat(
        [(perturbed[n] / w)[w != 0].detach().flatten() - 1 for n, w in weights.items() if w.ndim]
    )
    assert abs(ratios.mean().item()) < 1e-4
    assert ratios.std().item() == pytest.approx(1e-3, rel=0.05)
    assert all(torch.equal(perturbed[n] == 0, w == 0) for n, w in weights.items())
    again = trainer.setup_training(tiny(train={"weight_perturbation": 1e-3}))[1]
    assert equal_weights(again.modules.state_dict(), perturbed_state.modules.state_dict())


def test_a_perturbation_as_small_as_rounding_changes_the_weights_and_no_draw():
    state, perturbed_state = perturb(1e-6)
    name = "embedder.image_head.projection.weight"
    change = perturbed_state.modules.state_dict()[name] - state.modules.state_dict()[name]
    assert 0 < change.abs().max() < 1e-5
    batches = [trainer.setup_training(s.config)[0].build_batch(3) for s in (state, perturbed_state)]
    assert torch.equal(batches[0].images, batches[1].images)
    assert torch.equal(batches[0].sample_ids, batches[1].sample_ids)


def test_the_perturbation_is_that_of_the_seed_and_leaves_locked_towers():
    first, other = (perturb(1e-3, seed=seed)[1].modules.state_dict() for seed in (0, 1))
    assert not equal_weights(first, other)
    state, perturbed_state = perturb(1e-3, lock="image")
    tower = "embedder.image_encoder."
    for name, value in state.modules.state_dict().items():
        if name.startswith(tower):
            assert torch.equal(value, perturbed_state.modules.state_dict()[name])


# ---- averaged weights ----------------------------------------------------------------------------


def collect_steps(config, monkeypatch):
    """Return a training's weights after each step, and the result."""
    steps, update = [], trainer.TrainState.update_average

    def record(state):
        steps.append({k: v.clone() for k, v in state.modules.state_dict().items()})
        update(state)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.TrainState, "update_average", record)
        return steps, trainer.train_model(config)


@pytest.mark.parametrize("method", ["uniclip", "declip"])
def test_the_average_is_that_of_the_weights_after_each_step(method, monkeypatch):
    short = {"steps": 4}
    config = of_method(method, train={**short, "ema_decay": 0.75})
    steps, result = collect_steps(config, monkeypatch)
    plain = trainer.train_model(of_method(method, train=short))
    assert equal_weights(steps[-1], copy_weights(plain.pretrained)), "the same training"
    average = {k: v.double() for k, v in steps[0].items()}
    for weights in steps[1:]:
        average = {k: 0.75 * average[k] + 0.25 * v.double() for k, v in weights.items()}
    published = copy_weights(result.pretrained)
    assert not equal_weights(published, steps[-1])
    for name, value in published.items():
        if value.dtype == torch.float32:
            torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-6)
    if method == "uniclip":  # DeCLIP's scale stays at its bound in so few steps
        assert result.pretrained.image_text_scale() != plain.pretrained.image_text_scale()


def test_the_averaged_weights_are_validated_and_resumed_bit_for_bit(tmp_path):
    validated = []

    def validate(pretrained) -> float:
        validated.append(copy_weights(pretrained))
        return float(len(validated))

    config = tiny(train={"ema_decay": 0.6})
    whole = trainer.train_model(config, validate=validate)
    assert equal_weights(whole.best_state, copy_weights(whole.pretrained))
    assert equal_weights(validated[-1], whole.best_state)
    run = opened(tmp_path, config)
    for cut in (1, 3):
        trainer.train_model(config, attempt=claimed(run), validate=validate, stop=stop_after(cut))
    resumed = trainer.train_model(config, attempt=claimed(run), validate=validate)
    assert equal_weights(copy_weights(resumed.pretrained), copy_weights(whole.pretrained))
    assert equal_weights(resumed.best_state, whole.best_state)
