"""Findings on components that did nothing: in the trained model, or in some of the arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.results.results import KnockoutEffect, compute_knockout_effect
from analysis.review.design import NUM_SCALE_SEEDS, STEPS, has_free_steps
from analysis.review.finding import (
    CommandWords,
    Finding,
    Remedy,
    ReviewInput,
    format_seeds,
    join_names,
)
from uniclip.config.compose import flatten
from uniclip.store import AuditCheck, Component

IDLE_LOSS_CHANGE, IDLE_RELATIVE_CHANGE = 0.005, 0.01
"""A component counts as idle if its knock-out changes the validation loss by less, in nats, and if
its parameters moved by less, relative to their initial norm."""
LONGER = 2.0
"""Factor of the steps in which an idle component may be learned."""
CHECK = "idle_component"


def check_idle_components(review: ReviewInput) -> Iterator[Finding]:
    """Yield a finding for each component that the trained reference does not seem to use, or that
    cannot act in some of the arms from which its effect is estimated."""
    plan = review.plan
    for component in plan.components:
        knockout = compute_knockout_effect(review.results.sweep_data, component.name)
        compared_arms = _list_compared_arms(review, component)
        inert_checks = [
            check
            for check in review.results.audit_checks
            if check.inert and check.component == component.name and check.arm in compared_arms
        ]
        inert_arms = {check.arm for check in inert_checks}
        if _is_idle(knockout) or (inert_arms and inert_arms == set(compared_arms)):
            yield _make_idle_finding(review, component, knockout, inert_checks)
        elif inert_checks:
            yield _make_inert_finding(component, inert_checks, len(compared_arms))


def _list_compared_arms(review: ReviewInput, component: Component) -> list[str]:
    """Return the arms of the effects of a component; all, if no contrast is about it."""
    plan = review.plan
    contrasts = [c for c in plan.contrasts if c.component == component.name]
    used = {arm for contrast in contrasts for arm in contrast.weights}
    return [arm.name for arm in plan.arms if not contrasts or arm.name in used]


def _is_idle(knockout: KnockoutEffect) -> bool:
    changes = knockout.relative_changes.values()
    return (
        knockout.loss_change is not None
        and abs(knockout.loss_change) < IDLE_LOSS_CHANGE
        and all(change < IDLE_RELATIVE_CHANGE for change in changes)
    )


def _make_inert_finding(
    component: Component, checks: Sequence[AuditCheck], num_arms: int
) -> Finding:
    arms_by_detail: dict[str, list[str]] = {}
    for check in checks:
        arms_by_detail.setdefault(check.detail, []).append(check.arm)
    num_inert = len({check.arm for check in checks})
    return Finding(
        check=CHECK,
        title=f"{component.label}: it cannot act in {num_inert} of {num_arms} arms",
        severity="major",
        evidence=tuple(f"{join_names(arms)}: {text}" for text, arms in arms_by_detail.items()),
        reason="These arms have no effect of it, and make the mean over all arms smaller than its "
        "effect where it acts.",
        remedy=Remedy(
            description="no cells: declare what it needs (requires: in components.yaml) and choose "
            "a design that has rules between components, or state its effect where it acts",
            commands=(CommandWords(command="report"),),
            runs={},
        ),
    )


def _make_idle_finding(
    review: ReviewInput,
    component: Component,
    knockout: KnockoutEffect,
    inert_checks: Sequence[AuditCheck],
) -> Finding:
    plan = review.plan
    arms = [
        plan.reference,
        *(
            arm.name
            for arm in plan.arms
            if arm.levels and not arm.levels.get(component.name, True)
            and all(on for name, on in arm.levels.items() if name != component.name)
        ),
    ]  # fmt: skip
    evidence = [f"{check.arm}: {check.name}: {check.detail}" for check in inert_checks]
    if knockout.loss_change is not None:
        evidence.append(
            f"{component.label}: switched off in the trained {plan.reference}, the validation "
            f"loss changes by {knockout.loss_change:+.4f}"
        )
    evidence += [
        f"{part} moved by {change:.3g} of its initial norm"
        for part, change in knockout.relative_changes.items()
    ]
    steps, seeds = flatten(plan.base_config).get(STEPS), plan.seeds[:NUM_SCALE_SEEDS]
    words = (
        *review.select_arms(arms),
        f"{STEPS}={round((steps or 0) * LONGER)}",
        format_seeds(seeds),
    )
    return Finding(
        check=CHECK,
        title=f"{component.label}: its knock-out changes nothing",
        severity="major",
        evidence=tuple(evidence),
        reason="A component that the trained model does not use was not tested: its null says "
        "nothing on the idea.",
        remedy=Remedy(
            description=f"{join_names(arms)} for twice the steps: whether the component is "
            "learned at all",
            commands=(CommandWords(changes=words, same_sweep=False),)
            if steps and has_free_steps(plan, arms)
            else (),
            runs=dict.fromkeys(arms, LONGER * len(seeds)),
        ),
    )
