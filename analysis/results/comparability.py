"""Comparability: which quantities the two sides of a contrast share, in one line.

Time and memory depend on the machine: they are compared next to the costs, never in a table of
scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uniclip.config.compose import flatten
from uniclip.store import Arm, Contrast

ComparisonFacts = Mapping[str, Mapping[str, float | None]]
"""Arm -> quantity -> count; None where the labels of the data decide it."""

FLOPS, PARAMETERS = "FLOPs", "parameters"
SIZE_TOLERANCES = {FLOPS: 0.01, PARAMETERS: 0.01}
"""Quantity -> relative difference up to which it counts as matched; all others must be equal."""
RELATIVE_TOLERANCE = 0.1
TIME, MEMORY = "seconds per run", "peak memory (MB)"
MEASURED_TOLERANCES = {TIME: RELATIVE_TOLERANCE, MEMORY: RELATIVE_TOLERANCE}
"""The same for quantities that depend on the machine."""
DECIDED_BY_LABELS, NOT_STATED = "not counted (labels)", "not stated"
ALL_MATCHED = "matched in all counted quantities"


def combine_comparison_facts(
    plan_facts: ComparisonFacts,
    base_config: Mapping[str, Any],
    arms: Iterable[Arm],
    probes: Iterable[Mapping[str, Any]],
) -> ComparisonFacts:
    """Return what is counted of each arm: training FLOPs and parameters, then the plan's facts.

    Args:
        plan_facts: `Plan.comparison_facts`.
        base_config: `Plan.base_config`.
        arms: arms of the plan.
        probes: measurements made before the sweep; they know the sizes of the models.
    """
    default_steps, steps_by_arm = _get_training_steps(base_config, arms)
    size_facts: dict[str, dict[str, float | None]] = {}
    for probe in probes:
        if {"flops_per_step", "parameters"} <= probe.keys():
            training_flops = probe["flops_per_step"] * steps_by_arm.get(probe["arm"], default_steps)
            size_facts[probe["arm"]] = {FLOPS: training_flops, PARAMETERS: probe["parameters"]}
    return {a: {**size_facts.get(a, {}), **arm_facts} for a, arm_facts in plan_facts.items()}


def collect_measured_facts(
    base_config: Mapping[str, Any], arms: Sequence[Arm], probes: Iterable[Mapping[str, Any]]
) -> ComparisonFacts:
    """Return each arm's seconds per run and peak memory, as probed on this machine.

    The arguments are those of `combine_comparison_facts`.
    """
    default_steps, steps_by_arm = _get_training_steps(base_config, arms)
    measured_facts: dict[str, dict[str, float | None]] = {a.name: {} for a in arms}
    for probe in probes:
        arm_facts = measured_facts.setdefault(probe["arm"], {})
        if {"seconds_per_step", "setup_and_eval_seconds"} <= probe.keys():
            seconds = probe["seconds_per_step"] * steps_by_arm.get(probe["arm"], default_steps)
            arm_facts[TIME] = seconds + probe["setup_and_eval_seconds"]
        if probe.get("peak_memory_bytes") is not None:
            arm_facts[MEMORY] = probe["peak_memory_bytes"] / 1e6
    return measured_facts


def _get_training_steps(
    base_config: Mapping[str, Any], arms: Iterable[Arm]
) -> tuple[int, dict[str, int]]:
    """Return the training steps of the base configuration, and arm -> training steps."""
    default_steps = int(flatten(base_config).get("train.steps", 0))
    return default_steps, {
        a.name: int(a.config_diff.get("train.steps", default_steps)) for a in arms
    }


@dataclass(frozen=True, kw_only=True)
class ConditionComparison:
    """Which quantities the two sides of a contrast share."""

    matched: tuple[str, ...]
    """Quantities that are equal, or differ by their tolerance at most; those of 0 are left out."""
    differences: tuple[tuple[str, str, str], ...]
    """(quantity, value on the left, value on the right) of the others."""
    decided_by_labels: tuple[str, ...]
    """Quantities that the labels of the data decide."""

    @property
    def is_matched(self) -> bool:
        """Whether no quantity is known to differ, or is left to the labels."""
        return not self.differences and not self.decided_by_labels


def compare_quantities(
    facts: ComparisonFacts, contrast: Contrast, tolerances: Mapping[str, float] = SIZE_TOLERANCES
) -> ConditionComparison | None:
    """Return the comparison of the two sides of a contrast; None if nothing is stated of both.

    Only quantities that are known of every arm on both sides are compared.

    Args:
        facts: arm -> quantity -> count.
        contrast: the contrast.
        tolerances: quantity -> relative difference up to which it counts as matched; else 0.
    """
    sides = [[facts.get(arm, {}) for arm in arms] for arms in contrast.arms_by_sign]
    shared_quantities = [
        quantity
        for quantity in sides[0][0]
        if all(quantity in arm for side in sides for arm in side)
    ]
    if not shared_quantities:
        return None
    matched_quantities, differences, label_quantities = [], [], []
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
            matched_quantities.append(quantity)
        else:
            counts_texts = (_format_counts(left_counts), _format_counts(right_counts))
            differences.append((quantity, *counts_texts))
    return ConditionComparison(
        matched=tuple(matched_quantities),
        differences=tuple(differences),
        decided_by_labels=tuple(label_quantities),
    )


def compare_conditions(
    facts: ComparisonFacts, contrast: Contrast, tolerances: Mapping[str, float] = SIZE_TOLERANCES
) -> str:
    """Return "matched: ...; not matched: ..." for the two sides of a contrast.

    The arguments are those of `compare_quantities`.
    """
    comparison = compare_quantities(facts, contrast, tolerances)
    if comparison is None:
        return NOT_STATED
    if comparison.is_matched:
        return ALL_MATCHED
    parts = [f"matched: {', '.join(comparison.matched)}"] if comparison.matched else []
    difference_texts = [
        f"{quantity} ({left} vs. {right})" for quantity, left, right in comparison.differences
    ]
    if difference_texts:
        parts.append(f"not matched: {', '.join(difference_texts)}")
    if comparison.decided_by_labels:
        parts.append(f"{DECIDED_BY_LABELS}: {', '.join(comparison.decided_by_labels)}")
    return "; ".join(parts)


def _within_tolerance(left: list[float], right: list[float], tolerance: float) -> bool:
    """Return whether each number has one on the other side within a relative tolerance."""

    def all_matched(values: list[float], candidates: list[float]) -> bool:
        return all(
            any(abs(a - b) <= tolerance * max(abs(a), abs(b)) for b in candidates) for a in values
        )

    return all_matched(left, right) and all_matched(right, left)


def _format_counts(values: list[float]) -> str:
    """Return up to three counts, or the smallest and the largest of more; `values` is sorted."""
    texts = list(dict.fromkeys(format_count(v) for v in values))
    return " or ".join(texts) if len(texts) <= 3 else f"{texts[0]} to {texts[-1]}"


def format_count(value: float) -> str:
    """Return a count with thousands separators; from 1e9 on, and fractions, with 3 digits."""
    is_integral = value == round(value) or value >= 100
    return f"{value:,.0f}" if is_integral and value < 1e9 else f"{value:.3g}"
