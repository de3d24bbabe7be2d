"""Findings on the design."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from analysis.collect.frame import collect_plan_data
from analysis.results.results import analyze
from analysis.review.checks import review_sweep
from analysis.review.design import check_compute, check_scale, compare_compute, find_aliases
from analysis.review.finding import ReviewInput
from tests.helpers.reviewed_sweeps import (
    OTHER,
    REFERENCE,
    Story,
    assert_only_finding,
    write_sweep,
)
from uniclip.commands.definition import EXECUTOR
from uniclip.store import Alias, Arm, Contrast, FoldOver, Plan


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("unequal_compute", {"clip": 15.0}),
        ("aliased_effects", {"full": 20.0}),
        ("one_dataset", {}),
        ("one_scale", {REFERENCE: 1.5, OTHER: 1.5}),
    ],
)
def test_a_flaw_is_found_with_the_cells_that_answer_it(
    name: str, runs: dict[str, float], tmp_path: Path
) -> None:
    assert assert_only_finding(tmp_path, name).remedy.runs == runs


@pytest.mark.parametrize(
    ("kind", "is_compared"), [("shapley", True), ("trend", True), ("interaction", False)]
)
def test_shapley_values_and_trends_are_comparisons(
    kind: Literal["shapley", "trend", "interaction"], is_compared: bool, tmp_path: Path
) -> None:
    store, plan = write_sweep(tmp_path, Story())
    results = analyze(store, collect_plan_data(store, plan))
    contrast = replace(plan.contrasts[0], kind=kind, label="X", primary=True)
    facts = {REFERENCE: {"image forward passes": 3.0}, OTHER: {"image forward passes": 1.0}}
    changed_plan = replace(plan, contrasts=(contrast,), comparison_facts=facts)
    changed = replace(results, sweep_data=replace(results.sweep_data, plan=changed_plan))
    review = ReviewInput(results=changed, related_plans=(), further_seeds={})
    evidence = [text for finding in check_compute(review) for text in finding.evidence]
    assert evidence == (["X: image forward passes 3 vs. 1"] if is_compared else [])


def test_compute_is_averaged_with_the_weights_of_the_arms() -> None:
    """A Shapley value gives pairs of arms different weights, which balance other components."""
    facts = {
        arm: {"samples seen": passes} for arm, passes in (("a", 3), ("b", 1), ("c", 3), ("d", 1))
    }
    weights = {"a": 0.75, "b": 0.25, "c": -0.75, "d": -0.25}
    contrast = Contrast(name="x", label="X", kind="shapley", weights=weights, primary=True)
    assert compare_compute(contrast, facts) == ("samples seen", 2.5, 2.5)
    unbalanced = replace(contrast, weights={"a": 0.75, "b": 0.25, "c": -0.25, "d": -0.75})
    assert compare_compute(unbalanced, facts) == ("samples seen", 2.5, 1.5)
    assert compare_compute(contrast, {"a": {"samples seen": 3.0}}) is None


def make_main_contrast(*rows: tuple[bool, ...]) -> tuple[Contrast, dict[str, Arm]]:
    """Return the main effect of "a" over arms with these levels of a, b and c."""
    arms = {
        f"arm{i}": Arm(
            name=f"arm{i}", label="", role="crossed", levels=dict(zip("abc", row)), config_diff={}
        )
        for i, row in enumerate(rows)
    }
    weights = {name: 1.0 if arm.levels["a"] else -1.0 for name, arm in arms.items()}
    contrast = Contrast(
        name="main:a", label="a", kind="main", weights=weights, primary=True, component="a"
    )
    return contrast, arms


def test_aliases_are_read_off_the_levels() -> None:
    on, off = True, False
    half = make_main_contrast((on, on, on), (on, off, off), (off, on, off), (off, off, on))
    assert find_aliases(*half) == ["b x c"]
    together = make_main_contrast((on, on, on), (off, off, on))
    assert find_aliases(*together) == ["b"], "c is the same on both sides"
    single = make_main_contrast((on, on, on), (off, on, on))
    assert find_aliases(*single) == []


def test_a_fraction_offers_the_fold_over_of_its_plan(tmp_path: Path) -> None:
    """With the aliases that the plan lists; those with interactions of three are left out."""
    store, plan = write_sweep(tmp_path, Story(is_tuned=False))
    contrast = replace(
        plan.contrasts[0],
        kind="main",
        component="a",
        label="A",
        aliases=(Alias(effect="b*c", coefficient=1.0), Alias(effect="b*c*d", coefficient=1.0)),
    )
    offer = FoldOver(components=("a",), num_arms=4, separates="A and B x C")
    aliased = replace(plan, contrasts=(contrast,), fold_overs=(offer,))
    (finding,) = [f for f in review_sweep(store, aliased) if f.check == "aliased_effects"]
    assert finding.evidence == ("A cannot be told from b x c",)
    assert "fold_over=[a]" in finding.remedy.commands[0].changes
    assert finding.remedy.runs == {REFERENCE: 20.0}
    parts = tuple(Alias(effect=f"b*{n}", coefficient=-1 / 3) for n in "cd")
    partial = replace(aliased, contrasts=(replace(contrast, aliases=parts),))
    (finding,) = [f for f in review_sweep(store, partial) if f.check == "aliased_effects"]
    assert finding.evidence == ("A: it contains a part of each of 2 interactions of two",)
    none_listed = replace(aliased, contrasts=(replace(contrast, aliases=contrast.aliases[1:]),))
    assert "aliased_effects" not in [f.check for f in review_sweep(store, none_listed)]


def test_settings_of_other_compute_are_another_scale(tmp_path: Path) -> None:
    store, plan = write_sweep(tmp_path, Story())
    results = analyze(store, collect_plan_data(store, plan))
    review = ReviewInput(results=results, related_plans=(), further_seeds={})
    (finding,) = check_scale(review)
    assert "data.path" not in " ".join(finding.evidence)
    scale = replace(plan.contrasts[0], name="scale:x", kind="scale")
    scaled_plan = replace(plan, contrasts=(*plan.contrasts, scale))
    scaled = replace(results, sweep_data=replace(results.sweep_data, plan=scaled_plan))
    assert not list(check_scale(replace(review, results=scaled)))


@pytest.mark.parametrize(
    ("run", "checkpoint", "key"),
    [
        ("train --steps {n}", "", "n"),
        ("train --epochs 2", "", "train.steps"),
        ("train --steps {n}", "last.pt", "n"),
    ],
)
def test_another_program_has_other_answers(
    run: str, checkpoint: str, key: str, tmp_path: Path
) -> None:
    """It is not tuned here, its models may not be evaluated here, and its steps are its own."""
    definition = {"run": run, "steps": "{n}", "checkpoint": checkpoint}

    def change(plan: Plan) -> Plan:
        runtime = {**plan.base_config["runtime"], "command": {"definition": definition}}
        base_config = {**plan.base_config, "runtime": runtime}
        arms = tuple(replace(arm, config_diff={}) for arm in plan.arms)
        return replace(plan, executor=EXECUTOR, base_config=base_config, arms=arms)

    story = Story(datasets=("scenes",), is_tuned=False, has_other_scale=False, change=change)
    store, plan = write_sweep(tmp_path, story)
    findings = {finding.check: finding for finding in review_sweep(store, plan)}
    for name in ("untuned_arms", "one_dataset"):
        assert not findings[name].remedy.runs
    assert "by the program that trains them" in findings["untuned_arms"].remedy.description
    assert not findings["untuned_arms"].remedy.commands
    assert bool(findings["one_dataset"].remedy.commands) == bool(checkpoint)
    (command,) = findings["one_scale"].remedy.commands
    assert f"{key}={plan.base_config['train']['steps'] // 2}" in command.changes
