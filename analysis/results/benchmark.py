"""The published data sets of a sweep, put together: arms by data sets, one panel a kind of score.

A panel has one protocol, a column for each data set (also for one that is missing), and means over
one intersection: the sets of which every counted run has every column. A run is counted if it has
any score of the panel. A mean is of one score and one kind: accuracies, average precisions and
recalls are never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.collect import literature
from analysis.results.results import Findings
from analysis.statistics.effects import Observed, indistinguishable
from uniclip.evaluate import datasets
from uniclip.evaluate.protocols import protocol as protocols
from uniclip.evaluate.scoring.score_card import FEWEST
from uniclip.store import Arm, Plan

FORMS = {
    "zero_shot": ("Zero-shot classification", ("zeroshot",)),
    "linear_probe": ("Linear probe", ("probe",)),
    "retrieval_captions": (
        "Captions found for pictures",
        tuple(f"retrieval.i2t.r{k}" for k in protocols.DEPTHS),
    ),
    "retrieval_pictures": (
        "Pictures found for captions",
        tuple(f"retrieval.t2i.r{k}" for k in protocols.DEPTHS),
    ),
}
"""Panels: name, title, scores of each data set."""
METRICS = {"mean_per_class": "mean per class", "map11": "11-point mAP", "map": "mAP"}
CALIBRATION = "zeroshot.ece"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One score of one data set, or its mean over several."""

    datasets: tuple[str, ...]
    """One; or those that a mean is over."""
    score: str
    kind: str
    """accuracy, map, recall or error; empty while nothing was scored."""
    evaluation: str
    """Hash of the protocol; empty for a mean, or a set that is missing."""
    observed: Observed
    samples: int | None
    few: bool
    """Fewer than 50 test pictures: shown, never judged, in no mean."""
    best: frozenset[str]
    """The arms that cannot be told from the best, if that says anything."""

    @property
    def dataset(self) -> str:
        """What it is called in a table for programs."""
        return self.datasets[0] if self.evaluation else f"mean of {len(self.datasets)}"

    def has(self, arm: str, seed: int) -> bool:
        """Whether a run has a value here."""
        return seed in self.observed.values.get(arm, {})


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Arms by data sets, of one kind of evaluation under one protocol."""

    name: str
    title: str
    scores: tuple[str, ...]
    """Of each data set."""
    protocol: str
    metrics: dict[str, str]
    """Of data sets whose metric is neither accuracy nor recall."""
    departs: tuple[str, ...]
    """Where the protocol is not what its source does."""
    arms: tuple[Arm, ...]
    columns: tuple[Column, ...]
    """Of data sets that are here."""
    means: tuple[Column, ...]
    common: tuple[str, ...]
    """The intersection."""
    missing: dict[str, str]
    """Data sets that are not here, and how to get them."""
    left_out: dict[str, str]
    """Data sets that are here and not in the intersection, and why."""

    def in_mean(self, column: Column) -> bool:
        """Whether a data set's score is part of a mean."""
        kinds = {(m.score, m.kind) for m in self.means if column.datasets[0] in m.datasets}
        return bool(column.evaluation) and (column.score, column.kind) in kinds


def panels(findings: Findings) -> list[Panel]:
    """Every panel that has a data set; arms under different protocols are never in one."""
    plan, made = findings.plan, []
    sets = literature.sets(plan)
    by_protocol: dict[str, list[Arm]] = {}
    for arm in plan.arms if sets else ():
        by_protocol.setdefault(literature.protocol_of(plan, arm), []).append(arm)
    for protocol, arms in by_protocol.items():
        for form in FORMS:
            own = [d for d in sets if _has(d, form)]
            if own:
                panel = _panel(findings, form, protocol, tuple(arms), own)
                several = len(by_protocol) > 1
                made.append(replace(panel, name=f"{form}_{protocol}") if several else panel)
    return made


def calibration(findings: Findings, panel: Panel) -> Panel:
    """The expected calibration errors of the data sets of a zero-shot panel."""
    sets = [c.datasets[0] for c in panel.columns]
    columns = [c for c in _columns(findings, panel.arms, sets, (CALIBRATION,)) if c.kind]
    means = _means(panel.arms, [c for c in columns if c.datasets[0] in panel.common])
    return replace(
        panel, columns=tuple(columns), means=tuple(means), missing={}, left_out={}, common=()
    )


def _has(dataset: str, form: str) -> bool:
    """Whether a set is judged in that way."""
    known = datasets.get(dataset)
    if form.startswith("retrieval") or known.kind == "retrieval":
        return form.startswith("retrieval") and known.kind == "retrieval"
    return form == "zero_shot" or {"train", "validation"} <= set(known.parts)


def _panel(
    findings: Findings, form: str, protocol: str, arms: tuple[Arm, ...], sets: Sequence[str]
) -> Panel:
    title, scores = FORMS[form]
    plan = findings.plan
    unprobed = plan.unprobed if form == "linear_probe" else {}
    here = [d for d in sets if d not in unprobed and _judged(plan, d, arms)]
    columns = list(_columns(findings, arms, here, scores))
    left_out = _left_out(columns, arms, here)
    common = tuple(d for d in here if d not in left_out)
    return Panel(
        name=form,
        title=title,
        scores=scores,
        protocol=protocol,
        metrics=_metrics(findings, protocol, columns, sets),
        departs=_departs(findings, protocol, columns),
        arms=arms,
        columns=tuple(columns),
        means=tuple(_means(arms, [c for c in columns if c.datasets[0] in common])),
        common=common,
        missing={d: _reason(plan, (plan.missing | unprobed).get(d)) for d in sets if d not in here},
        left_out=left_out,
    )


