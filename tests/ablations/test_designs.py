"""Designs: arms, their names, and contrasts that recover planted effects."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

from ablations import designs, schema
from ablations.schema import Ablation, ArmDefinition, ContrastDefinition, SettingDefinition
from uniclip.config.binding import bind
from uniclip.errors import UserError
from uniclip.store import Component, Contrast, PlantedEffect

LETTERS = ("a", "b", "c", "d")

COMPONENTS_ARMS = [
    "full", "no-domain-similarity", "no-mp-nce", "no-awareness", "no-mp-nce-domain-similarity",
    "no-awareness-domain-similarity", "no-awareness-mp-nce", "none", "clip", "clip-same-views",
    "full-again",
]  # fmt: skip
COMPONENTS_CONTRASTS = [
    "main:awareness", "main:mp_nce", "main:domain_similarity", "interaction:awareness*mp_nce",
    "interaction:awareness*domain_similarity", "interaction:mp_nce*domain_similarity",
    "interaction:awareness*mp_nce*domain_similarity", "full - no-awareness", "full - no-mp-nce",
    "full - no-domain-similarity", "no-mp-nce-domain-similarity - none",
    "no-awareness-domain-similarity - none", "no-awareness-mp-nce - none", "full - none",
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
    contrasts_by_name = designs.build_contrasts(it, DECLARED, list(designs.build_arms(it)))
    assert len({c.name for c in contrasts_by_name}) == len(contrasts_by_name), (
        "two contrasts of one name"
    )
    return {c.name: c for c in contrasts_by_name}


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
def test_crossed_design_has_every_combination_once(k: int) -> None:
    arms = designs.build_arms(ablation(k))
    assert len(arms) == 2**k
    assert {frozenset(a.components_off) for a in arms.values()} == {
        frozenset(s) for n in range(k + 1) for s in itertools.combinations(LETTERS[:k], n)
    }
    assert list(arms)[0] == "full"
    assert all(a.role == "crossed" and a.label for a in arms.values())


def test_too_many_crossed_components_are_refused() -> None:
    five = Ablation(
        name="t", title="T", design="crossed", components=(*LETTERS, "e"), primary_metrics={}
    )
    with pytest.raises(UserError, match="5 components crossed.*leave_one_out"):
        designs.build_arms(five)


def test_leave_one_out_has_an_arm_per_component() -> None:
    it = ablation(3, "leave_one_out")
    assert list(designs.build_arms(it)) == ["full", "no-a", "no-b", "no-c"]
    contrasts_by_name = contrasts(it)
    assert list(contrasts_by_name) == ["full - no-a", "full - no-b", "full - no-c"]
    assert all(c.primary for c in contrasts_by_name.values())
    assert [c.component for c in contrasts_by_name.values()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("off", "names", "arm_name"),
    [
        ((), "abc", "full"),
        (("a",), "abc", "no-a"),
        (("a", "c"), "abc", "no-a-c"),
        (("a", "b", "c"), "abc", "none"),
        (("a",), "a", "no-a"),
    ],
)
def test_arms_are_named_by_the_components_that_are_off(
    off: tuple[str, ...], names: str, arm_name: str
) -> None:
    assert designs.format_arm_name(off, tuple(names)) == arm_name


@pytest.mark.parametrize("design", ["crossed", "leave_one_out"])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_contrasts_sum_to_zero_and_use_existing_arms(design: str, k: int) -> None:
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
    contrasts_by_name = contrasts(it)
    for (name,), effect in effects.items():
        assert value(contrasts_by_name[f"main:{name}"], scores) == pytest.approx(effect)
    for name, contrast in contrasts_by_name.items():
        if contrast.kind == "interaction":
            assert value(contrast, scores) == pytest.approx(0), name


def test_main_effect_is_mean_with_minus_mean_without() -> None:
    it = ablation(3)
    scores = dict(zip(designs.build_arms(it), np.random.default_rng(0).random(8)))
    on = [s for arm, s in scores.items() if "b" not in designs.build_arms(it)[arm].components_off]
    without = [s for arm, s in scores.items() if "b" in designs.build_arms(it)[arm].components_off]
    effect = value(contrasts(it)["main:b"], scores)
    assert effect == pytest.approx(np.mean(on) - np.mean(without))


@pytest.mark.parametrize("k", [2, 3, 4])
def test_planted_interaction_is_recovered_in_its_contrast_only(k: int) -> None:
    """What a and b gain together, beyond the sum: half of it is the interaction contrast."""
    it = ablation(k)
    scores = planted(it, {("a",): 0.1, ("b",): 0.2, ("a", "b"): 0.08})
    contrasts_by_name = contrasts(it)
    assert value(contrasts_by_name["interaction:a*b"], scores) == pytest.approx(0.04)
    assert value(contrasts_by_name["main:a"], scores) == pytest.approx(0.14), (
        "averaged over b on and off"
    )
    others = [
        n
        for n, c in contrasts_by_name.items()
        if c.kind == "interaction" and n != "interaction:a*b"
    ]
    for name in others:
        assert value(contrasts_by_name[name], scores) == pytest.approx(0), name


def test_effects_and_interactions_are_orthogonal() -> None:
    it = ablation(3)
    arms = list(designs.build_arms(it))
    crossed = [c for c in contrasts(it).values() if c.kind in ("main", "interaction")]
    assert len(crossed) == 7
    matrix = np.array([[c.weights[a] for a in arms] for c in crossed])
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(7) * 0.5, atol=1e-12)


def test_differences_of_single_arms_use_the_same_arms() -> None:
    it = ablation(3)
    scores = planted(it, {("a",): 0.1, ("b",): 0.2, ("a", "b"): 0.08})
    contrasts_by_name = contrasts(it)
    assert value(contrasts_by_name["full - no-a"], scores) == pytest.approx(0.18)
    assert value(contrasts_by_name["no-b-c - none"], scores) == pytest.approx(0.1)
    assert value(contrasts_by_name["full - none"], scores) == pytest.approx(0.38)


def test_only_main_effects_are_primary_in_a_crossed_design() -> None:
    contrasts_by_name = contrasts(ablation(3))
    assert [n for n, c in contrasts_by_name.items() if c.primary] == ["main:a", "main:b", "main:c"]


def test_contrast_without_one_of_its_arms_is_left_out() -> None:
    it = ablation(2)
    present = ["full", "no-a", "no-b"]
    contrasts_by_name = designs.build_contrasts(it, DECLARED, present)
    assert [c.name for c in contrasts_by_name] == ["full - no-a", "full - no-b"]


def test_listed_contrasts_and_the_noise_floor() -> None:
    arms = {"again": ArmDefinition(role="noise", overrides={"stream": 1}), "out": ArmDefinition()}
    versus = ContrastDefinition(label="L", plus="full", minus="out", primary=True)
    it = ablation(1, arms=arms, contrasts={"versus": versus})
    assert list(designs.build_arms(it)) == ["full", "no-a", "again", "out"]
    contrasts_by_name = contrasts(it)
    assert contrasts_by_name["versus"].weights == {"full": 1, "out": -1}
    assert contrasts_by_name["versus"].primary
    assert (contrasts_by_name["noise"].kind, contrasts_by_name["noise"].weights) == (
        "noise",
        {"full": 1, "again": -1},
    )


def test_listed_arm_cannot_have_the_name_of_a_designed_arm() -> None:
    with pytest.raises(UserError, match="the design already has an arm no-a"):
        designs.build_arms(ablation(2, arms={"no-a": ArmDefinition()}))


def test_arms_and_contrasts_of_components_keep_their_names() -> None:
    """The names are in stored plans."""
    shipped_ablation = schema.load_ablation("components", [schema.CONF])
    declared_components = schema.load_components([schema.CONF])
    arms = list(designs.build_arms(shipped_ablation))
    assert arms == COMPONENTS_ARMS
    contrasts_by_name = designs.build_contrasts(shipped_ablation, declared_components, arms)
    assert [c.name for c in contrasts_by_name] == COMPONENTS_CONTRASTS


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


def list_head_overrides() -> dict[str, dict[str, dict[str, Any]]]:
    """Return ablation -> head -> its keys, with those of the base."""
    heads, flip = (schema.load_ablation(n, [schema.CONF]) for n in ("heads", "heads_flip"))
    settings = {"film-6": {}, **{n: s.overrides for n, s in heads.settings.items()}}
    arms = {n: a.overrides for n, a in flip.arms.items() if n != "nothing"}
    return {
        "heads": {n: {**heads.overrides, **overrides} for n, overrides in settings.items()},
        "heads_flip": {
            n: {**{k: flip.overrides[k] for k in heads.overrides}, **overrides}
            for n, overrides in arms.items()
        },
    }


def test_both_studies_of_heads_have_the_same_heads() -> None:
    heads, flip = list_head_overrides().values()
    assert len(heads) == 15
    assert heads == flip
    loaded = {n: schema.load_ablation(n, [schema.CONF]) for n in ("heads", "heads_flip")}
    labels = {n: s.label for n, s in loaded["heads"].settings.items()}
    assert labels == {n: loaded["heads_flip"].arms[n].label for n in labels}
    compared = {c.plus: c.label for c in loaded["heads_flip"].contrasts.values()}
    assert compared == {n: loaded["heads_flip"].arms[n].label for n in heads}
    assert {c.minus for c in loaded["heads_flip"].contrasts.values()} == {"nothing"}


def test_every_head_states_the_scale_of_its_modulation() -> None:
    for name, setting in schema.load_ablation("heads", [schema.CONF]).settings.items():
        assert "method.modulation_init_gain" in setting.overrides, name


def test_names_of_arms_have_one_kind_of_hyphen_and_are_found_by_both() -> None:
    for name in schema.list_ablations([schema.CONF]):
        arms = designs.build_arms(schema.load_ablation(name, [schema.CONF]))
        assert not [arm for arm in arms if "_" in arm]
    names = ["full", "no-mp-nce", "a_b", "a-b"]
    assert designs.find_arm_name("no-mp_nce", names) == "no-mp-nce"
    assert designs.find_arm_name("a_b", names) == "a_b"
    assert designs.find_arm_name("a-b", names) == "a-b"
    with pytest.raises(UserError, match="full"):
        designs.find_arm_name("fill", names)


SETTINGS = {
    "warm": SettingDefinition(label="warm", overrides={"x.t": 1}),
    "two_d": SettingDefinition(label="in 2D", overrides={"x.d": 2}),
}


def test_a_leave_one_out_design_is_repeated_in_every_setting() -> None:
    it = ablation(2, "leave_one_out", settings=SETTINGS)
    arms = designs.build_arms(it)
    assert list(arms) == [
        *("full", "no-a", "no-b"),
        *("warm", "warm-no-a", "warm-no-b"),
        *("two-d", "two-d-no-a", "two-d-no-b"),
    ]
    assert arms["two-d-no-b"].components_off == ("b",)
    assert arms["two-d-no-b"].overrides == {"x.d": 2}
    assert arms["two-d-no-b"].label == "in 2D, without b"
    assert arms["warm"].components_off == ()
    assert {a.role for n, a in arms.items() if n.startswith(("warm", "two"))} == {"setting"}
    found = contrasts(it)
    effects = {n: c for n, c in found.items() if c.component is not None}
    assert {n: (c.component, c.setting) for n, c in effects.items()} == {
        "full - no-a": ("a", None),
        "full - no-b": ("b", None),
        "warm - warm-no-a": ("a", "warm"),
        "warm - warm-no-b": ("b", "warm"),
        "two-d - two-d-no-a": ("a", "two_d"),
        "two-d - two-d-no-b": ("b", "two_d"),
    }
    assert {n for n, c in found.items() if c.primary} == {"full - no-a", "full - no-b"}
    assert {"warm - full", "two-d - full"} == set(found) - set(effects)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("full",), "already has an arm full"),
        (("no-a",), "already has an arm no-a"),
        (("a_b", "a-b"), "already has an arm a-b"),
    ],
)
def test_a_setting_does_not_replace_another_arm(names: tuple[str, ...], match: str) -> None:
    settings = dict.fromkeys(names, SETTINGS["warm"])
    with pytest.raises(UserError, match=match):
        designs.build_arms(ablation(2, "leave_one_out", settings=settings))


def test_a_setting_does_not_turn_a_component_on_again() -> None:
    settings = {"odd": SettingDefinition(label="odd", overrides={"x.b": 1})}
    with pytest.raises(UserError, match=r"setting odd sets x\.b, by which component b is turned"):
        designs.validate_ablation(ablation(2, "leave_one_out", settings=settings), DECLARED)


def test_each_kind_of_noise_arm_has_a_contrast_of_its_own() -> None:
    noise_arms = {
        "again": ArmDefinition(role="noise", overrides={"stream": 1}),
        "perturbed": ArmDefinition(role="noise", overrides={designs.PERTURBATION_KEY: 1e-6}),
    }
    found = contrasts(ablation(1, "leave_one_out", arms=noise_arms))
    noise = {n: c for n, c in found.items() if c.kind == "noise"}
    assert list(noise) == ["noise", "noise-perturbed"]
    assert noise["noise"].weights == {"full": 1.0, "again": -1.0}
    assert "slightly changed initial weights" in noise["noise-perturbed"].label
