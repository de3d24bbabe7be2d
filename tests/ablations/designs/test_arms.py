"""Arms of designs, of settings, and listed ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ablations import designs, schema
from ablations.schema import ArmDefinition
from tests.helpers.designs import SETTINGS, ablation, contrasts
from uniclip.errors import UserError


def test_leave_one_out_has_an_arm_per_component() -> None:
    it = ablation(3, "leave_one_out")
    assert list(designs.build_arms(it)) == ["full", "no-a", "no-b", "no-c"]
    contrasts_by_name = contrasts(it)
    assert list(contrasts_by_name) == ["full - no-a", "full - no-b", "full - no-c"]
    assert all(c.primary for c in contrasts_by_name.values())
    assert [c.component for c in contrasts_by_name.values()] == ["a", "b", "c"]


def test_listed_arm_cannot_have_the_name_of_a_designed_arm() -> None:
    with pytest.raises(UserError, match="the design already has an arm no-a"):
        designs.build_arms(ablation(2, arms={"no-a": ArmDefinition()}))


@pytest.mark.parametrize("design", ["crossed", "shapley"])
def test_two_arms_of_a_design_cannot_have_one_name(design: str) -> None:
    """Without this check one arm would silently take the place of the other."""
    it = replace(ablation(3, design), components=("a", "b", "a_b"))
    if design == "shapley":
        assert len(designs.build_arms(it)) == 8, "on-001 has a digit for each component"
        return
    with pytest.raises(UserError, match="two arms of the design are called no-a-b: rename"):
        designs.build_arms(it)


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
