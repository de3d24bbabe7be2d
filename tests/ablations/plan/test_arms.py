"""Arms: what they change, and what the user may override."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablations.plan.plan import ResolvedPlan
from tests.helpers.plans import (
    METHODS,
    SCENES,
    assert_refused,
    get_run_id,
    plan_from_words,
    write_ablation,
)
from uniclip.config.compose import flatten

COMPONENT_KEYS = {
    "awareness": {"method.augmentation_input"},
    "mp_nce": {"method.loss"},
    "domain_similarity": {"method.similarity"},
}


@pytest.fixture(scope="module")
def crossed() -> ResolvedPlan:
    return plan_from_words(*SCENES)


def differing(one: dict[str, Any], two: dict[str, Any]) -> set[str]:
    """The leaves in which two hashed configurations differ."""
    a, b = flatten(one["config"]), flatten(two["config"])
    return {k for k in {**a, **b} if a.get(k, "-") != b.get(k, "-")}


def test_crossed_arms_differ_in_the_keys_of_their_components_only(
    crossed: ResolvedPlan,
) -> None:
    for arm in crossed.plan.arms:
        if arm.role != "crossed":
            continue
        off = [c for c, on in arm.levels.items() if not on]
        keys = set().union(*(COMPONENT_KEYS[c] for c in off))
        for seed in crossed.plan.seeds:
            full, other = (crossed.specs[get_run_id(crossed, n, seed)] for n in ("full", arm.name))
            assert differing(full, other) == keys
            assert full["data"] == other["data"]
        assert set(arm.config_diff) == keys


def test_noise_arm_differs_in_its_stream_only(crossed: ResolvedPlan) -> None:
    full, again = (crossed.specs[get_run_id(crossed, n, 0)] for n in ("full", "full-again"))
    assert differing(full, again) == {"stream"}


def test_baselines_share_training_model_and_data(crossed: ResolvedPlan) -> None:
    full, clip, same = (crossed.configs[n] for n in ("full", "clip", "clip-same-views"))
    assert full.method.name == "uniclip"
    assert clip.method.name == same.method.name == "clip"
    assert (clip.views.num_weak, clip.views.num_strong) == (1, 0)
    assert same.views == full.views
    for other in (clip, same):
        assert (other.train, other.model, other.data) == (full.train, full.model, full.data)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("model.image.name=test_resnet", "model.image.options={}"), {}),
        (("model.image.options={drop_path_rate: 0.1}",), {"drop_path_rate": 0.1}),
    ],
)
def test_model_options_of_the_user_reach_arms_of_other_methods(
    words: tuple[str, ...], options: dict[str, Any]
) -> None:
    resolved_plan = plan_from_words("ablation=methods", "data=scenes", *words)
    assert {
        name: c.model.image.options for name, c in resolved_plan.configs.items()
    } == dict.fromkeys(("uniclip", "unicl", "clip", "siglip", "slip", "declip"), options)


def test_model_option_of_the_user_is_added_in_every_arm() -> None:
    resolved_plan = plan_from_words(
        "ablation=methods", "data=scenes", "model.image.options.drop_path_rate=0.1"
    )
    assert {c.model.image.options["drop_path_rate"] for c in resolved_plan.configs.values()} == {
        0.1
    }


def test_planted_effects_have_the_values_of_their_labels() -> None:
    resolved_plan = plan_from_words("ablation=truth", "seeds=1")
    config = resolved_plan.configs
    assert (
        config["aware-0.9"].data.redraw_prob.side
        == config["unaware-0.9"].data.redraw_prob.side
        == 0.9
    )
    assert config["unaware-1"].data.redraw_prob.side == 1
    assert (
        config["aware-0.9"].method.augmentation_input,
        config["unaware-0.9"].method.augmentation_input,
    ) == (
        "true",
        "identity",
    )
    aware, unaware = (
        resolved_plan.specs[get_run_id(resolved_plan, n, 0)] for n in ("aware-0.9", "unaware-0.9")
    )
    assert differing(aware, unaware) == {"method.augmentation_input"}
    one = [
        resolved_plan.specs[get_run_id(resolved_plan, f"one-view-{n}", 0)]
        for n in ("mp-nce", "sup-con", "mil-nce")
    ]
    assert all(differing(one[0], o) == {"method.loss"} for o in one[1:])
    assert {
        c.views.num_weak + c.views.num_strong for n, c in config.items() if "one-view" in n
    } == {1}


CONDITIONAL_ABLATION = """
title: T
design: listed
reference: one
groups: {method: clip}
overrides: {train.grad_clip_norm: 2.0, train.warmup_ratio: 0.2}
conditional_overrides:
  data=scenes: {train.grad_clip_norm: 3.0, data.redraw_prob.side: 0.25}
  model=tiny: {train.weight_decay: 0.3}
  budget=study: {train.weight_decay: 0.4}
arms:
  one: {label: One}
  two:
    label: Two
    conditional_overrides:
      data=scenes: {train.adam_eps: 1.0e-6}
      method=slip: {train.grad_clip_norm: 9.0}
  three:
    label: Three
    groups: {method: slip}
    conditional_overrides: {method=slip: {method.ssl_mlp_dim: 64}}
