"""Optimizers of timm by name: parameter groups, resume, and errors for what does not suit."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.small_runs import claimed, opened, tiny
from tests.helpers.training_runs import equal_weights, get_weights, stop_after
from uniclip.config import TrainConfig
from uniclip.errors import UserError
from uniclip.training import optimizer_query, trainer
from uniclip.training.optimizer_factory import create_optimizer

OPTIONS = {"lamb": {"betas": [0.8, 0.95]}, "adafactor": {}}
"""Optimizers that keep values for a group, and numbers for a parameter."""


@pytest.mark.parametrize("name", OPTIONS)
def test_training_with_another_optimizer_resumes_bit_for_bit(name, tmp_path):
    train = {"steps": 4, "optimizer": name, "optimizer_options": OPTIONS[name], "layer_decay": 0.5}
    config = tiny(train=train)
    whole = trainer.train_model(config)
    run = opened(tmp_path, config)
    trainer.train_model(config, attempt=claimed(run), stop=stop_after(2))
    resumed = trainer.train_model(config, attempt=claimed(run))
    assert equal_weights(get_weights(resumed), get_weights(whole))


def test_groups_have_their_own_decay_and_learning_rate():
    state = trainer.setup_training(tiny(train={"optimizer": "lion", "layer_decay": 0.5}))[1]
    assert type(state.optimizer).__name__ == "Lion"
    decays = {g["name"]: g["weight_decay"] for g in state.optimizer.param_groups}
    assert decays == {"decay": 0.1, "no_decay": 0.0, "similarity": 0.0}
    assert len({g["lr_scale"] for g in state.optimizer.param_groups}) > 3


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("lambb", {}, r"^unknown train\.optimizer 'lambb': did you mean lamb"),
        ("fusedlamb", {}, "fusedlamb is not supported: it needs NVIDIA's APEX"),
        ("adahessian", {}, "is not supported: it needs second derivatives"),
        (
            "lamb",
            {"beta": 1},
            r"^train\.optimizer_options do not suit .*=lamb: .*beta",
        ),
        ("adamw", {"beta": 1}, r"^train\.optimizer_options do not suit train\.optimizer=adamw"),
    ],
)
def test_what_does_not_suit_is_one_line(name, options, match):
    train = TrainConfig(optimizer=name, optimizer_options=options)
    with pytest.raises(UserError, match=match) as caught:
        create_optimizer([{"params": [torch.nn.Parameter(torch.zeros(2, 2))]}], train)
    assert "\n" not in str(caught.value)
    assert optimizer_query.describe_optimizer(name, options) == {"error": str(caught.value)}


@pytest.mark.parametrize(
    ("train", "match"),
    [
        ({"optimizer_options": {"lr": 1}}, r"options\.lr is set by train\.learning_rate"),
        ({"optimizer_options": {"betas": [0, 0]}}, r"betas is set by train\.adam_betas"),
        (
            {"optimizer": "lamb", "adam_eps": 1e-6},
            r"train\.optimizer_options\.eps, .* at 1e-08",
        ),
        (
            {"optimizer": "lamb", "adam_betas": [0.9, 0.9]},
            r"train\.adam_betas is of train\.optimizer=adamw: .* at \[0\.9, 0\.98\]",
        ),
    ],
)
def test_keys_that_name_the_same_setting_are_refused(train, match):
    with pytest.raises(UserError, match=match):
        tiny(train=train)


def test_options_reach_adamw():
    state = trainer.setup_training(tiny(train={"optimizer_options": {"amsgrad": True}}))[1]
    assert all(g["amsgrad"] and g["fused"] for g in state.optimizer.param_groups)
