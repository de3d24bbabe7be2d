"""What a comparison holds equal, and what not: a table by arm, and a stamp on every contrast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.results.comparability import LABELS, SIZES, facts, number, stamp
from analysis.tables.table import Table, entries
from uniclip.store import Plan


def audit(plan: Plan, probes: Iterable[Mapping[str, Any]]) -> Table:
    """Arms across what is counted; what is equal in all of them is told once, below."""
    known = facts(plan, probes)
    of_arms = {a.name: known.get(a.name, {}) for a in plan.arms}
    names = dict.fromkeys(said for of_arm in of_arms.values() for said in of_arm)
    differing = [n for n in names if len({f.get(n) for f in of_arms.values()}) > 1]
    one = next(iter(of_arms.values()), {})
    same = [f"{n} ({_told(one, n)})" for n in names if n not in differing and one[n] != 0]
    contrasts = [f"{c.label}: {stamp(known, c)}." for c in plan.contrasts if c.kind != "noise"]
    shares = ", ".join(f"{said} within {share:.0%}" for said, share in SIZES.items())
    return Table(
        name="fairness",
        title="What is equal between the arms, and what is not",
        headings=("arm", *differing),
        rows=tuple(
            entries(a.label, *(_told(of_arms[a.name], n) for n in differing)) for a in plan.arms
        ),
        records=tuple(
            {"arm": arm, **{n: LABELS if v is None else v for n, v in f.items()}}
            for arm, f in of_arms.items()
        ),
        notes=(
            f"Equal in every arm: {', '.join(same)}." if same else "",
            f"Operations are those of training. Equal: {shares}, all else exactly; time and memory "
            "stand with the costs.",
            *contrasts,
        ),
    )


def _told(of_arm: Mapping[str, float | None], name: str) -> str:
    if name not in of_arm:
        return "not measured"
    value = of_arm[name]
    return LABELS if value is None else number(value)