primary_metrics: {scenes: minimal.side, openmoji: retrieval.r1}
"""


def test_condition_holds_for_the_choice_of_user_ablation_or_default(tmp_path: Path) -> None:
    words = write_ablation(tmp_path, CONDITIONAL_ABLATION)
    emoji, scenes = plan_from_words(*words), plan_from_words(*words, "data=scenes")
    study = plan_from_words(*words, "data=scenes", "budget=study", "model=vit_b32")

    def read_values(resolved_plan: ResolvedPlan, arm: str) -> tuple[float, ...]:
        train = resolved_plan.configs[arm].train
        return train.grad_clip_norm, train.warmup_ratio, train.weight_decay, train.adam_eps

    assert read_values(emoji, "one") == read_values(emoji, "two") == (2.0, 0.2, 0.3, 1e-8)
    assert read_values(scenes, "one") == (3.0, 0.2, 0.3, 1e-8)
    assert read_values(scenes, "two") == (3.0, 0.2, 0.3, 1e-6), "the base's method is not slip"
    assert read_values(study, "one") == (3.0, 0.2, 0.4, 1e-8)
    assert scenes.configs["one"].data.redraw_prob.side == 0.25
    assert scenes.configs["three"].data.redraw_prob.side == 0.25, (
        "an arm that chooses a group has it too"
    )
    assert scenes.configs["three"].method.ssl_mlp_dim == 64
    labels = {a.name: a.label for a in scenes.plan.arms}
    assert labels == {
        "one": "One",
        "two": "Two (adam_eps 1e-06)",
        "three": "Three (ssl_mlp_dim 64)",
    }


def test_user_overrides_a_condition_of_all_arms_but_not_of_one(tmp_path: Path) -> None:
    words = (*write_ablation(tmp_path, CONDITIONAL_ABLATION), "data=scenes")
    resolved_plan = plan_from_words(*words, "train.grad_clip_norm=5", "data.redraw_prob.side=0")
    assert {
        (c.train.grad_clip_norm, c.data.redraw_prob.side) for c in resolved_plan.configs.values()
    } == {(5.0, 0.0)}
    assert_refused(
        "train.adam_eps is given by you and changed by arm two", *words, "train.adam_eps=1e-7"
    )


def test_scenes_are_augmented_in_ablations_that_need_it() -> None:
    dials = ("side", "hue", "grey", "zoom", "crop", "blur")
    for ablation, scope in (("awareness", "all"), ("views", "strong"), ("controls", "strong")):
        resolved_plan = plan_from_words(f"ablation={ablation}", "data=scenes")
        for config in resolved_plan.configs.values():
            assert all(getattr(config.data.redraw_prob, dial) > 0 for dial in dials)
            assert config.data.damaged_views == scope
    assert (
        plan_from_words("ablation=awareness", "data=scenes").plan.primary_metric.metric
        == "minimal.damaged"
    )


def test_small_heads_are_used_for_the_tiny_model_only() -> None:
    tiny, large = plan_from_words(*METHODS), plan_from_words(*METHODS, "model=vit_b32")
    slip, declip = (tiny.configs[n].method for n in ("slip", "declip"))
    assert (slip.ssl_mlp_dim, slip.ssl_embed_dim) == (512, 128)
    assert (declip.ssl_mlp_dim, declip.queue_size) == (256, 2048)
    slip, declip = (large.configs[n].method for n in ("slip", "declip"))
    assert (slip.ssl_mlp_dim, slip.ssl_embed_dim) == (4096, 256)
    assert (declip.ssl_mlp_dim, declip.queue_size) == (1024, 65_536)
    assert tiny.plan.get_arm("declip").label == "DeCLIP (ssl_mlp_dim 256, queue_size 2048)"
    assert large.plan.get_arm("declip").label == "DeCLIP"


def test_override_reaches_the_arms_that_have_the_key() -> None:
    large = (*METHODS, "model=vit_b32")
    resolved_plan = plan_from_words(*large, "method.queue_size=512", "method.ssl_mlp_dim=64")
    assert resolved_plan.configs["declip"].method.queue_size == 512
    assert {resolved_plan.configs[n].method.ssl_mlp_dim for n in ("slip", "declip")} == {64}
    assert resolved_plan.configs["clip"] == plan_from_words(*large).configs["clip"]
    assert_refused(
        "method.queue_size is given by you and changed by arm declip",
        *METHODS,
        "method.queue_size=512",
    )
    assert_refused(
        r"unknown key 'method.queue_size'", *large, "method.queue_size=512", "arms=[uniclip,slip]"
    )
    assert_refused(
        "method.fusion is .* no arm of clip", *large, "method.fusion=concat", "arms=[clip]"
    )
    assert_refused("'method.queu': did you mean method.queue_size", *large, "method.queu=512")
    assert_refused("method.queue_size is a key of method=declip", *SCENES, "method.queue_size=512")


def test_methods_share_the_probability_of_the_evaluation_transform() -> None:
    for words, share in (((), 0.1), (("views.identity_prob=0.3",), 0.3)):
        resolved_plan = plan_from_words(*METHODS, *words)
        assert {c.views.identity_prob for c in resolved_plan.configs.values()} == {share}


@pytest.mark.parametrize(
    ("word", "arm"),
    [
        ("method.augmentation_input=none", "no-awareness"),
        ("method.augmentation_input=true", "no-awareness"),
        ("method.loss=mil_nce", "no-mp-nce"),
        ("method.similarity=shared", "no-domain-similarity"),
        ("views.num_strong=1", "clip"),
    ],
)
def test_override_of_a_key_that_an_arm_changes_is_refused(word: str, arm: str) -> None:
    assert_refused(
        f"{word.split('=')[0]} is given by you and changed by arm .*{arm}", *SCENES, word
    )


def test_override_of_a_key_that_no_selected_arm_changes_is_accepted() -> None:
    resolved_plan = plan_from_words(
        *SCENES, "method.augmentation_input=none", "arms=[full,no-mp-nce]", "seeds=1"
    )
    assert {c.method.augmentation_input for c in resolved_plan.configs.values()} == {"none"}
    same_views = plan_from_words(
        *SCENES, "views.num_strong=1", "arms=[full,clip-same-views]", "seeds=1"
    )
    assert {c.views.num_strong for c in same_views.configs.values()} == {1}
