"""The learning-rate schedule, the parameter groups, and AdamW."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from uniclip.config import TrainConfig
from uniclip.training import optimizer

TRAIN = TrainConfig(
    steps=100, learning_rate=0.5, warmup_ratio=0.1, weight_decay=0.3, similarity_lr_mult=7
)


class _Encoder(nn.Module):
    """An encoder with a parameter of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.LayerNorm(8)
        self.layer_scale = nn.Parameter(torch.ones(8, 1, 1))
        self.position = nn.Parameter(torch.ones(1, 4, 8))
        self.frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)

    def no_weight_decay(self) -> set[str]:
        return {"position"}


class _Method(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(3))
        self.predictor = nn.Linear(4, 4)


@pytest.fixture
def modules() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"embedder": _Encoder(), "method": _Method()})


def test_the_learning_rate_rises_to_the_peak_and_falls_to_zero():
    rates = [optimizer.compute_learning_rate(step, TRAIN) for step in range(101)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[9] == rates[10] == 0.5
    assert rates[55] == pytest.approx(0.25)
    assert rates[99] > 0
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_learning_rate_is_positive_at_every_step(steps, warmup):
    train = TrainConfig(steps=steps, warmup_ratio=warmup)
    rates = [optimizer.compute_learning_rate(step, train) for step in range(steps)]
    assert all(0 < r <= train.learning_rate and math.isfinite(r) for r in rates)


def test_the_first_and_the_last_learning_rate_can_be_set():
    train = replace(TRAIN, warmup_start_lr=0.1, min_lr=0.05)
    rates = [optimizer.compute_learning_rate(step, train) for step in range(101)]
    assert rates[0] == pytest.approx(0.1 + 0.4 / 10), "a tenth of the way up"
    assert rates[9] == rates[10] == 0.5
    assert rates[55] == pytest.approx((0.5 + 0.05) / 2)
    assert rates[99] == pytest.approx(0.05 + 0.45 * 0.5 * (1 + math.cos(math.pi * 89 / 90)))
    assert rates[100] == pytest.approx(0.05)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(("batch", "factor"), [(64, 1 / 8), (512, 1), (4096, 8)])
def test_learning_rates_scale_with_the_batch_size(batch, factor):
    stated = replace(TRAIN, warmup_start_lr=0.1, min_lr=0.05, batch_size=batch)
    grown = replace(stated, lr_base_batch_size=512)
    for step in (0, 9, 50, 99):
        assert optimizer.compute_learning_rate(
            step, grown
        ) == factor * optimizer.compute_learning_rate(step, stated)


def test_parameters_are_grouped_by_shape_and_purpose(modules):
    similarity = [modules["method"].log_scale]
    names = {
        g: [n for n, _ in m] for g, m in optimizer.group_parameters(modules, similarity).items()
    }
    assert names["decay"] == ["embedder.conv.weight", "method.predictor.weight"]
    assert names["similarity"] == ["method.log_scale"]
    assert set(names["no_decay"]) == {
        "embedder.layer_scale",
        "embedder.position",
        "embedder.conv.bias",
        "embedder.norm.weight",
        "embedder.norm.bias",
        "method.predictor.bias",
    }


def test_learning_rate_and_decay_of_groups(modules):
    adamw = optimizer.build_optimizer(modules, [modules["method"].log_scale], TRAIN)
    optimizer.set_learning_rate(adamw, 0.1)
    groups = {g["name"]: (g["lr"], g["weight_decay"]) for g in adamw.param_groups}
    assert groups == {
        "decay": (0.1, 0.3),
        "no_decay": (0.1, 0.0),
        "similarity": (pytest.approx(0.7), 0.0),
    }


def test_a_modulation_can_have_a_learning_rate_of_its_own(modules):
    conv = modules["embedder"].conv
    arguments = modules, [modules["method"].log_scale], TRAIN
    adamw = optimizer.build_optimizer(
        *arguments, modulation_parameters=[conv.weight, conv.bias], modulation_lr_mult=3.0
    )
    optimizer.set_learning_rate(adamw, 0.1)
    groups = {g["name"]: g for g in adamw.param_groups}
    expected = {"modulation_decay": (conv.weight, 0.3), "modulation_no_decay": (conv.bias, 0.0)}
    for name, (parameter, weight_decay) in expected.items():
        assert [id(p) for p in groups[name]["params"]] == [id(parameter)]
        assert groups[name]["lr"] == pytest.approx(0.3)
        assert groups[name]["weight_decay"] == weight_decay
    equal = optimizer.build_optimizer(*arguments, modulation_parameters=[conv.weight, conv.bias])
    assert [g["name"] for g in equal.param_groups] == ["decay", "no_decay", "similarity"]


@pytest.mark.parametrize("epsilon", [1e-8, 0.5])
def test_a_step_equals_adamw_of_the_paper(modules, epsilon):
    weight = modules["embedder"].conv.weight
    before = weight.detach().double().clone()
    adamw = optimizer.build_optimizer(
        modules, [modules["method"].log_scale], replace(TRAIN, adam_eps=epsilon)
    )
    optimizer.set_learning_rate(adamw, 0.1)
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    adamw.step()
    gradient = weight.grad.double()
    # After one step, the bias-corrected moments are the gradient and its square.
    expected = before * (1 - 0.1 * 0.3) - 0.1 * gradient / (gradient.abs() + epsilon)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_same_gradients_give_the_same_bits():
    def stepped() -> list[torch.Tensor]:
        torch.manual_seed(3)
        modules = nn.ModuleDict({"embedder": _Encoder(), "method": _Method()})
        adamw = optimizer.build_optimizer(modules, [modules["method"].log_scale], TRAIN)
        for _ in range(3):
            for parameter in modules.parameters():
                parameter.grad = torch.randn_like(parameter)
            adamw.step()
        return [p.detach() for p in modules.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(stepped(), stepped()))
