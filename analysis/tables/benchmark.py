"""The tables of the published data sets: arms by data sets, calibration, and published values.

A mean over seeds has its 95 % interval from three seeds on; two seeds are shown as they are. What
is not there is "n/a", with the reason and how to get it in a note, and in no mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from analysis import formatting
from analysis.collect import literature
from analysis.results.benchmark import FORMS, Column, Panel, calibration, panels
from analysis.results.results import Findings
from analysis.statistics.effects import effect
from analysis.tables.table import Entry, Table, entries
from uniclip.store import Arm

NAMES = (*FORMS, *(f"published_{form}" for form in FORMS), "calibration", "alarms")
"""What the names of these tables begin with, and of the one with alarms about them."""
INTERVAL = (
    f"Mean over seeds {formatting.PLUS_MINUS} half of its {formatting.confidence()} interval (t over seeds) "
    "from three seeds on; both values where there are two."
)
CONDITIONS = (
    "The verdict compares conditions (backbone, pre-training data, protocol), not methods: what "
    "the row's source states with what our arms state."
)


def build(findings: Findings) -> list[Table]:
    """Every table of published data sets, in reading order; none if the plan asks for no set."""
    made: list[Table] = []
    for panel in panels(findings):
        errors = calibration(findings, panel) if "zeroshot" in panel.scores else None
        made.append(_scores(findings, panel, errors))
        made += _published(findings, panel)
        if errors is not None and errors.columns:
            made.append(_calibration(findings, panel, errors))
    return made


# ---- arms by data sets ---------------------------------------------------------------------------


def _scores(findings: Findings, panel: Panel, errors: Panel | None) -> Table:
    """Arms by data sets; the mean calibration error beside zero-shot accuracy."""
    shown = [*panel.columns, *panel.means, *(errors.means if errors else ())]
    absent = [_heading(d, s) for d in panel.missing for s in panel.scores]
    chances = [formatting.number(c.observed.chance) if _maximised(c) else "" for c in shown]
    samples = ["" if c.samples is None else f"{c.samples:,}" for c in shown]
    none = [Entry(text="n/a", tone="quiet")] * len(absent)
    rows = [entries("chance", *chances, *([""] * len(absent)), "")]
    for arm in panel.arms:
        cells = [_entry(arm, c) for c in shown]
        rows.append(entries(arm.label, *cells, *none, _seeds(findings, panel, arm)))
    rows.append(entries("test samples", *samples, *([""] * len(absent)), ""))
    return Table(
        name=panel.name,
        title=f"{panel.title} ({panel.protocol})",
        headings=("arm", *(_column_heading(c) for c in shown), *absent, "seeds"),
        rows=tuple(rows),
        records=(*_records(findings, panel, shown), *_missing_records(panel)),
        notes=tuple(_notes(panel)),
    )


def _calibration(findings: Findings, panel: Panel, errors: Panel) -> Table:
    """Expected calibration errors beside the accuracies: 0 is best, and there is no chance."""
    shown = [*errors.columns, *errors.means]
    return Table(
        name=panel.name.replace("zero_shot", "calibration"),
        title=f"Expected calibration error of zero-shot classification ({panel.protocol})",
        headings=("arm", *(_column_heading(c) for c in shown)),
        rows=tuple(entries(a.label, *(_entry(a, c) for c in shown)) for a in panel.arms),
        records=tuple(_records(findings, errors, shown)),
        notes=(INTERVAL, "15 bins of equal width, the model's own scale; smaller is better."),
    )


def _entry(arm: Arm, column: Column) -> Entry:
    values = list(column.observed.values.get(arm.name, {}).values())
    if not values:
        return Entry(text="n/a", tone="quiet")
    found = effect({arm.name: 1.0}, column.observed)
    text = " / ".join(formatting.number(v) for v in ([found.mean] if len(values) != 2 else values))
    if found.low is not None and found.high is not None:
        text += f" {formatting.PLUS_MINUS} {formatting.number((found.high - found.low) / 2)}"
    return Entry(text=text, bold=arm.name in column.best, link=f"#runs-{arm.name}")


def _maximised(column: Column) -> bool:
    return column.kind != "error"


def _heading(dataset: str, score: str) -> str:
    parts = score.split(".")
    return f"{dataset} R@{parts[2][1:]}" if parts[0] == "retrieval" else dataset


def _column_heading(column: Column) -> str:
    star = "*" if column.few else ""
    if column.evaluation:
        form = " (mAP)" if column.kind == "map" else ""
        return f"{_heading(column.dataset, column.score)}{form}{star}"
    form = {"map": "mAP, ", "error": "calibration error, "}.get(column.kind, "")
    return form + _heading(column.dataset, column.score).replace(" R@", ", R@")


def _seeds(findings: Findings, panel: Panel, arm: Arm) -> str:
    """How many seeds are counted, and why not all."""
    cells = findings.gathered.cells
    states = cells[cells["arm"] == arm.name]["state"]
    done = {s for c in panel.columns for s in c.observed.values.get(arm.name, {})}
    diverged = int((states == "diverged").sum())
    failed = int((states == "failed").sum())
    lacking = len(states) - len(done) - diverged - failed
    lost = [f"{diverged} diverged"] if diverged else []
    lost += [f"{failed} failed"] if failed else []
    lost += [f"{lacking} not there yet"] if lacking and panel.columns else []
    why = f" ({', '.join(lost)})" if lost else ""
    return f"{len(done)} of {len(states)}{why}"


def _notes(panel: Panel) -> Iterator[str]:
    yield from (INTERVAL, _bold_note(panel))
    yield from _metric_notes(panel)
    yield from _mean_notes(panel)
    if any(c.few for c in panel.columns):
        yield "* fewer than 50 test samples: shown, never judged."
    diverged = {cell for c in panel.columns for cell in c.observed.diverged}
    if diverged:
        yield f"{len(diverged)} runs diverged and are left out; at chance: worst_case in the CSV."
    yield from (f"{d}: n/a: missing, {how}" for d, how in panel.missing.items())


def _mean_notes(panel: Panel) -> Iterator[str]:
    """Over which data sets the means are, and why not over the others."""
    over = dict.fromkeys((m.dataset, m.datasets) for m in panel.means)
    yield from (f"The {name}: {', '.join(sets)}." for name, sets in over)
    if not over:
        yield "No mean: no two data sets have one kind of score from every counted run."
    yield from (f"{d}: in no mean, {why}." for d, why in panel.left_out.items())
    alone = [c for c in panel.columns if c.datasets[0] in panel.common and not panel.in_mean(c)]
    for dataset in dict.fromkeys(c.dataset for c in alone) if over else ():
        yield f"{dataset}: in no mean, the only one with its kind of score."


def _metric_notes(panel: Panel) -> Iterator[str]:
    of_metric: dict[str, list[str]] = {}
    for dataset, metric in panel.metrics.items():
        of_metric.setdefault(metric, []).append(dataset)
    told = [f"{metric}: {', '.join(own)}" for metric, own in of_metric.items()]
    usual = "recall" if panel.scores[0].startswith("retrieval") else "accuracy"
    yield f"Protocol {panel.protocol}; {'; '.join([*told, f'else {usual}'] if told else [usual])}."
    if usual == "accuracy":
        yield from (f"Ours departs from the source: {text}." for text in panel.departs)


def _bold_note(panel: Panel) -> str:
    if any(c.best for c in (*panel.columns, *panel.means)):
        return "Bold: cannot be told from the best arm (paired t over seeds, Holm over the arms)."
    return "Nothing is bold: too few seeds, or every arm could be the best."


def _records(
    findings: Findings, panel: Panel, columns: Sequence[Column]
) -> Iterator[dict[str, Any]]:
    """A row for each arm and column."""
    for column in columns:
        for arm in panel.arms:
            found = effect({arm.name: 1.0}, column.observed)
            yield {
                "protocol": panel.protocol,
                "evaluation": column.evaluation,
                "dataset": column.dataset,
                "score": column.score,
                "kind": column.kind,
                "arm": arm.name,
                "mean": found.mean,
                "low": found.low,
                "high": found.high,
                "seeds": len(found.seeds),
                "diverged": found.diverged,
                "worst_case": found.worst,
                "planned": len(findings.plan.seeds),
                "chance": column.observed.chance,
                "samples": column.samples,
                "bold": arm.name in column.best,
                "in_mean": panel.in_mean(column),
                "per_seed": " ".join(f"{s}:{v:.10g}" for s, v in zip(found.seeds, found.values)),
                "runs": " ".join(findings.run_of[arm.name, s] for s in found.seeds),
                "missing": "",
            }


def _missing_records(panel: Panel) -> Iterator[dict[str, Any]]:
    for dataset, how in panel.missing.items():
        yield {"protocol": panel.protocol, "dataset": dataset, "missing": how}


# ---- published values ----------------------------------------------------------------------------


def _published(findings: Findings, panel: Panel) -> list[Table]:
    """Published values for the same data sets, each with its verdict; no table if none."""
    keys = [(c.dataset, c.score) for c in panel.columns]
    keys += [(d, s) for d in panel.missing for s in panel.scores]
    lines = literature.beside(keys)
    if not lines:
        return []
    used = [
        k for k in keys if any((r.dataset, r.score) == k for own in lines.values() for r in own)
    ]
    sources = {source: i for i, source in enumerate(dict.fromkeys(line[-1] for line in lines), 1)}
    rows, records = [], []
    for (method, backbone, data, _, source), own in lines.items():
        values = {(r.dataset, r.score): r.value / 100 for r in own}
        verdict = _verdict(findings, panel, own[0])
        notes = "; ".join(f"{r.dataset}: {r.note}" for r in own if r.note)
        cells = [formatting.number(values[k]) if k in values else "" for k in used]
        rows.append(entries(method, backbone, data, verdict, notes, *cells, f"[{sources[source]}]"))
        records += [_published_record(r, verdict) for r in own]
    return [
        Table(
            name=f"published_{panel.name}",
            title=f"{panel.title}: what others published on the same data sets",
            headings=(
                *("method", "backbone", "pre-training data", "against our arms", "note"),
                *(_heading(*k) for k in used),
                "source",
            ),
            rows=tuple(rows),
            records=tuple(records),
            notes=(
                "Values of others: in no mean of ours, and never bold.",
                CONDITIONS,
                *(f"[{i}] {source}." for source, i in sources.items()),
            ),
            texts=5,
        )
    ]


def _verdict(findings: Findings, panel: Panel, row: literature.Row) -> str:
    found = literature.verdicts(findings.plan, row, panel.arms)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(
        f"{verdict} ({', '.join(findings.label(a) for a in arms)})"
        for verdict, arms in found.items()
    )


def _published_record(row: literature.Row, verdict: str) -> dict[str, Any]:
    return {
        "method": row.method,
        "backbone": row.backbone,
        "pretraining_data": row.pretraining_data,
        "protocol": row.protocol,
        "dataset": row.dataset,
        "score": row.score,
        "metric": row.metric,
        "value": row.value / 100,
        "verdict": verdict,
        "note": row.note,
        "source": row.source,
        "confidence": row.confidence,
    }
