"""What two sides of a comparison have in common, and what not, in one line.

Time and memory are the machine's: they are stamped under the costs, never in a table of scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from uniclip.config.compose import flat
from uniclip.store import Contrast, Plan

Facts = Mapping[str, Mapping[str, float | None]]
"""Arm -> what is counted of it, in words -> how much; None: labels decide it."""

FEW = 8
"""So many differences are spelt out in a stamp."""
OPERATIONS, PARAMETERS = "floating-point operations", "parameters"
SIZES = {OPERATIONS: 0.01, PARAMETERS: 0.01}
"""What counts as equal within a share of itself."""
ALIKE = 0.1
TIME, MEMORY = "seconds a run", "peak MB"
MEASURED = {TIME: ALIKE, MEMORY: ALIKE}
"""The machine's: never in a table of scores."""
LABELS, UNKNOWN = "not counted (labels)", "not stated"


def facts(plan: Plan, probes: Iterable[Mapping[str, Any]]) -> Facts:
    """What the plan counts, behind what the probes know of the size of the arms' models."""
    sizes: dict[str, dict[str, float | None]] = {}
    for probe in probes:
        if {"flops_per_step", "parameters"} <= probe.keys():
            operations = probe["flops_per_step"] * _steps(plan, probe["arm"])
            sizes[probe["arm"]] = {OPERATIONS: operations, PARAMETERS: probe["parameters"]}
    return {a: {**sizes.get(a, {}), **counted} for a, counted in plan.facts.items()}


def measured(plan: Plan, probes: Iterable[Mapping[str, Any]]) -> Facts:
    """What the probes say of each arm's time and memory on this machine."""
    known: dict[str, dict[str, float | None]] = {a.name: {} for a in plan.arms}
    for probe in probes:
        of_arm = known.setdefault(probe["arm"], {})
        if {"seconds_per_step", "fixed_seconds"} <= probe.keys():
            seconds = probe["seconds_per_step"] * _steps(plan, probe["arm"])
            of_arm[TIME] = seconds + probe["fixed_seconds"]
        if "peak_memory_bytes" in probe:
            of_arm[MEMORY] = probe["peak_memory_bytes"] / 1e6
    return known


def _steps(plan: Plan, arm: str) -> int:
    delta = next((a.delta for a in plan.arms if a.name == arm), {})
    return int((flat(plan.base) | delta).get("train.steps", 0))


def stamp(facts: Facts, contrast: Contrast, within: Mapping[str, float] = SIZES) -> str:
    """ "equal in ...; not equal in ..." of the two sides of a comparison.

    Only what is known of every arm on both is spoken of. within: quantity -> the share of itself up
    to which it counts as equal; else 0.
    """
    sides = [[facts.get(arm, {}) for arm in arms] for arms in contrast.sides]
    known = [said for said in sides[0][0] if all(said in arm for side in sides for arm in side)]
    if not known:
        return UNKNOWN
    equal, unequal, by_label = [], [], []
    for said in known:
        left, right = ({arm[said] for arm in side} for side in sides)
        if None in left | right:
            by_label.append(said)
            continue
        ours, theirs = (sorted(n for n in side if n is not None) for side in (left, right))
        if ours == theirs == [0.0]:
            continue
        if _alike(ours, theirs, within.get(said, 0.0)):
            equal.append(said)
        else:
            unequal.append(f"{said} ({_spoken(ours)} against {_spoken(theirs)})")
    return _stamped(equal, unequal, by_label)


def _stamped(equal: list[str], unequal: list[str], by_label: list[str]) -> str:
    if not unequal and not by_label:
        return "equal in all that is known"
    rest = f" and {len(unequal) - FEW} more" if len(unequal) > FEW else ""
    parts = [f"equal in {', '.join(equal)}"] if equal else []
    parts += [f"not equal in {', '.join(unequal[:FEW])}{rest}"] if unequal else []
    return "; ".join(parts + ([f"{LABELS}: {', '.join(by_label)}"] if by_label else []))


def _alike(left: list[float], right: list[float], within: float) -> bool:
    """Whether each number on either side has one on the other that is as large, within a share."""

    def met(one: list[float], other: list[float]) -> bool:
        return all(any(abs(a - b) <= within * max(abs(a), abs(b)) for b in other) for a in one)

    return met(left, right) and met(right, left)


def _spoken(values: list[float]) -> str:
    return " or ".join(number(v) for v in values)


def number(value: float) -> str:
    """A count as people read it."""
    whole = value == round(value) or value >= 100
    return f"{value:,.0f}" if whole and value < 1e9 else f"{value:.3g}"
