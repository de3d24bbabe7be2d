"""Results and tables of synthetic sweeps, as the tests of the analysis read them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from analysis.collect import export
from analysis.collect.frame import collect_sweep_data
from analysis.results.results import Results, analyze
from analysis.statistics.sequential_t import build_sequential_looks
from analysis.tables import build_tables
from analysis.tables.table import TABLE_FORMATS, Table, to_csv
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import AdaptiveRule, PrimaryMetric, Store


def analyze_sweep(store: Store, sweep_id: str) -> Results:
    """Collect and analyze a sweep of a store."""
    return analyze(store, collect_sweep_data(store, sweep_id))


def analyze_fake_sweep(root: Path, truth: Truth = Truth()) -> Results:  # noqa: B008
    """Write a synthetic sweep into a new store at `root`, and analyze it."""
    return analyze_sweep(*fake_sweep.make(root, truth))


def analyze_with_metrics(
    root: Path,
    primary: str,
    co_primary: str | None,
    truth: Truth = Truth(),  # noqa: B008
) -> Results:
    """Analyze a synthetic sweep whose contrasts are tested on other scores."""
    store, sweep_id = fake_sweep.make(root, truth)
    metrics = [
        None if name is None else PrimaryMetric(dataset="openmoji", metric=name)
        for name in (primary, co_primary)
    ]
    assert metrics[0] is not None
    plan = replace(fake_sweep.plan(truth), primary_metric=metrics[0], co_primary_metric=metrics[1])
    store.get_sweep(sweep_id).write_plan(plan)
    return analyze_sweep(store, sweep_id)


def analyze_listed_sweep(root: Path, truth: Truth) -> Results:
    """Analyze a synthetic sweep of a listed design: no arm is crossed, single arms are compared."""
    store, sweep_id = fake_sweep.make(root, truth)
    plan = fake_sweep.plan(truth)
    arms = tuple(
        a if a.role == "noise" else replace(a, role="outside", levels={}) for a in plan.arms
    )
    contrasts = tuple(
        replace(c, primary=c.kind == "difference")
        for c in plan.contrasts
        if c.kind in ("difference", "noise")
    )
    store.get_sweep(sweep_id).write_plan(
        replace(plan, design="listed", arms=arms, contrasts=contrasts)
    )
    return analyze_sweep(store, sweep_id)


def analyze_adaptive_sweep(root: Path) -> Results:
    """Analyze a synthetic adaptive sweep: two arms have six seeds, the others four."""
    truth = Truth(seeds=tuple(range(6)), looks=build_sequential_looks(4, 6), margin=0.02)
    store, sweep_id = fake_sweep.make(root, truth)
    plan = fake_sweep.plan(truth)
    rule = AdaptiveRule(
        initial_seeds={arm.name: 4 for arm in plan.arms}, max_seeds=6, max_gpu_hours=None
    )
    cells = tuple(c for c in plan.cells if c.seed < 4 or c.arm in ("full", "clip"))
    store.get_sweep(sweep_id).write_plan(replace(plan, adaptive=rule, cells=cells))
    return analyze_sweep(store, sweep_id)


def tables_by_name(results: Results) -> dict[str, Table]:
    """Return the tables of a report by their names."""
    return {t.name: t for t in build_tables(results)}


def read_records(table: Table) -> list[dict[str, str]]:
    """Return the rows of a table's CSV file."""
    return list(csv.DictReader(to_csv(table).splitlines()))


def select_record(table: Table, **values: str) -> dict[str, str]:
    """Return the one row of a table's CSV file with these values."""
    (record,) = [r for r in read_records(table) if all(r[k] == v for k, v in values.items())]
    return record


def format_all_tables(results: Results) -> dict[str, str]:
    """Return the content of every file of a report's folder `tables`, by its name."""
    texts = {"frame.csv": export.format_csv(results.sweep_data.frame)}
    for table in build_tables(results):
        for suffix, format_table in TABLE_FORMATS.items():
            texts[f"{table.name}.{suffix}"] = format_table(table)
    return texts
