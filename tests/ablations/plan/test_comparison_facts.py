"""Counted quantities, against counts made by hand."""

from __future__ import annotations

import pytest

from ablations.plan.comparison_facts import QUANTITIES, collect_comparison_facts
from uniclip.config import RunConfig, build_run_config

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


# By hand, for N = 32: positives and negatives of an image and of a text in one batch.
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
def test_counts_equal_those_made_by_hand(method, weak, strong, forwards, pairs):
    facts = collect_comparison_facts(run(method, weak, strong))
    expected = dict.fromkeys(QUANTITIES, 0) | pairs
    expected |= {"samples": N * STEPS, "weak": weak, "strong": strong, "identity": 0.1}
    expected |= {
        "image_forwards": forwards[0] * N * STEPS,
        "text_forwards": forwards[1] * N * STEPS,
    }
    assert facts == {label: expected[name] for name, label in QUANTITIES.items()}


def test_facts_describe_the_augmentation_policy():
    """Scenes have no crop of a strong view; without a strong view there is none either."""
    names = ("weak", "strong", "identity", "crop")

    def policy_facts(weak, strong, data, **views):
        sections = {"data": data, "views": {"num_weak": weak, "num_strong": strong, **views}}
        facts = collect_comparison_facts(run({"name": "uniclip"}, weak, strong, **sections))
        return [facts[QUANTITIES[name]] for name in names]

    emoji, scenes = {"name": "openmoji"}, {"name": "scenes"}
    assert policy_facts(1, 2, emoji, min_crop_scale=0.08, identity_prob=0.0) == [1, 2, 0, 0.08]
    assert policy_facts(1, 2, emoji) == [1, 2, 0.1, 0.2]
    assert policy_facts(3, 0, emoji) == [3, 0, 0.1, 0]
    assert policy_facts(1, 2, scenes) == [1, 2, 0.1, 0]


def test_the_share_of_patches_that_are_left_out_is_compared():
    config = run({"name": "clip"}, 1, 0, train={"patch_drop_rate": 0.5})
    assert collect_comparison_facts(config)[QUANTITIES["patch_drop"]] == 0.5


def test_pairs_are_not_counted_where_labels_decide_them():
    by_label = {QUANTITIES[q] for q in ("it+", "ti+", "it-", "ti-")}
    for method, data in (
        ({"name": "unicl"}, {"name": "mix"}),
        ({"name": "unicl", "equal_captions": True}, {"name": "scenes"}),
        ({"name": "unicl"}, {"name": "csv", "path": "a.csv", "label_column": "kind"}),
    ):
        facts = collect_comparison_facts(run(method, 1, 0, data=data))
        assert {label for label, value in facts.items() if value is None} == by_label
    assert (
        None
        not in collect_comparison_facts(run({"name": "clip"}, 1, 0, data={"name": "mix"})).values()
    )
    plain = {"name": "csv", "path": "a.csv"}
    assert None not in collect_comparison_facts(run({"name": "unicl"}, 1, 0, data=plain)).values()
