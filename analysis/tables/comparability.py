"""Table of comparability: the counted quantities of each arm, and a line for each contrast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.results.comparability import (
    DECIDED_BY_LABELS,
    SIZE_TOLERANCES,
    combine_comparison_facts,
    compare_conditions,
    format_count,
)
from analysis.tables.table import Table, make_row
from uniclip.store import Plan


def build_comparability_table(plan: Plan, probes: Iterable[Mapping[str, Any]]) -> Table:
    """Return arms by the quantities in which they differ; the others are listed in a note."""
    comparison_facts = combine_comparison_facts(
        plan.comparison_facts, plan.base_config, plan.arms, probes
    )
    facts_by_arm = {a.name: comparison_facts.get(a.name, {}) for a in plan.arms}
    quantities = dict.fromkeys(
        quantity for arm_facts in facts_by_arm.values() for quantity in arm_facts
    )
    differing_quantities = [
        q for q in quantities if len({facts.get(q) for facts in facts_by_arm.values()}) > 1
    ]
    first_facts = next(iter(facts_by_arm.values()), {})
    equal_quantities = [
        f"{q} ({_format_quantity(first_facts, q)})"
        for q in quantities
        if q not in differing_quantities and first_facts[q] != 0
    ]
    contrast_notes = [
        f"{c.label}: {compare_conditions(comparison_facts, c)}."
        for c in plan.contrasts
        if c.kind != "noise"
    ]
    tolerances_text = ", ".join(
        f"{quantity} within {tolerance:.0%}" for quantity, tolerance in SIZE_TOLERANCES.items()
    )
    return Table(
        name="comparability",
        title="Comparability of the arms",
        headings=("arm", *differing_quantities),
        rows=tuple(
            make_row(
                a.label, *(_format_quantity(facts_by_arm[a.name], q) for q in differing_quantities)
            )
            for a in plan.arms
        ),
        records=tuple(
            {"arm": arm, **{q: DECIDED_BY_LABELS if v is None else v for q, v in facts.items()}}
            for arm, facts in facts_by_arm.items()
        ),
        notes=(
            f"Equal in every arm: {', '.join(equal_quantities)}." if equal_quantities else "",
            f"FLOPs are those of training. Matched: {tolerances_text}, all other quantities "
            "exactly. Time and memory are compared with the costs.",
            *contrast_notes,
        ),
    )


def _format_quantity(arm_facts: Mapping[str, float | None], quantity: str) -> str:
    if quantity not in arm_facts:
        return "not measured"
    value = arm_facts[quantity]
    return DECIDED_BY_LABELS if value is None else format_count(value)
