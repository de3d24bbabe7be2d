"""Designs: which arms, what they are called, and contrasts that recover what was planted."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from ablations import designs, schema
from ablations.schema import Ablation, ArmDefinition, ContrastDefinition
from uniclip.config.binding import bind
from uniclip.errors import UserError
from uniclip.store import Component, Contrast, PlantedEffect

LETTERS = ("a", "b", "c", "d")

COMPONENTS_ARMS = [
    "full", "no-domain_similarity", "no-mp_nce", "no-awareness", "no-mp_nce-domain_similarity",
    "no-awareness-domain_similarity", "no-awareness-mp_nce", "none", "clip", "clip-same-views",
    "full-again",
]  # fmt: skip
COMPONENTS_CONTRASTS = [
    "main:awareness", "main:mp_nce", "main:domain_similarity", "interaction:awareness*mp_nce",
    "interaction:awareness*domain_similarity", "interaction:mp_nce*domain_similarity",
    "interaction:awareness*mp_nce*domain_similarity", "full - no-awareness", "full - no-mp_nce",
    "full - no-domain_similarity", "no-mp_nce-domain_similarity - none",
    "no-awareness-domain_similarity - none", "no-awareness-mp_nce - none", "full - none",
    "full-vs-clip", "full-vs-clip-same-views", "noise",
]  # fmt: skip


def component(name: str) -> Component:
    return Component(
        name=name,
        label=name.upper(),
        reason="r",
        off_overrides={f"x.{name}": 0},
        manipulation_check={},
    )


DECLARED = {n: component(n) for n in LETTERS}


def ablation(k: int, design: str = "crossed", **more: Any) -> Ablation:
    return Ablation(
        name="t", title="T", design=design, components=LETTERS[:k], primary_metrics={}, **more
    )  # type: ignore[arg-type]


def contrasts(it: Ablation) -> dict[str, Contrast]:
    drawn = designs.build_contrasts(it, DECLARED, list(designs.build_arms(it)))
    assert len({c.name for c in drawn}) == len(drawn), "two contrasts of one name"
    return {c.name: c for c in drawn}


def value(contrast: Contrast, scores: dict[str, float]) -> float:
    return sum(w * scores[arm] for arm, w in contrast.weights.items())


def planted(it: Ablation, effects: dict[tuple[str, ...], float]) -> dict[str, float]:
    """Score of each arm: the sum of the effects of all subsets of the components it has."""
    scores = {}
    for name, arm in designs.build_arms(it).items():
        on = set(it.components) - set(arm.components_off)
        scores[name] = 0.3 + sum(e for parts, e in effects.items() if on >= set(parts))
    return scores


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_a_crossed_design_has_every_combination_once(k: int) -> None:
    arms = designs.build_arms(ablation(k))
    assert len(arms) == 2**k
    assert {frozenset(a.components_off) for a in arms.values()} == {
        frozenset(s) for n in range(k + 1) for s in itertools.combinations(LETTERS[:k], n)
    }
    assert list(arms)[0] == "full"
    assert all(a.role == "crossed" and a.label for a in arms.values())


def test_more_components_than_can_be_crossed_are_refused() -> None:
    five = Ablation(
        name="t", title="T", design="crossed", components=(*LETTERS, "e"), primary_metrics={}
    )
    with pytest.raises(UserError, match="5 components crossed.*leave_one_out"):
        designs.build_arms(five)


def test_leave_one_out_has_an_arm_for_each() -> None:
    it = ablation(3, "leave_one_out")
    assert list(designs.build_arms(it)) == ["full", "no-a", "no-b", "no-c"]
    drawn = contrasts(it)
    assert list(drawn) == ["full - no-a", "full - no-b", "full - no-c"]
    assert all(c.primary for c in drawn.values())
    assert [c.component for c in drawn.values()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("off", "names", "called"),
    [
        ((), "abc", "full"),
        (("a",), "abc", "no-a"),
        (("a", "c"), "abc", "no-a-c"),
        (("a", "b", "c"), "abc", "none"),
        (("a",), "a", "no-a"),
    ],
)
def test_arms_are_named_by_what_is_off(off: tuple[str, ...], names: str, called: str) -> None:
    assert designs.format_arm_name(off, tuple(names)) == called


@pytest.mark.parametrize("design", ["crossed", "leave_one_out"])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_every_contrast_sums_to_zero_and_reads_arms_that_are(design: str, k: int) -> None:
    it = ablation(k, design)
    arms = designs.build_arms(it)
    for name, contrast in contrasts(it).items():
        assert sum(contrast.weights.values()) == 0, name
        assert set(contrast.weights) <= set(arms)
        assert sum(abs(w) for w in contrast.weights.values()) == pytest.approx(2), name


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_main_effects_recover_planted_ones(k: int) -> None:
    it = ablation(k)
    effects = {(n,): 0.1 * 2**i for i, n in enumerate(it.components)}
    scores = planted(it, effects)
    drawn = contrasts(it)
    for (name,), effect in effects.items():
        assert value(drawn[f"main:{name}"], scores) == pytest.approx(effect)
    for name, contrast in drawn.items():
        if contrast.kind == "interaction":
            assert value(contrast, scores) == pytest.approx(0), name


def test_a_main_effect_is_the_mean_with_minus_the_mean_without() -> None:
    it = ablation(3)
    scores = dict(zip(designs.build_arms(it), np.random.default_rng(0).random(8)))
    on = [s for arm, s in scores.items() if "b" not in designs.build_arms(it)[arm].components_off]
    without = [s for arm, s in scores.items() if "b" in designs.build_arms(it)[arm].components_off]
    effect = value(contrasts(it)["main:b"], scores)
    assert effect == pytest.approx(np.mean(on) - np.mean(without))


@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_planted_interaction_is_found_where_it_is_and_nowhere_else(k: int) -> None:
    """What a and b gain together, beyond the sum: half of it is the interaction contrast."""
    it = ablation(k)
    scores = planted(it, {("a",): 0.1, ("b",): 0.2, ("a", "b"): 0.08})
    drawn = contrasts(it)
    assert value(drawn["interaction:a*b"], scores) == pytest.approx(0.04)
    assert value(drawn["main:a"], scores) == pytest.approx(0.14), "averaged over b on and off"
    others = [n for n, c in drawn.items() if c.kind == "interaction" and n != "interaction:a*b"]
    for name in others:
        assert value(drawn[name], scores) == pytest.approx(0), name


def test_effects_and_interactions_are_orthogonal() -> None:
    it = ablation(3)
    arms = list(designs.build_arms(it))
    crossed = [c for c in contrasts(it).values() if c.kind in ("main", "interaction")]
    assert len(crossed) == 7
    matrix = np.array([[c.weights[a] for a in arms] for c in crossed])
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(7) * 0.5, atol=1e-12)


def test_single_arm_differences_are_read_off_the_same_arms() -> None:
    it = ablation(3)
    scores = planted(it, {("a",): 0.1, ("b",): 0.2, ("a", "b"): 0.08})
    drawn = contrasts(it)
    assert value(drawn["full - no-a"], scores) == pytest.approx(0.18)
    assert value(drawn["no-b-c - none"], scores) == pytest.approx(0.1)
    assert value(drawn["full - none"], scores) == pytest.approx(0.38)


def test_only_main_effects_are_primary_in_a_crossed_design() -> None:
    drawn = contrasts(ablation(3))
    assert [n for n, c in drawn.items() if c.primary] == ["main:a", "main:b", "main:c"]


def test_a_contrast_that_lacks_an_arm_is_left_out() -> None:
    it = ablation(2)
    present = ["full", "no-a", "no-b"]
    drawn = designs.build_contrasts(it, DECLARED, present)
    assert [c.name for c in drawn] == ["full - no-a", "full - no-b"]


def test_listed_contrasts_and_the_noise_floor() -> None:
    arms = {"again": ArmDefinition(role="noise", overrides={"stream": 1}), "out": ArmDefinition()}
    versus = ContrastDefinition(label="L", plus="full", minus="out", primary=True)
    it = ablation(1, arms=arms, contrasts={"versus": versus})
    assert list(designs.build_arms(it)) == ["full", "no-a", "again", "out"]
    drawn = contrasts(it)
    assert drawn["versus"].weights == {"full": 1, "out": -1}
    assert drawn["versus"].primary
    assert (drawn["noise"].kind, drawn["noise"].weights) == ("noise", {"full": 1, "again": -1})


def test_a_listed_arm_cannot_take_a_designed_ones_name() -> None:
    with pytest.raises(UserError, match="the design already has an arm no-a"):
        designs.build_arms(ablation(2, arms={"no-a": ArmDefinition()}))


def test_the_arms_and_contrasts_of_components_are_called_what_they_were() -> None:
    """Names stand in stored plans and in people's notes."""
    ours = schema.load_ablation("components", [schema.CONF])
    declared = schema.load_components([schema.CONF])
    arms = list(designs.build_arms(ours))
    assert arms == COMPONENTS_ARMS
    drawn = designs.build_contrasts(ours, declared, arms)
    assert [c.name for c in drawn] == COMPONENTS_CONTRASTS


@pytest.mark.parametrize("name", schema.list_ablations([schema.CONF]))
def test_our_ablations_name_only_what_is_there(name: str) -> None:
    ours = schema.load_ablation(name, [schema.CONF])
    designs.validate_ablation(ours, schema.load_components([schema.CONF]))


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
def test_what_an_ablation_names_must_be_there(more: dict[str, Any], match: str) -> None:
    """Or a contrast, or a planted truth, would silently go unread."""
    values = {"name": "t", "title": "T", "design": "crossed", "components": ["a", "b"]}
    it = bind(Ablation, {**values, "primary_metrics": {}, **more})
    with pytest.raises(UserError, match=match):
        designs.validate_ablation(it, DECLARED)


def test_an_expectation_of_an_arm_that_a_budget_leaves_out_is_no_slip() -> None:
    late = ArmDefinition(budgets=("study",))
    truth = PlantedEffect(kind="at_chance", description="", arm="late")
    designs.validate_ablation(ablation(1, arms={"late": late}, planted_effects=(truth,)), DECLARED)
