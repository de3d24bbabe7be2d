"""What is counted of each method, against counts by hand, and operations against the profiler."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ablations.audit import arm_probe
from ablations.plan.comparison_facts import QUANTITIES, collect_comparison_facts
from uniclip.config import RunConfig, build_run_config
from uniclip.training.trainer import setup_training, training_step

N, STEPS = 32, 10
MODEL = {
    "image": {
        "name": "convnext_atto",
        "options": {"depths": [1, 1, 1, 1], "dims": [8, 16, 16, 32], "conv_mlp": True},
    },
    "text": {"width": 32, "layers": 1, "heads": 2, "vocab_size": 400},
    "embed_dim": 32,
}


def run(method: dict, weak: int, strong: int, train: dict | None = None, **more) -> RunConfig:
    return build_run_config(
        {
            "data": {"name": "scenes", "num_train": 256, "num_test": 64},
            "method": method,
            "views": {"num_weak": weak, "num_strong": strong},
            "train": {"steps": STEPS, "batch_size": N, **(train or {})},
            "model": MODEL,
            **more,
        }
    )


# By hand, for N = 32: a picture's and a text's positives and negatives in one batch.
BY_HAND = [
    # 2 other views and the text; 3 views of 31 others, and their texts; no text is a positive.
    ({"name": "uniclip"}, 1, 2, (3, 1), {"ii+": 2, "it+": 1, "ti+": 3, "ii-": 93, "it-": 31,
                                          "ti-": 93, "tt-": 31}),
    ({"name": "uniclip", "positive_weights": [0.0, 1.0, 1.0]}, 1, 2, (3, 1),
     {"ii+": 0, "it+": 1, "ti+": 3, "ii-": 93, "it-": 31, "ti-": 93, "tt-": 31}),
    ({"name": "uniclip", "negatives": "not_text_text"}, 1, 1, (2, 1),
     {"ii+": 1, "it+": 1, "ti+": 2, "ii-": 62, "it-": 31, "ti-": 62, "tt-": 0}),
    # Each other view's slot holds 31 negatives.
    ({"name": "uniclip", "loss": "multi_view_info_nce"}, 1, 2, (3, 1),
     {"ii+": 2, "it+": 1, "ti+": 3, "ii-": 62, "it-": 31, "ti-": 93, "tt-": 0}),
    ({"name": "clip"}, 1, 0, (1, 1), {"it+": 1, "ti+": 1, "it-": 31, "ti-": 31}),
    ({"name": "clip"}, 1, 2, (3, 1), {"it+": 1, "ti+": 3, "it-": 31, "ti-": 93}),
    ({"name": "unicl"}, 1, 0, (1, 1), {"it+": 1, "ti+": 1, "it-": 31, "ti-": 31}),
    # The strong views: one positive, 62 others of both strong views.
    ({"name": "slip", "ssl_mlp_dim": 32}, 1, 2, (3, 1),
     {"it+": 1, "ti+": 1, "it-": 31, "ti-": 31, "ii+": 1, "ii-": 62}),
    # Two captions and two neighbours; two views; SimSiam has no negatives.
    ({"name": "declip", "queue_size": 64, "ssl_mlp_dim": 32}, 0, 2, (2, 2),
     {"it+": 4, "ti+": 2, "it-": 124, "ti-": 62, "ii+": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "weak", "strong", "forwards", "pairs"), BY_HAND)
def test_counts_are_those_made_by_hand(method, weak, strong, forwards, pairs):
    counted = collect_comparison_facts(run(method, weak, strong))
    expected = dict.fromkeys(QUANTITIES, 0) | pairs
    expected |= {"samples": N * STEPS, "weak": weak, "strong": strong, "identity": 0.1}
    expected |= {
        "image_forwards": forwards[0] * N * STEPS,
        "text_forwards": forwards[1] * N * STEPS,
    }
    assert counted == {said: expected[name] for name, said in QUANTITIES.items()}


@pytest.mark.parametrize(
    ("method", "weak", "strong"),
    [(m, w, s) for m, w, s, _, _ in BY_HAND],
    ids=lambda x: str(x)[:30],
)
def test_operations_are_those_of_the_profiler(method, weak, strong):
    config = run(method, weak, strong)
    tried = arm_probe.probe_arm(config)
    batches, state = setup_training(config)
    batch = batches.build_batch(0)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen:
        state.method.compute_loss_terms(state.embedder, batch)
    profiled = sum(e.flops for e in seen.key_averages() if e.key in PRODUCTS)
    # The profiler counts no backward convolution: a step is taken as three forward passes.
    assert tried.step_flops == pytest.approx(3 * profiled, rel=0.05)


def test_laws_of_views_are_told():
    """Scenes have no crop of a strong view; without a strong view there is none either."""
    names = ("weak", "strong", "identity", "crop")

    def law(weak, strong, data, **views):
        given = {"data": data, "views": {"num_weak": weak, "num_strong": strong, **views}}
        counted = collect_comparison_facts(run({"name": "uniclip"}, weak, strong, **given))
        return [counted[QUANTITIES[name]] for name in names]

    emoji, scenes = {"name": "openmoji"}, {"name": "scenes"}
    assert law(1, 2, emoji, min_crop_scale=0.08, identity_prob=0.0) == [1, 2, 0, 0.08]
    assert law(1, 2, emoji) == [1, 2, 0.1, 0.2]
    assert law(3, 0, emoji) == [3, 0, 0.1, 0]
    assert law(1, 2, scenes) == [1, 2, 0.1, 0]


def test_where_labels_make_positives_none_are_counted():
    by_label = {QUANTITIES[q] for q in ("it+", "ti+", "it-", "ti-")}
    for method, data in (
        ({"name": "unicl"}, {"name": "mix"}),
        ({"name": "unicl", "equal_captions": True}, {"name": "scenes"}),
        ({"name": "unicl"}, {"name": "csv", "path": "a.csv", "label_column": "kind"}),
    ):
        counted = collect_comparison_facts(run(method, 1, 0, data=data))
        assert {said for said, value in counted.items() if value is None} == by_label
    assert (
        None
        not in collect_comparison_facts(run({"name": "clip"}, 1, 0, data={"name": "mix"})).values()
    )
    plain = {"name": "csv", "path": "a.csv"}
    assert None not in collect_comparison_facts(run({"name": "unicl"}, 1, 0, data=plain)).values()


@pytest.mark.parametrize("frozen", ["none", "image", "text", "both"])
def test_what_is_frozen_costs_no_gradient(frozen):
    vit = {"patch_size": 4, "embed_dim": 64, "depth": 2, "num_heads": 2}
    image = {"name": "vit_tiny_patch16_224", "image_size": 32, "options": vit}
    model = {**MODEL, "image": image}
    config = run({"name": "clip"}, 1, 0, model=model, lock=frozen)
    batches, state = setup_training(config)
    # Attention as plain products, which torch's counter knows; no convolution here has groups.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        training_step(state, batches.build_batch(0))
    assert arm_probe.probe_arm(config).step_flops == pytest.approx(
        counted.get_total_flops(), rel=0.05
    )


def test_a_batch_in_chunks_costs_one_more_forward_pass():
    whole, chunked = (
        arm_probe.probe_arm(run({"name": "clip"}, 1, 0, train={"grad_cache_chunks": n})).step_flops
        for n in (1, 4)
    )
    assert chunked == pytest.approx(4 / 3 * whole, rel=0.05)


PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::conv2d")
