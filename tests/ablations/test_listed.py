"""Ablations made of lists: arms, labels, the reference, contrasts, and what is refused."""

from __future__ import annotations

import pytest

from ablations.designs import build_arms, build_contrasts, validate_ablation
from ablations.listed import build_listed_ablation
from uniclip.errors import UserError


def test_each_value_is_an_arm_compared_with_the_first() -> None:
    ablation = build_listed_ablation({"train.learning_rate": [1e-3, 1e-5, 2]}, {})
    validate_ablation(ablation, {})
    assert ablation.name == "learning_rate"
    arms = build_arms(ablation)
    assert list(arms) == ["learning_rate-0.001", "learning_rate-1e-05", "learning_rate-2"]
    assert [arm.label for arm in arms.values()] == [
        "train.learning_rate=0.001", "train.learning_rate=1e-05", "train.learning_rate=2"
    ]  # fmt: skip
    assert arms["learning_rate-2"].overrides == {"train.learning_rate": 2}
    contrasts = build_contrasts(ablation, {}, list(arms))
    assert ablation.reference == "learning_rate-0.001"
    assert [c.weights for c in contrasts] == [
        {name: 1.0, "learning_rate-0.001": -1.0} for name in list(arms)[1:]
    ]
    assert all(c.primary for c in contrasts)


def test_several_keys_and_groups_are_crossed() -> None:
    ablation = build_listed_ablation(
        {"train.adam_betas": [[0.9, 0.98], [0.9, 0.999]], "lock": ["none", "image"]},
        {"method": ["clip", "uniclip"]},
    )
    assert ablation.name == "method-adam_betas-lock"
    assert len(ablation.arms) == 8
    arm = ablation.arms["method-uniclip-adam_betas-0.9-0.98-lock-image"]
    assert arm.groups == {"method": "uniclip"}
    assert arm.overrides == {"train.adam_betas": [0.9, 0.98], "lock": "image"}
    assert arm.label == "method=uniclip, train.adam_betas=[0.9, 0.98], lock=image"


def test_arms_of_conditions_are_named_by_their_comparisons() -> None:
    ablation = build_listed_ablation({"data.where": ["sim < 0.5", "sim>=0.5", None]}, {})
    assert list(ablation.arms) == ["where-sim-lt-0.5", "where-sim-ge-0.5", "where-null"]
    assert ablation.arms["where-sim-lt-0.5"].overrides == {"data.where": "sim < 0.5"}


def test_too_many_combinations_and_equal_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"train.steps x seed are 81 arms, at most 64"):
        build_listed_ablation({"train.steps": range(1, 10), "seed": range(9)}, {})
    with pytest.raises(UserError, match="two arms are called name-a-b"):
        build_listed_ablation({"model.image.name": ["a/b", "a b"]}, {})
