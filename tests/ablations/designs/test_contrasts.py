"""Contrasts of an ablation: names that are in stored plans, listed ones, and noise floors."""

from __future__ import annotations

import pytest

from ablations import designs, schema
from ablations.schema import ArmDefinition, ContrastDefinition
from tests.helpers.designs import DECLARED, ablation, contrasts

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


@pytest.mark.parametrize("design", ["crossed", "leave_one_out"])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_contrasts_sum_to_zero_and_use_existing_arms(design: str, k: int) -> None:
    it = ablation(k, design)
    arms = designs.build_arms(it)
    for name, contrast in contrasts(it).items():
        assert sum(contrast.weights.values()) == 0, name
        assert set(contrast.weights) <= set(arms)
        assert sum(abs(w) for w in contrast.weights.values()) == pytest.approx(2), name


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


def test_arms_and_contrasts_of_components_keep_their_names() -> None:
    """The names are in stored plans."""
    shipped_ablation = schema.load_ablation("components", [schema.CONF])
    declared_components = schema.load_components([schema.CONF])
    arms = list(designs.build_arms(shipped_ablation))
    assert arms == COMPONENTS_ARMS
    contrasts_by_name = designs.build_contrasts(shipped_ablation, declared_components, arms)
    assert [c.name for c in contrasts_by_name] == COMPONENTS_CONTRASTS


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
