"""Alarms about scores on published data sets: labels in another order, chance, and leakage.

What a run kept beside its scores says whether its predictions would be right after a renaming of
the classes, and which test pictures are near-duplicates of training pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis import formatting
from analysis.collect import literature, predictions
from analysis.collect.frame import Gathered
from analysis.tables.table import Entry, Table, entries
from uniclip.evaluate.checks import label_order, near_duplicates
from uniclip.store import Cell, Plan, Store

OUTCOMES = ("zeroshot", "zeroshot.accuracy", "retrieval.i2t.r1")
"""Per-sample outcomes of test pictures: the first that a run kept is looked at."""
SPOKEN = {"zeroshot": "zero-shot accuracy", "zeroshot.accuracy": "zero-shot accuracy"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one run's scores on one data set were checked for; None = that could not be."""

    dataset: str
    arm: str
    seed: int
    run: str
    named: float | None
    """Accuracy as the classes are named, on the half of the pictures that judges a renaming."""
    renamed: float | None
    """After the renaming that fits the other half best."""
    other_order: bool | None
    """Whether labels and names seem to be in different orders."""
    above_chance: bool | None
    score: str
    """Whose outcomes `value` and `without` are means of; empty if there are none."""
    value: float | None
    without: float | None
    """The same without near-duplicates; None if nothing is left, or not comparable."""
    comparable: bool = True
    """Whether near-duplicates were looked for among the pictures that were scored."""
    near: int | None
    """Test pictures that are near-duplicates of training pictures."""
    plain: int | None
    """Those too plain to be judged."""
    samples: int


def checks(store: Store, gathered: Gathered) -> list[Check]:
    """Every run on every published set on which it was scored."""
    plan = gathered.plan
    made: list[Check] = []
    for dataset in literature.sets(plan):
        for cell in plan.cells:
            if dataset in plan.evaluations[cell.arm]:
                found = _check(store, gathered, cell, dataset)
                made += [found] if found is not None else []
    return made


def _check(store: Store, gathered: Gathered, cell: Cell, dataset: str) -> Check | None:
    names = ("zeroshot.renamed", "zeroshot.alarm", "leaked", *OUTCOMES)
    kept = predictions.arrays(store.run(cell.run), gathered.plan, dataset, names)
    above = _above_chance(gathered, cell, dataset)
    if not kept and above is None:
        return None
    renamed = kept.get("zeroshot.renamed")
    score = next((n for n in OUTCOMES if n in kept), "")
    outcome, leaked = kept.get(score), kept.get("leaked")
    near = None if leaked is None else np.equal(leaked, near_duplicates.NEAR)
    rest, comparable = None, True
    if outcome is not None and near is not None:
        comparable = outcome.shape == near.shape
        rest = _mean(outcome[~near]) if comparable else None
    samples = len(next(a for a in (leaked, outcome, np.zeros(0)) if a is not None))
    return Check(
        dataset=dataset,
        arm=cell.arm,
        seed=cell.seed,
        run=cell.run,
        named=None if renamed is None else float(renamed[0]),
        renamed=None if renamed is None else float(renamed[1]),
        other_order=bool(kept["zeroshot.alarm"][0]) if "zeroshot.alarm" in kept else None,
        above_chance=above,
        score=score,
        value=_mean(outcome) if outcome is not None else None,
        without=rest,
        comparable=comparable,
        near=None if near is None else int(near.sum()),
        plain=None if leaked is None else int((leaked == near_duplicates.TOO_PLAIN).sum()),
        samples=samples,
    )


def _above_chance(gathered: Gathered, cell: Cell, dataset: str) -> bool | None:
    for name in OUTCOMES:
        rows = gathered.rows(dataset, name)
        own = rows[(rows["arm"] == cell.arm) & (rows["seed"] == cell.seed)]
        own = own[own["value"].notna() & own["chance"].notna() & (own["kind"] != "map")]
        if len(own):
            value, chance, samples = own.iloc[0][["value", "chance", "samples"]]
            return label_order.above_chance(float(value), float(chance), int(samples))
    return None


def _mean(outcome: NDArray[np.generic]) -> float | None:
    return math.fsum(outcome.astype(np.float64)) / len(outcome) if len(outcome) else None


# ---- what a report says --------------------------------------------------------------------------


