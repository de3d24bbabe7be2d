"""The audit passes the arms of every ablation, and reports duplicates."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from ablations.audit import arm_probe, audit
from ablations.plan.plan import ResolvedPlan
from sweeps.monitor.display import Display
from tests.helpers.plans import OWN_ABLATIONS, TINY_COMPONENTS, plan_from_words
from uniclip.config import RunConfig

ARMS = "arms=[full,no-awareness,no-mp-nce,no-domain-similarity,clip,full-again]"


@pytest.fixture(scope="module")
def resolved_plan() -> ResolvedPlan:
    return plan_from_words(*TINY_COMPONENTS, ARMS)


def shorten_training(resolved_plan: ResolvedPlan) -> dict[str, RunConfig]:
    """Return the configurations with 2 steps instead of the base's, and others in proportion."""
    base = resolved_plan.plan.base_config["train"]["steps"]
    steps = {name: max(1, 2 * c.train.steps // base) for name, c in resolved_plan.configs.items()}
    return {
        name: replace(c, train=replace(c.train, steps=steps[name], validate_every=steps[name]))
        for name, c in resolved_plan.configs.items()
    }


def test_every_check_of_every_arm_passes(resolved_plan: ResolvedPlan) -> None:
    result = audit.run_audit(resolved_plan.plan, resolved_plan.configs)
    assert all(f.passed for f in result.checks), [f for f in result.checks if not f.passed]
    names = {f.name for f in result.checks}
    expected_names = {
        f"{c} is {s}" for c in ("awareness", "mp_nce", "domain_similarity") for s in ("on", "off")
    }
    assert (
        expected_names
        | {"same initial weights", "same samples in order", "different sample order (A/A)"}
        <= names
    )
    assert {p.arm for p in result.probes} == {a.name for a in resolved_plan.plan.arms}
    assert all(p.seconds_per_step > 0 for p in result.probes)
    for p in result.probes:
        assert p.num_workers == 0
        assert 0 < p.data_seconds_per_step < p.seconds_per_step
        assert 0 < p.compute_seconds_per_step < p.seconds_per_step
    assert {p.device for p in result.probes} == {"cpu"}
    assert all(p.device_name for p in result.probes)


def test_fine_tuning_is_not_timed(
    resolved_plan: ResolvedPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes hours, and is priced as training steps."""
    plan, evaluated = resolved_plan.plan, []
    hashes = {"scenes": "1", "cifar10_finetune": "1"}
    plan = replace(plan, evaluation_hashes={plan.reference: hashes})
    probe = arm_probe.probe_arm(resolved_plan.configs[plan.reference])
    monkeypatch.setattr(audit.evaluate, "evaluate", lambda name, *_: evaluated.append(name))
    audit._time_evaluations(plan, probe)
    assert evaluated == ["scenes"]


@pytest.mark.parametrize(
    ("num_workers", "expected", "fastest"),
    [(0, 7.0, 6.0), (1, 5.0, 5.0), (2, 2.5, 2.5), (8, 2.0, 1.0)],
)
def test_the_price_of_a_step_is_that_of_its_slower_part(
    resolved_plan: ResolvedPlan, num_workers: int, expected: float, fastest: float
) -> None:
    """Five seconds to make a batch, one to three to compute the step."""
    config = resolved_plan.configs[resolved_plan.plan.reference]
    probe = arm_probe.probe_arm(config)
    probe.config = replace(config, runtime=replace(config.runtime, num_workers=num_workers))
    probe.step_seconds, probe.batch_seconds = [6.0, 7.0, 8.0], [5.0, 5.0, 5.0]
    record = audit._build_probe_record("full", probe, 0.0)
    assert record.seconds_per_step == expected
    assert record.step_seconds_range[0] == fastest
    assert (record.data_seconds_per_step, record.compute_seconds_per_step) == (5, 2)
    assert record.num_workers == num_workers


SOME_ARMS = {
    "heads": "arms=[full,film-0,film-0-fast,film-deep,cosine-0.1,product-1,product-0,"
    "product-concat-1,concat,concat-no-awareness,product-0-no-awareness]",
    "heads_flip": "arms=[film-6,product-0,nothing]",
    "reconstruction": "arms=[full,no-awareness,head-blocks-3,two-views,strong-views,"
    "no-identity-views,uniform-weights,uniform-weights-no-mp-nce,no-text-text,temperature-0.2,"
    "similarity-rate-1,similarity-rate-1-no-domain-similarity]",
}
"""An arm or two of each setting, of ablations whose arms are settings of the same few keys."""


@pytest.mark.parametrize("ablation", OWN_ABLATIONS)
def test_every_arm_of_every_ablation_passes_the_audit(ablation: str) -> None:
    words_without_steps = [
        word for word in TINY_COMPONENTS[1:] if not word.startswith("train.steps")
    ]  # arms set it
    words = [SOME_ARMS.get(ablation, "arms=null"), *words_without_steps]
    resolved_plan = plan_from_words(f"ablation={ablation}", "budget=study", *words)
    assert not resolved_plan.plan.skipped
    result = audit.run_audit(resolved_plan.plan, shorten_training(resolved_plan)).checks
    assert {f.arm for f in result} == {a.name for a in resolved_plan.plan.arms}
    assert [f for f in result if not f.passed] == []


def test_loss_component_is_inert_with_one_view() -> None:
    resolved_plan = plan_from_words(*TINY_COMPONENTS, "arms=[full,no-mp-nce]", "views.num_strong=0")
    result = audit.run_audit(resolved_plan.plan, resolved_plan.configs).checks
    inert = {f.name for f in result if f.inert}
    assert inert == {"mp_nce is on", "mp_nce is off", "not a duplicate of full"}
    assert all(f.passed for f in result)


def test_arms_with_equal_weights_are_reported_as_duplicates() -> None:
    """Scenes are not flipped by default, so that the flip as input carries no information."""
    no_augmentation = [
        f"data.redraw_prob.{dial}=0" for dial in ("side", "hue", "grey", "zoom", "crop", "blur")
    ]
    words = ["ablation=awareness", "arms=[aware,identity,only-flip]", *TINY_COMPONENTS[1:]]
    resolved_plan = plan_from_words(*words, *no_augmentation)
    (failed,) = (
        f for f in audit.run_audit(resolved_plan.plan, resolved_plan.configs).checks if not f.passed
    )
    assert failed.arm == "only-flip"
    assert "same weights as identity after 4 steps" in failed.failure_message
    augmented = plan_from_words(*words)
    assert all(f.passed for f in audit.run_audit(augmented.plan, augmented.configs).checks)


def test_declared_duplicates_pass_and_are_printed() -> None:
    arms = "arms=[aware-0.9,one-view-mp-nce,one-view-sup-con]"
    words_without_steps = [
        word for word in TINY_COMPONENTS[1:] if not word.startswith("train.steps")
    ]
    resolved_plan = plan_from_words("ablation=truth", arms, *words_without_steps)
    result = audit.run_audit(resolved_plan.plan, shorten_training(resolved_plan)).checks
    (one,) = (f for f in result if f.inert)
    assert (one.arm, one.passed) == ("one-view-sup-con", True)
    output = StringIO()
    Display(Console(file=output, width=200)).print_audit(result)
    expected_names = output.getvalue().splitlines()
    assert expected_names[0] == f"audit: {len(result)} of {len(result)} checks passed"
    assert expected_names[1:] == [
        "audit: one-view-sup-con: same weights as one-view-mp-nce after 4 steps"
    ]
    undeclared_plan = replace(resolved_plan.plan, planted_effects=())
    failed = [
        f
        for f in audit.run_audit(undeclared_plan, shorten_training(resolved_plan)).checks
        if not f.passed
    ]
    assert [f.arm for f in failed] == ["one-view-sup-con"]


def test_strong_views_of_equal_policy_have_the_same_crops() -> None:
    words = [
        "ablation=methods",
        "arms=[uniclip,slip,declip]",
        *TINY_COMPONENTS[1:],
        "data.damaged_views=strong",
    ]
    resolved_plan = plan_from_words(*words, "data.redraw_prob.side=0.5")
    result = audit.run_audit(resolved_plan.plan, resolved_plan.configs).checks
    crops = {f.arm: f for f in result if "crops" in f.name}
    assert all(f.passed for f in crops.values())
    # SLIP's strong crops are its own; DeCLIP has no weak view.
    assert {n: f.detail[0] for n, f in crops.items()} == {
        "uniclip": "3",
        "slip": "1",
        "declip": "2",
    }
