"""Ablations whose names or values do not fit are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ablations import designs, schema
from ablations.schema import Ablation, ArmDefinition, SettingDefinition
from tests.helpers.designs import DECLARED, ablation
from uniclip.config.binding import bind
from uniclip.errors import UserError
from uniclip.store import PlantedEffect


@pytest.mark.parametrize("name", schema.list_ablations([schema.CONF]))
def test_shipped_ablations_are_valid(name: str) -> None:
    shipped_ablation = schema.load_ablation(name, [schema.CONF])
    designs.validate_ablation(shipped_ablation, schema.load_components([schema.CONF]))


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"components": ("a", "bb")}, "unknown component 'bb'"),
        ({"reference": "ful"}, "unknown arm 'ful': did you mean full"),
        (
            {"contrasts": {"v": {"label": "L", "plus": "full", "minus": "no-aa"}}},
            "unknown arm 'no-aa': did you mean no-a",
        ),
        ({"arms": {"x": {"components_off": ["zz"]}}}, "unknown component 'zz'"),
        (
            {
                "planted_effects": [
                    {"kind": "positive_effect", "description": "", "contrast": "main:z"}
                ]
            },
            "contrast",
        ),
        (
            {"planted_effects": [{"kind": "at_chance", "description": "", "arm": "non"}]},
            "arm 'non'",
        ),
    ],
)
def test_unknown_names_in_an_ablation_are_refused(more: dict[str, Any], match: str) -> None:
    """Otherwise a contrast or a planted effect would silently be dropped."""
    values = {"name": "t", "title": "T", "design": "crossed", "components": ["a", "b"]}
    it = bind(Ablation, {**values, "primary_metrics": {}, **more})
    with pytest.raises(UserError, match=match):
        designs.validate_ablation(it, DECLARED)


def test_planted_effect_of_an_arm_that_a_budget_leaves_out_is_valid() -> None:
    late_arm = ArmDefinition(budgets=("study",))
    truth = PlantedEffect(kind="at_chance", description="", arm="late")
    designs.validate_ablation(
        ablation(1, arms={"late": late_arm}, planted_effects=(truth,)), DECLARED
    )


@pytest.mark.parametrize(
    ("effect", "more", "message"),
    [
        (
            {"kind": "practically_nothing", "contrast": "full - no-a"},
            {},
            "ablation t: planted_effects: practically_nothing of minimal.side of scenes needs a "
            "margin: set margins.scenes.minimal.side",
        ),
        (
            {"kind": "practically_nothing", "contrast": "full - no-a"},
            {"margins": {"scenes": {"minimal.side": 0.02}}, "margin_reason": "r"},
            None,
        ),
        (
            {"kind": "practically_nothing", "contrast": "full - no-a", "metric": "gap"},
            {"margins": {"scenes": {"minimal.side": 0.02}}, "margin_reason": "r"},
            "practically_nothing of gap of scenes needs a margin",
        ),
        ({"kind": "at_chance", "arm": "none"}, {}, None),
        (
            {"kind": "at_chance", "arm": "none", "metric": "retrieval.caption.log_likelihood"},
            {},
            "ablation t: planted_effects: at_chance of retrieval.caption.log_likelihood of scenes: "
            "the score is no proportion of the test samples; name one",
        ),
        ({"kind": "at_chance", "arm": "none", "metric": "retrieval.i2t.r5"}, {}, None),
        ({"kind": "at_chance", "arm": "none", "metric": "zeroshot.label[gap]"}, {}, None),
    ],
)
def test_a_planted_effect_that_could_never_be_confirmed_is_refused(
    effect: dict[str, Any], more: dict[str, Any], message: str | None
) -> None:
    values = {
        "name": "t", "title": "T", "design": "crossed", "components": ["a", "b"],
        "primary_metrics": {"scenes": "minimal.side"},
        "planted_effects": [{"description": "", **effect}], **more,
    }  # fmt: skip
    declared = bind(Ablation, values)
    if message is None:
        designs.validate_ablation(declared, DECLARED)
        return
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        designs.validate_ablation(declared, DECLARED)
    assert "\n" not in str(refusal.value)


def test_a_planted_effect_on_the_score_of_the_data_needs_its_margin() -> None:
    """An ablation that names no primary score is tested on that of its data."""
    planted_effects = (
        PlantedEffect(kind="practically_nothing", description="", contrast="full - no-a"),
    )
    it = ablation(2, groups={"data": "openmoji"}, planted_effects=planted_effects)
    with pytest.raises(UserError, match=r"set margins\.openmoji\.retrieval\.r1"):
        designs.validate_ablation(it, DECLARED)


def test_a_setting_does_not_turn_a_component_on_again() -> None:
    settings = {"odd": SettingDefinition(label="odd", overrides={"x.b": 1})}
    with pytest.raises(UserError, match=r"setting odd sets x\.b, by which component b is turned"):
        designs.validate_ablation(ablation(2, "leave_one_out", settings=settings), DECLARED)


@pytest.mark.parametrize(
    ("prediction", "match"),
    [
        ({"component": "a", "contrast": "main:a"}, "each names either a contrast or a component"),
        ({}, "each names either a contrast or a component"),
        ({"contrast": "main:z"}, "unknown contrast 'main:z'"),
        ({"component": "z"}, "unknown component 'z'"),
        ({"component": "a"}, None),
    ],
)
def test_a_prediction_that_could_not_be_graded_is_refused(
    prediction: dict[str, str], match: str | None
) -> None:
    values = {
        "name": "t", "title": "T", "design": "crossed", "components": ["a", "b"],
        "predictions": [{"sign": "positive", "reason": "r", **prediction}],
    }  # fmt: skip
    it = bind(Ablation, values)
    if match is None:
        designs.validate_ablation(it, DECLARED)
        return
    with pytest.raises(UserError, match=match):
        designs.validate_ablation(it, DECLARED)
