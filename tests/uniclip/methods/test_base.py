"""The interface of every method: loss terms, their sum, and the range of the temperature."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ablations.plan.comparison_facts import collect_comparison_facts
from tests.helpers.small_models import (
    build_batch,
    build_method_and_embedder,
)
from tests.helpers.small_runs import of_method, tiny
from tests.helpers.toy_method import ToyMethod
from uniclip import methods
from uniclip.config import METHODS
from uniclip.errors import UserError
from uniclip.training import trainer


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_every_method_implements_the_interface(vocabulary, name):
    config = of_method(name)
    method, embedder = build_method_and_embedder(config, vocabulary)
    batch = build_batch(vocabulary, config.views.num_weak + config.views.num_strong)
    loss_terms = method.compute_loss_terms(embedder, batch)
    assert set(loss_terms) == set(method.loss_weights)
    assert all(part.shape == () and part.isfinite() for part in loss_terms.values())
    method.sum_loss_terms(loss_terms).backward()
    assert all(p.grad is not None for p in embedder.parameters() if p.requires_grad)
    similarity_parameters = method.similarity_parameters()
    assert {id(p) for p in similarity_parameters} <= {id(p) for p in method.parameters()}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert method.forward_passes == config.method.count_forward_passes(config.views)
    assert method.head_type in ("augmentation_aware", "linear")
    method.clamp()
    initial_scale = {"declip": math.exp(3)}.get(name, 1 / config.method.temperature)
    assert method.image_text_scale() == pytest.approx(initial_scale, rel=1e-5)
    assert all(math.isfinite(value) for value in method.get_learned_scalars().values())


def test_the_loss_is_the_weighted_sum_of_its_terms():
    method = methods.build_method(tiny())
    method.loss_weights = {"a": 2.0, "b": 0.5}
    loss_terms = {"a": torch.tensor(3.0), "b": torch.tensor(4.0)}
    assert method.sum_loss_terms(loss_terms).item() == 8
    with pytest.raises(AssertionError):
        method.sum_loss_terms({"a": loss_terms["a"]})


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_clamp_and_initial_temperature(name):
    method = methods.build_method(of_method(name, method={"temperature": 0.02}))
    assert method.image_text_scale() == pytest.approx(50)
    for parameter in method.similarity_parameters():
        torch.nn.init.constant_(parameter, 30.0)
    method.clamp()
    if name == "siglip":
        assert math.log(method.image_text_scale()) == pytest.approx(30), "no bounds, as published"
        return
    assert method.image_text_scale() == pytest.approx(100, rel=1e-5)
    assert max(p.abs().max().item() for p in method.similarity_parameters()) <= math.log(100) + 1e-6


MIN_LOG_SCALE = {"uniclip": 0.0, "unicl": -30.0, "clip": -30.0, "siglip": -30.0}
MIN_LOG_SCALE |= {"slip": 0.0, "declip": 3.0}
"""The log scale after clamping -30, by method; CLIP, UniCL and SigLIP have no lower bound."""


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_the_lower_bound_of_the_scale(name):
    method = methods.build_method(of_method(name))
    for parameter in method.similarity_parameters():
        torch.nn.init.constant_(parameter, -30.0)
    method.clamp()
    assert math.log(method.image_text_scale()) == pytest.approx(MIN_LOG_SCALE[name], abs=1e-5)


def test_an_unknown_method_raises_with_the_nearest_name():
    config = tiny()
    with pytest.raises(UserError, match="uniclip"):
        methods.build_method(replace(config, method=replace(config.method, name="uniclp")))


def test_a_new_method_is_one_file_and_one_line(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", ToyMethod)  # the one line
    config = tiny(method={"name": "toy", "target": 0.25}, train={"steps": 20})
    result = trainer.train_model(config)
    losses = [r["loss"] for r in result.history if r["phase"] == "train"]
    assert losses[-1] < losses[0] / 2
    assert collect_comparison_facts(config)["image-text positives per image"] == 1
    with pytest.raises(UserError, match=r"method\.target"):
        tiny(method={"name": "toy", "target": 2.0})
