"""What a comparison holds equal, and what not: a table by arm, and a stamp on every contrast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.results.comparability import (
    DECIDED_BY_LABELS,
    SIZE_TOLERANCES,
    collect_comparison_facts,
    compare_conditions,
    format_count,
)
from analysis.tables.table import Table, make_row
from uniclip.store import Plan


def build_comparability_table(plan: Plan, probes: Iterable[Mapping[str, Any]]) -> Table:
    """Arms across what is counted; what is equal in all of them is told once, below."""
    comparison_facts = collect_comparison_facts(plan, probes)
    facts_by_arm = {a.name: comparison_facts.get(a.name, {}) for a in plan.arms}
    quantities = dict.fromkeys(
        quantity for arm_facts in facts_by_arm.values() for quantity in arm_facts
    )
    unequal_quantities = [
        n for n in quantities if len({f.get(n) for f in facts_by_arm.values()}) > 1
    ]
    first_facts = next(iter(facts_by_arm.values()), {})
    equal_quantities = [
        f"{n} ({_format_quantity(first_facts, n)})"
        for n in quantities
        if n not in unequal_quantities and first_facts[n] != 0
    ]
    contrast_lines = [
        f"{c.label}: {compare_conditions(comparison_facts, c)}."
        for c in plan.contrasts
        if c.kind != "noise"
    ]
    tolerances_text = ", ".join(
        f"{quantity} within {tolerance:.0%}" for quantity, tolerance in SIZE_TOLERANCES.items()
    )
    return Table(
        name="fairness",
        title="What is equal between the arms, and what is not",
        headings=("arm", *unequal_quantities),
        rows=tuple(
            make_row(
                a.label, *(_format_quantity(facts_by_arm[a.name], n) for n in unequal_quantities)
            )
            for a in plan.arms
        ),
        records=tuple(
            {"arm": arm, **{n: DECIDED_BY_LABELS if v is None else v for n, v in f.items()}}
            for arm, f in facts_by_arm.items()
        ),
        notes=(
            f"Equal in every arm: {', '.join(equal_quantities)}." if equal_quantities else "",
            f"Operations are those of training. Equal: {tolerances_text}, all else exactly; time and memory "
            "stand with the costs.",
            *contrast_lines,
        ),
    )


def _format_quantity(arm_facts: Mapping[str, float | None], quantity: str) -> str:
    if quantity not in arm_facts:
        return "not measured"
    value = arm_facts[quantity]
    return DECIDED_BY_LABELS if value is None else format_count(value)