def table(plan: Plan, made: Sequence[Check]) -> Table:
    """A line for each data set; a row of the CSV for each run and data set."""
    sets = list(dict.fromkeys(c.dataset for c in made))
    rows = []
    for dataset in sets:
        own = [c for c in made if c.dataset == dataset]
        rows.append(entries(dataset, _order(own), _chance(own), _leaked(own), _without(plan, own)))
    return Table(
        name="alarms",
        title="Alarms about the published data sets",
        headings=(
            "data set",
            "labels in another order?",
            "runs above chance",
            "near-duplicates of training pictures",
            f"{plan.arm(plan.reference).label}: score, and without them",
        ),
        rows=tuple(rows),
        records=tuple(_record(c) for c in made),
        texts=5,
        notes=(
            f"Another order: a renaming of the classes, found on half of the pictures, makes the "
            f"accuracy on the other half {label_order.GAIN:g} times as high, beyond "
            f"{label_order.DEVIATIONS:g} standard deviations.",
            "Above chance: by more than three standard deviations of the test pictures.",
            f"Near-duplicates: difference hashes of 64 bits that differ in at most {near_duplicates.BITS}, "
            f"and grey levels by at most {near_duplicates.LEVELS:g} of 255 on average, of the pictures' "
            "central squares; mirrored or cropped copies are not found, and of unlike pairs at "
            f"most {1e6 * near_duplicates.WRONG:g} in a million are taken for copies. A starting "
            "checkpoint's own training pictures are not known here.",
        ),
    )


def lines(plan: Plan, made: Sequence[Check]) -> Iterator[str]:
    """What a reader must not miss: a sentence each; none if all is well."""
    for dataset in dict.fromkeys(c.dataset for c in made):
        own = [c for c in made if c.dataset == dataset]
        if any(c.other_order for c in own):
            yield f"{dataset}: labels and class names may be in different orders: {_worst(own)}."
        if any(c.near for c in own):
            said = _without(plan, own)
            value = f"; {plan.arm(plan.reference).label}: {said}" if said else ""
            yield f"{dataset}: {_leaked(own)}{value}."


def _order(own: Sequence[Check]) -> Entry:
    known = [c for c in own if c.other_order is not None]
    if not known:
        return Entry(text="not checked", tone="quiet")
    if any(c.other_order for c in known):
        return Entry(text=f"ALARM: {_worst(known)}", tone="bad", bold=True)
    return Entry(text="no")


def _worst(own: Sequence[Check]) -> str:
    found = [c for c in own if c.other_order]
    worst = max(found, key=lambda c: c.renamed or 0.0)
    return (
        f"in {len(found)} of {len(own)} runs, accuracy {formatting.number(worst.named)} as named, "
        f"{formatting.number(worst.renamed)} renamed"
    )


def _chance(own: Sequence[Check]) -> Entry:
    known = [c.above_chance for c in own if c.above_chance is not None]
    if not known:
        return Entry(text="not checked", tone="quiet")
    return Entry(text=f"{sum(known)} of {len(known)}", tone="" if all(known) else "bad")


def _leaked(own: Sequence[Check]) -> str:
    known = [c for c in own if c.near is not None]
    if not known:
        return "not checked"
    counts = sorted({c.near for c in known if c.near is not None})
    few = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    plain = max(c.plain or 0 for c in known)
    rest = f" ({plain:,} too plain to tell)" if plain else ""
    return (
        f"{few} of {known[0].samples:,} test pictures are near-duplicates of training pictures"
        f"{rest}"
    )


def _without(plan: Plan, own: Sequence[Check]) -> str:
    mine = [c for c in own if c.arm == plan.reference and c.near and c.value is not None]
    if not mine:
        return ""
    rest = [c.without for c in mine if c.without is not None]
    value = math.fsum(c.value for c in mine if c.value is not None) / len(mine)
    name = SPOKEN.get(mine[0].score) or formatting.score_label(mine[0].score)
    left = formatting.number(math.fsum(rest) / len(rest)) if rest else "none is left"
    if not all(c.comparable for c in mine):
        left = "not comparable"
    return f"{name} {formatting.number(value)}, without them {left}"


def _record(check: Check) -> dict[str, object]:
    return {
        "dataset": check.dataset,
        "arm": check.arm,
        "seed": check.seed,
        "accuracy_as_named": check.named,
        "accuracy_renamed": check.renamed,
        "other_order": check.other_order,
        "above_chance": check.above_chance,
        "near_duplicates": check.near,
        "too_plain": check.plain,
        "samples": check.samples,
        "score": check.score,
        "value": check.value,
        "without_near_duplicates": check.without,
        "runs": check.run,
    }
