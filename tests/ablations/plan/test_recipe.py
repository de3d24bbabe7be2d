"""Recipes: the default changes nothing; `published` sets what the source of each method states."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.plans import METHODS as METHODS_ABLATION
from tests.helpers.plans import assert_refused, plan_from_words
from tests.helpers.small_runs import of_method
from uniclip.config import METHODS, RunConfig, build_run_config, compose
from uniclip.config.binding import to_builtins
from uniclip.training import optimizer
from uniclip.training.trainer import train_model

ADAMW = {"adam_eps": 1e-8, "similarity_lr_mult": 1.0}
SLIP_REPOSITORY = {
    **ADAMW,
    **{"warmup_start_lr": 1e-6, "min_lr": 1e-5, "warmup_ratio": 1 / 25, "adam_betas": [0.9, 0.98]},
}
STATED: dict[str, dict[str, Any]] = {
    "uniclip": {},
    "siglip": {},
    "clip": {**SLIP_REPOSITORY, "learning_rate": 5e-4, "weight_decay": 0.5},
    "slip": {**SLIP_REPOSITORY, "learning_rate": 3e-3, "weight_decay": 0.1},
    "declip": {
        **ADAMW,
        **{
            "learning_rate": 1e-3,
            "warmup_start_lr": 1e-4,
            "min_lr": 0.0,
            "adam_betas": [0.9, 0.98],
        },
        **{"weight_decay": 0.1, "warmup_ratio": 2_500 / 128_000},
    },
    "unicl": {
        **ADAMW,
        **{
            "learning_rate": 5e-4,
            "warmup_start_lr": 5e-7,
            "min_lr": 5e-6,
            "adam_betas": [0.9, 0.999],
        },
        **{
            "weight_decay": 0.1,
            "warmup_ratio": 5 / 32,
            "grad_clip_norm": 5.0,
            "lr_base_batch_size": 512,
        },
    },
}
"""By method, what its source states of its training."""


def composed(method: str, recipe: str, **choices: str) -> RunConfig:
    """The run of these choices, its seeds left out."""
    chosen = {"method": method, "recipe": recipe, **choices}
    values = compose.compose("config", chosen, [compose.CONF])
    del values["seeds"]
    return build_run_config(values)


@pytest.mark.parametrize("budget", ["smoke", "study"])
@pytest.mark.parametrize("method", METHODS)
def test_published_changes_only_what_the_source_states(method: str, budget: str) -> None:
    default_plan = to_builtins(composed(method, "default", budget=budget))
    published = to_builtins(composed(method, "published", budget=budget))
    assert published["train"] == {**default_plan["train"], **STATED[method]}
    assert {**published, "train": 0} == {**default_plan, "train": 0}, (
        "the preset's views and temperature"
    )


def test_default_recipe_changes_nothing() -> None:
    given = compose.compose("config", {}, [compose.CONF])
    assert given == compose.compose("config", {"recipe": "default"}, [compose.CONF])
    assert "warmup_start_lr" not in given["train"]


@pytest.mark.parametrize(
    ("method", "preset"), [("slip", (0.08, 0.07)), ("unicl", (0.2, 1 / math.e))]
)
def test_published_crop_and_temperature_are_in_the_preset_of_the_method(
    method: str, preset: tuple[float, float]
) -> None:
    config = composed(method, "published")
    assert (config.views.min_crop_scale, config.method.temperature) == pytest.approx(preset)


@pytest.mark.parametrize(("method", "peak"), [("unicl", 5e-4 * 4096 / 512), ("slip", 3e-3)])
def test_only_the_learning_rate_of_unicl_scales_with_the_batch(method: str, peak: float) -> None:
    train = replace(composed(method, "published").train, batch_size=4096)
    assert max(
        optimizer.compute_learning_rate(step, train) for step in range(train.steps)
    ) == pytest.approx(peak)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_under_its_recipe(method: str) -> None:
    tiny = {"steps": 20, "batch_size": 16, "validate_every": 20}
    config = of_method(method, train={**to_builtins(composed(method, "published").train), **tiny})
    fitted = train_model(config)
    steps = [record for record in fitted.history if record["phase"] == "train"]
    assert fitted.kind == "trained"
    assert [r["lr"] for r in steps] == [
        optimizer.compute_learning_rate(i, config.train) for i in range(20)
    ]


PUBLISHED = (*METHODS_ABLATION, "recipe=published")


def test_recipe_follows_the_method_and_keeps_the_length_of_the_budget() -> None:
    default_plan, resolved_plan = plan_from_words(*METHODS_ABLATION), plan_from_words(*PUBLISHED)
    assert len({c.train for c in default_plan.configs.values()}) == 1
    rates = {
        "uniclip": 1e-3,
        "unicl": 5e-4,
        "clip": 5e-4,
        "siglip": 1e-3,
        "slip": 3e-3,
        "declip": 1e-3,
    }
    assert {n: c.train.learning_rate for n, c in resolved_plan.configs.items()} == rates
    for name in ("uniclip", "siglip"):
        assert resolved_plan.configs[name] == default_plan.configs[name], "nothing is stated of it"
    for name, config in resolved_plan.configs.items():
        shared = ("steps", "batch_size", "validate_every", "num_threads")
        for key in shared:
            assert getattr(config.train, key) == getattr(default_plan.configs[name].train, key)
        assert replace(config, train=default_plan.configs[name].train) == default_plan.configs[name]


def test_plan_has_a_caveat_if_recipes_differ() -> None:
    (text,) = plan_from_words(*PUBLISHED).plan.caveats
    assert text.startswith("recipe=published: arms differ in optimiser and schedule too; not a")
    for words in (
        METHODS_ABLATION,
        (*PUBLISHED, "arms=[slip]"),
        ("ablation=losses", "recipe=published"),
    ):
        assert plan_from_words(*words).plan.caveats == ()


def test_recipe_of_each_arm_is_described() -> None:
    assert plan_from_words(*METHODS_ABLATION).plan.recipe_descriptions == {}
    resolved_plan = plan_from_words(*PUBLISHED, "train.weight_decay=0.3").plan.recipe_descriptions
    assert list(resolved_plan) == ["uniclip", "unicl", "clip", "siglip", "slip", "declip"]
    assert (
        "learning rate 1e-06 to 0.003 to 1e-05, warm-up 4 %, weight decay 0.3, betas 0.9 0.98"
        in resolved_plan["slip"]
    )
    assert (
        "rate 6.25e-08 to 6.25e-05 to 6.25e-07 (0.0005 at batch size 512)" in resolved_plan["unicl"]
    )
    assert [
        name for name, text in resolved_plan.items() if "the source states no recipe" in text
    ] == ["uniclip", "siglip"]


def test_user_overrides_a_recipe_but_not_an_arm(tmp_path: Path) -> None:
    resolved_plan = plan_from_words(
        *PUBLISHED, "train.learning_rate=4e-4", "train.warmup_ratio=0.5"
    )
    assert {
        (c.train.learning_rate, c.train.warmup_ratio) for c in resolved_plan.configs.values()
    } == {(4e-4, 0.5)}
    assert_refused(
        "views.min_crop_scale is given by you and changed by arm slip",
        *PUBLISHED,
        "views.min_crop_scale=0.1",
    )
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "own.yaml").write_text(
        "title: T\ndesign: listed\nreference: shared\ngroups: {data: scenes, method: clip}\n"
        "arms: {shared: {}, recipe: {groups: {recipe: published}}}\n"
        "primary_metrics: {scenes: minimal.side}\n"
    )
    words = ("ablation=own", f"conf_dir={tmp_path}")
    decays = {n: c.train.weight_decay for n, c in plan_from_words(*words).configs.items()}
    assert decays == {"shared": 0.1, "recipe": 0.5}
    assert_refused(
        "weight_decay is given by you and changed by arm recipe", *words, "train.weight_decay=0"
    )
