"""Aliases: each effect estimates the sum that its aliases say, and fold-overs separate them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from ablations import designs
from ablations.designs.aliases import list_fold_overs, make_sign_table
from ablations.schema import Ablation
from tests.helpers.designs import ablation, contrasts, value
from uniclip.store import Contrast

SHAPES: list[tuple[str, int, dict[str, Any]]] = [
    ("fractional", 5, {"resolution": 3}),
    ("fractional", 6, {"resolution": 4}),
    ("fractional", 5, {"resolution": 5}),
    ("fractional", 7, {"resolution": 3, "fold_over": ("b",)}),
    ("plackett_burman", 8, {}),
    ("plackett_burman", 4, {}),
    ("plackett_burman", 5, {"fold_over": ("all",)}),
    ("plackett_burman", 5, {"fold_over": ("a",)}),
]


def score(it: Ablation, effects: dict[str, float]) -> dict[str, float]:
    """Return the scores of arms: half of each effect times the signs of its components."""
    return {
        name: sum(
            effect / 2 * np.prod([-1 if n in arm.components_off else 1 for n in key.split("*")])
            for key, effect in effects.items()
        )
        for name, arm in designs.build_arms(it).items()
    }


def get_effect(contrast: Contrast) -> str:
    return contrast.name.partition(":")[2]


@pytest.mark.parametrize(("design", "k", "more"), SHAPES)
def test_an_effect_is_itself_and_its_aliases(design: str, k: int, more: dict[str, Any]) -> None:
    it = ablation(k, design, **more)
    has_parts = design == "plackett_burman" and more.get("fold_over") != ("all",)
    orders = range(1, 3 if has_parts else 4)
    g = np.random.default_rng(k)
    effects = {
        "*".join(s): g.normal() for n in orders for s in itertools.combinations(it.components, n)
    }
    scores = score(it, effects)
    found = [c for c in contrasts(it).values() if c.kind in ("main", "interaction")]
    assert [get_effect(c) for c in found if c.primary] == list(it.components)
    for contrast in found:
        expected = effects[get_effect(contrast)] + sum(
            a.coefficient * effects[a.effect] for a in contrast.aliases
        )
        assert value(contrast, scores) == pytest.approx(expected), contrast.name
        assert sum(contrast.weights.values()) == pytest.approx(0), contrast.name
        assert contrast.kind != "main" or all("*" in a.effect for a in contrast.aliases)


def test_every_interaction_of_two_is_in_exactly_one_contrast_of_a_resolution_4() -> None:
    found = contrasts(ablation(6, "fractional")).values()
    chains = [c for c in found if c.kind == "interaction"]
    assert len(chains) == 7
    listed = [e for c in chains for e in (get_effect(c), *(a.effect for a in c.aliases))]
    pairs = [e for e in listed if e.count("*") == 1]
    assert sorted(pairs) == sorted("*".join(p) for p in itertools.combinations("abcdef", 2))


def test_labels_never_name_an_effect_without_its_aliases() -> None:
    labels = {
        (k, r): {n: c.label for n, c in contrasts(ablation(k, "fractional", resolution=r)).items()}
        for k, r in ((5, 3), (6, 4), (5, 5), (12, 3))
    }
    assert labels[5, 3]["main:d"] == "D [+ A x B]"
    assert labels[5, 3]["main:a"] == "A [+ B x D + C x E]"
    assert labels[6, 4]["main:a"] == "A [+ B x C x E + D x E x F]"
    assert labels[6, 4]["interaction:a*e"] == "A x E [+ B x C + D x F]"
    assert labels[5, 5]["main:a"] == "A [+ more than three-way]"
    assert labels[12, 3]["main:a"] == "A [+ 4 two-way]"
    partial = contrasts(ablation(8, "plackett_burman"))["main:a"]
    assert partial.label == "A [+ parts of 21 two-way]"
    assert {round(abs(a.coefficient), 9) for a in partial.aliases} == {round(1 / 3, 9)}


def test_a_full_factorial_has_no_aliases() -> None:
    off_sets = [
        tuple(n for n, on in zip("abc", row) if not on)
        for row in itertools.product((True, False), repeat=3)
    ]
    table = make_sign_table(off_sets, "abc")
    assert all(not table.find_aliases(effect, 3) for effect in table.effects)
    assert not list_fold_overs(ablation(3, "fractional"), off_sets)


@pytest.mark.parametrize("k", [5, 6, 7, 12])
def test_the_offered_fold_over_of_resolution_3_clears_every_main_effect(k: int) -> None:
    (offer,) = designs.build_fold_overs(ablation(k, "fractional", resolution=3))
    folded = ablation(k, "fractional", resolution=3, fold_over=offer.components)
    num_arms = len(designs.build_arms(ablation(k, "fractional", resolution=3)))
    assert len(designs.build_arms(folded)) == num_arms + offer.num_arms
    assert offer.separates == f"{k} main effects from interactions of two"
    for contrast in contrasts(folded).values():
        if contrast.kind == "main":
            assert not [a for a in contrast.aliases if a.effect.count("*") == 1]


def test_the_offered_fold_over_of_one_component_separates_its_interactions() -> None:
    offers = {o.components: o for o in designs.build_fold_overs(ablation(6, "fractional"))}
    assert set(offers) == {(n,) for n in "abcdef"}
    assert offers["a",].num_arms == 16
    folded = ablation(6, "fractional", fold_over=("a",))
    assert len(designs.build_arms(folded)) == 32
    chains = [c for c in contrasts(folded).values() if "a" in get_effect(c).split("*")]
    assert len(chains) == 6
    for contrast in chains:
        assert not [a for a in contrast.aliases if a.effect.count("*") == 1], contrast.name


def test_an_offer_keeps_the_fold_overs_of_the_design() -> None:
    """Without them the YAML that it names would be of another design, without the trained arms."""
    it = ablation(7, "fractional", resolution=3, fold_over=("all",))
    offer = designs.build_fold_overs(it)[0]
    assert offer.components == ("all", "a")
    folded = ablation(7, "fractional", resolution=3, fold_over=offer.components)
    added = set(designs.build_arms(folded)) - set(designs.build_arms(it))
    assert set(designs.build_arms(it)) < set(designs.build_arms(folded))
    assert len(added) == offer.num_arms == 16
    assert offer.separates.endswith("(those with a)")


def test_designs_with_every_combination_offer_no_fold_over() -> None:
    assert designs.build_fold_overs(ablation(3)) == ()
    assert designs.build_fold_overs(ablation(5, "fractional", resolution=5)) == ()
