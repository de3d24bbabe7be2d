"""What a comparison holds equal, and what not: a table by arm, and a stamp on every contrast."""

from __future__ import annotations

from collections.abc import Iterable

from analysis import words
from analysis.table import Table, entries
from uniclip.store import Contrast, Plan

FEW = 4
"""So many differences are spelt out in a stamp."""


def stamp(plan: Plan, plus: Iterable[str], minus: Iterable[str]) -> str:
    """ "equal in ...; not equal in ..." of the two sides of a comparison."""
    sides = [[plan.facts[a] for a in arms if a in plan.facts] for arms in (plus, minus)]
    if not all(sides):
        return "not stated"
    equal, unequal = [], []
    for said in sides[0][0]:
        left, right = (sorted({facts.get(said, 0.0) for facts in side}) for side in sides)
        if left == right == [0.0]:
            continue
        if left == right:
            equal.append(said)
        else:
            unequal.append(f"{said} ({_spoken(left)} against {_spoken(right)})")
    if not unequal:
        return "equal in all that is counted"
    rest = f" and {len(unequal) - FEW} more" if len(unequal) > FEW else ""
    told = f"not equal in {', '.join(unequal[:FEW])}{rest}"
    return f"equal in {', '.join(equal)}; {told}" if equal else told


def of_contrast(plan: Plan, contrast: Contrast) -> str:
    """The stamp of a contrast."""
    return stamp(plan, *words.sides(contrast))


def audit(plan: Plan) -> Table:
    """Arms across what is counted; what is equal in all of them is told once, below."""
    facts = {a.name: plan.facts.get(a.name, {}) for a in plan.arms}
    names = dict.fromkeys(said for of_arm in facts.values() for said in of_arm)
    differing = [n for n in names if len({f.get(n) for f in facts.values()}) > 1]
    one = next(iter(facts.values()), {})
    same = [f"{n} ({_number(one[n])})" for n in names if n not in differing and one[n]]
    contrasts = [f"{c.label}: {of_contrast(plan, c)}." for c in plan.contrasts if c.kind != "noise"]
    return Table(
        name="fairness",
        title="What is equal between the arms, and what is not",
        headings=("arm", *differing),
        rows=tuple(
            entries(a.label, *(_number(facts[a.name].get(n)) for n in differing)) for a in plan.arms
        ),
        records=tuple({"arm": name, **of_arm} for name, of_arm in facts.items()),
        notes=(f"Equal in every arm: {', '.join(same)}." if same else "", *contrasts),
    )


def _spoken(values: list[float]) -> str:
    return " or ".join(_number(v) for v in values)


def _number(value: float | None) -> str:
    return "not counted" if value is None else f"{value:,.0f}"
