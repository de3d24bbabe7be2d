"""Operations of a training step, against the profiler of torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ablations.audit import arm_probe
from tests.ablations.plan.test_comparison_facts import BY_HAND, MODEL, run
from uniclip.training.trainer import setup_training, training_step

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::conv2d")


@pytest.mark.parametrize(
    ("method", "weak", "strong"),
    [(m, w, s) for m, w, s, _, _ in BY_HAND],
    ids=lambda x: str(x)[:30],
)
def test_operations_agree_with_the_profiler(method, weak, strong):
    config = run(method, weak, strong)
    probe = arm_probe.probe_arm(config)
    batches, state = setup_training(config)
    batch = batches.build_batch(0)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], with_flops=True) as profiler:
        state.method.compute_loss_terms(state.embedder, batch)
    forward_flops = sum(e.flops for e in profiler.key_averages() if e.key in PRODUCTS)
    # The profiler counts no backward convolution: a step is taken as three forward passes.
    assert probe.step_flops == pytest.approx(3 * forward_flops, rel=0.05)


@pytest.mark.parametrize("frozen", ["none", "image", "text", "both"])
def test_frozen_encoders_cost_no_gradient(frozen):
    vit = {"patch_size": 4, "embed_dim": 64, "depth": 2, "num_heads": 2}
    image = {"name": "vit_tiny_patch16_224", "image_size": 32, "options": vit}
    model = {**MODEL, "image": image}
    config = run({"name": "clip"}, 1, 0, model=model, lock=frozen)
    batches, state = setup_training(config)
    # Attention as plain products, which torch's counter knows; no convolution here has groups.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        training_step(state, batches.build_batch(0))
    assert arm_probe.probe_arm(config).step_flops == pytest.approx(
        counter.get_total_flops(), rel=0.05
    )


def test_grad_cache_costs_one_more_forward_pass():
    undivided, chunked = (
        arm_probe.probe_arm(run({"name": "clip"}, 1, 0, train={"grad_cache_chunks": n})).step_flops
        for n in (1, 4)
    )
    assert chunked == pytest.approx(4 / 3 * undivided, rel=0.05)
