"""Crossed designs: contrasts that recover planted effects."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ablations import designs
from ablations.schema import Ablation
from tests.helpers.designs import LETTERS, ablation, contrasts, planted, value
from uniclip.errors import UserError


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
        name="t", title="T", design="crossed", components=LETTERS[:5], primary_metrics={}
    )
    with pytest.raises(UserError, match="5 components crossed.*leave_one_out"):
        designs.build_arms(five)


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


def test_forbidden_combinations_are_left_out_of_arms_and_effects() -> None:
    """Effects are averaged over the combinations under which all of their arms are allowed."""
    it = ablation(3, requires={"b": ("a",)})
    assert list(designs.build_arms(it)) == ["full", "no-c", "no-b", "no-b-c", "no-a-b", "none"]
    found = contrasts(it)
    assert set(found["main:b"].weights) == {"full", "no-c", "no-b", "no-b-c"}
    assert set(found["main:a"].weights) == {"no-b", "no-b-c", "no-a-b", "none"}
    assert "interaction:a*b" not in found
    scores = planted(it, {("a",): 0.1, ("b",): 0.2, ("c",): 0.3, ("b", "c"): 0.04})
    for name, effect in {"main:a": 0.1, "main:b": 0.22, "interaction:b*c": 0.02}.items():
        assert value(found[name], scores) == pytest.approx(effect), name


def test_components_that_exclude_each_other_have_no_full_arm() -> None:
    it = ablation(2, reference="none", excludes={"a": ("b",)})
    assert list(designs.build_arms(it)) == ["no-b", "no-a", "none"]
    assert set(contrasts(it)) == {"main:a", "main:b", "no-b - none", "no-a - none"}
