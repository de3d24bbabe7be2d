"""What two sides of a comparison have in common, and what not, in one line.

Time and memory are the machine's: they are stamped under the costs, never in a table of scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from uniclip.config.compose import flatten
from uniclip.store import Contrast, Plan

ComparisonFacts = Mapping[str, Mapping[str, float | None]]
"""Arm -> what is counted of it, in words -> how much; None: labels decide it."""

MAX_DIFFERENCES = 8
"""So many differences are spelt out in a stamp."""
FLOPS, PARAMETERS = "floating-point operations", "parameters"
SIZE_TOLERANCES = {FLOPS: 0.01, PARAMETERS: 0.01}
"""What counts as equal within a share of itself."""
RELATIVE_TOLERANCE = 0.1
TIME, MEMORY = "seconds a run", "peak MB"
MEASURED_TOLERANCES = {TIME: RELATIVE_TOLERANCE, MEMORY: RELATIVE_TOLERANCE}
"""The machine's: never in a table of scores."""
DECIDED_BY_LABELS, NOT_STATED = "not counted (labels)", "not stated"


def collect_comparison_facts(plan: Plan, probes: Iterable[Mapping[str, Any]]) -> ComparisonFacts:
    """What the plan counts, behind what the probes know of the size of the arms' models."""
    size_facts: dict[str, dict[str, float | None]] = {}
    for probe in probes:
        if {"flops_per_step", "parameters"} <= probe.keys():
            training_flops = probe["flops_per_step"] * _get_training_steps(plan, probe["arm"])
            size_facts[probe["arm"]] = {FLOPS: training_flops, PARAMETERS: probe["parameters"]}
    return {
        a: {**size_facts.get(a, {}), **plan_facts}
        for a, plan_facts in plan.comparison_facts.items()
    }


def collect_measured_facts(plan: Plan, probes: Iterable[Mapping[str, Any]]) -> ComparisonFacts:
    """What the probes say of each arm's time and memory on this machine."""
    measured_facts: dict[str, dict[str, float | None]] = {a.name: {} for a in plan.arms}
    for probe in probes:
        arm_facts = measured_facts.setdefault(probe["arm"], {})
        if {"seconds_per_step", "fixed_seconds"} <= probe.keys():
            seconds = probe["seconds_per_step"] * _get_training_steps(plan, probe["arm"])
            arm_facts[TIME] = seconds + probe["fixed_seconds"]
        if "peak_memory_bytes" in probe:
            arm_facts[MEMORY] = probe["peak_memory_bytes"] / 1e6
    return measured_facts


def _get_training_steps(plan: Plan, arm: str) -> int:
    delta = next((a.config_diff for a in plan.arms if a.name == arm), {})
    return int((flatten(plan.base_config) | delta).get("train.steps", 0))


def compare_conditions(
    facts: ComparisonFacts, contrast: Contrast, tolerances: Mapping[str, float] = SIZE_TOLERANCES
) -> str:
    """ "equal in ...; not equal in ..." of the two sides of a comparison.

    Only what is known of every arm on both is spoken of. within: quantity -> the share of itself up
    to which it counts as equal; else 0.
    """
    sides = [[facts.get(arm, {}) for arm in arms] for arms in contrast.arms_by_sign]
    shared_quantities = [
        quantity
        for quantity in sides[0][0]
        if all(quantity in arm for side in sides for arm in side)
    ]
    if not shared_quantities:
        return NOT_STATED
    equal_quantities, unequal_texts, label_quantities = [], [], []
    for quantity in shared_quantities:
        left_values, right_values = ({arm[quantity] for arm in side} for side in sides)
        if None in left_values | right_values:
            label_quantities.append(quantity)
            continue
        left_counts, right_counts = (
            sorted(n for n in side if n is not None) for side in (left_values, right_values)
        )
        if left_counts == right_counts == [0.0]:
            continue
        if _within_tolerance(left_counts, right_counts, tolerances.get(quantity, 0.0)):
            equal_quantities.append(quantity)
        else:
            unequal_texts.append(
                f"{quantity} ({_format_values(left_counts)} against {_format_values(right_counts)})"
            )
    return _format_comparison(equal_quantities, unequal_texts, label_quantities)


def _format_comparison(
    equal_quantities: list[str], unequal_texts: list[str], label_quantities: list[str]
) -> str:
    if not unequal_texts and not label_quantities:
        return "equal in all that is known"
    more_text = (
        f" and {len(unequal_texts) - MAX_DIFFERENCES} more"
        if len(unequal_texts) > MAX_DIFFERENCES
        else ""
    )
    parts = [f"equal in {', '.join(equal_quantities)}"] if equal_quantities else []
    parts += (
        [f"not equal in {', '.join(unequal_texts[:MAX_DIFFERENCES])}{more_text}"]
        if unequal_texts
        else []
    )
    return "; ".join(
        parts
        + ([f"{DECIDED_BY_LABELS}: {', '.join(label_quantities)}"] if label_quantities else [])
    )


def _within_tolerance(left: list[float], right: list[float], tolerance: float) -> bool:
    """Whether each number on either side has one on the other that is as large, within a share."""

    def all_matched(values: list[float], candidates: list[float]) -> bool:
        return all(
            any(abs(a - b) <= tolerance * max(abs(a), abs(b)) for b in candidates) for a in values
        )

    return all_matched(left, right) and all_matched(right, left)


def _format_values(values: list[float]) -> str:
    return " or ".join(format_count(v) for v in values)


def format_count(value: float) -> str:
    """A count as people read it."""
    is_integral = value == round(value) or value >= 100
    return f"{value:,.0f}" if is_integral and value < 1e9 else f"{value:.3g}"