def _columns(
    findings: Findings, arms: Sequence[Arm], sets: Sequence[str], scores: Sequence[str]
) -> Iterator[Column]:
    """One for each set and score; two, should arms have been judged on different data."""
    plan, gathered = findings.plan, findings.gathered
    for dataset in sets:
        hashes = dict.fromkeys(plan.evaluations[a.name].get(dataset) for a in arms)
        for evaluation in filter(None, hashes):
            own = [a.name for a in arms if plan.evaluations[a.name].get(dataset) == evaluation]
            for score in scores:
                rows = gathered.rows(dataset, score)
                rows = rows[rows["arm"].isin(own)]
                observed = _only(gathered.observed(dataset, score), own)
                samples, kind = rows["samples"].max(), gathered.kind(dataset, score)
                # what is never maximised is shown only, whatever the number of samples
                few = bool(samples < FEWEST if kind == "error" else rows["shown_only"].any())
                yield Column(
                    datasets=(dataset,),
                    score=score,
                    kind=kind,
                    evaluation=evaluation,
                    observed=observed,
                    samples=int(samples) if samples == samples else None,
                    few=few,
                    best=_best(observed, arms) if kind != "error" and not few else frozenset(),
                )


def _only(observed: Observed, arms: Sequence[str]) -> Observed:
    values = {a: v for a, v in observed.values.items() if a in arms}
    diverged = frozenset((a, s) for a, s in observed.diverged if a in arms)
    return replace(observed, values=values, diverged=diverged)


def _best(observed: Observed, arms: Sequence[Arm]) -> frozenset[str]:
    return frozenset(indistinguishable(observed, [a.name for a in arms if a.role != "noise"]))


def _left_out(
    columns: Sequence[Column], arms: Sequence[Arm], sets: Sequence[str]
) -> dict[str, str]:
    """Why a set is not in the intersection."""
    counted = _counted(columns, arms)
    reasons = {}
    for dataset in sets:
        own = [c for c in columns if c.datasets[0] == dataset]
        lacking = [cell for cell in counted if not all(c.has(*cell) for c in own)]
        if len({c.evaluation for c in own}) > 1:
            reasons[dataset] = "arms were judged on different data"
        elif lacking or not counted:
            reasons[dataset] = f"{len(lacking)} of {len(counted)} counted runs lack it"
        elif any(c.few for c in own):
            reasons[dataset] = "fewer than 50 test samples"
    return reasons


def _counted(columns: Sequence[Column], arms: Sequence[Arm]) -> list[tuple[str, int]]:
    """The (arm, seed) that have any score of the panel."""
    cells = {(a, s) for c in columns for a, v in c.observed.values.items() for s in v}
    return sorted(cells, key=lambda cell: ([a.name for a in arms].index(cell[0]), cell[1]))


def _means(arms: Sequence[Arm], columns: Sequence[Column]) -> Iterator[Column]:
    """The mean of each score and kind that two sets or more have."""
    alike: dict[tuple[str, str], list[Column]] = {}
    for column in columns:
        alike.setdefault((column.score, column.kind), []).append(column)
    for (score, kind), own in alike.items():
        if len(own) > 1:
            observed = _mean(own, arms)
            yield Column(
                datasets=tuple(c.datasets[0] for c in own),
                score=score,
                kind=kind,
                evaluation="",
                observed=observed,
                samples=None,
                few=False,
                best=_best(observed, arms) if kind != "error" else frozenset(),
            )


def _mean(columns: Sequence[Column], arms: Sequence[Arm]) -> Observed:
    n, first = len(columns), columns[0].observed
    values: dict[str, dict[int, float]] = {}
    for arm, seed in _counted(columns, arms):
        each = [c.observed.values[arm][seed] for c in columns]
        values.setdefault(arm, {})[seed] = math.fsum(each) / n
    chances: list[Any] = [c.observed.chance for c in columns]
    return Observed(
        seeds=first.seeds,
        values=values,
        diverged=first.diverged,
        chance=None if None in chances else math.fsum(chances) / n,
        grain=min(c.observed.grain for c in columns) / n,
    )


def _metrics(
    findings: Findings, protocol: str, columns: Sequence[Column], sets: Sequence[str]
) -> dict[str, str]:
    """As the scores state them; of sets that are missing, as a published protocol would."""
    rules = protocols.PROTOCOLS.get(protocol)
    found = {d: rules.metric(d) for d in sets} if rules is not None else {}
    stated = {c.dataset: findings.gathered.protocols.get(c.evaluation, {}) for c in columns}
    known = {**found, **{d: s["metric"] for d, s in stated.items() if "metric" in s}}
    return {d: METRICS[m] for d, m in known.items() if m in METRICS}


def _departs(findings: Findings, protocol: str, columns: Sequence[Column]) -> tuple[str, ...]:
    rules = protocols.PROTOCOLS.get(protocol)
    known = [findings.gathered.protocols.get(c.evaluation, {}).get("departs") for c in columns]
    said = next(filter(None, known), rules.departs if rules is not None else ())
    return tuple(said)


def _judged(plan: Plan, dataset: str, arms: Sequence[Arm]) -> bool:
    return any(dataset in plan.evaluations[a.name] for a in arms)


def _reason(plan: Plan, reason: str | None) -> str:
    """What is missing and how to get it, without the place where the sets lie on one machine."""
    root = Path(plan.base.get("runtime", {}).get("data_root", "data"))
    prefix = "there is no "
    said = "another arm's" if reason is None else reason
    return said.replace(f"{prefix}{root}/", f"{prefix}<data_root>/", 1)
