"""Tables of published data sets: arms by data sets, calibration errors, and published values.

A mean over seeds has a 95 % interval from three seeds on; the values of two seeds are given as they
are. Missing values are "n/a", with the reason and how to get the data in a note, and enter no mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from analysis import formatting
from analysis.collect import literature
from analysis.results.benchmark import Column, Panel, build_calibration_panel, build_panels
from analysis.results.panel_tasks import PANEL_TASKS, format_score_heading
from analysis.results.results import Results
from analysis.statistics.effects import estimate_effect
from analysis.tables.table import Table, TableCell, make_row
from uniclip.evaluate.scoring.score_card import MIN_SAMPLES
from uniclip.store import Arm, RunStatus, get_score_kind_traits

TABLE_NAME_PREFIXES = (
    *PANEL_TASKS,
    *(f"published_{task}" for task in PANEL_TASKS),
    "calibration",
    "dataset_means",
    "data_checks",
    "contamination",
)
"""Prefixes of the names of these tables, of that of effects averaged over data sets, and of the
tables of their data checks."""
PUBLISHED_HEADINGS = (
    "method",
    "backbone",
    "pre-training data",
    "setup compared with the arms",
    "note",
)
INTERVAL_NOTE = (
    f"Mean over seeds {formatting.PLUS_MINUS} half width of its "
    f"{formatting.format_confidence_level()} interval (t over seeds) from three seeds on; with two "
    "seeds, both values."
)
SETUP_NOTE = (
    "The comparison is of setups (backbone, pre-training data, protocol), not of methods: what the "
    "source of the row states is compared with the setups of the arms."
)


def build_benchmark_tables(results: Results) -> list[Table]:
    """Return the tables of published data sets, in reading order; none without such a set."""
    tables: list[Table] = []
    for panel in build_panels(results):
        calibration_panel = (
            build_calibration_panel(results, panel) if "zeroshot" in panel.scores else None
        )
        tables.append(_build_score_table(results, panel, calibration_panel))
        tables += _build_published_tables(results, panel)
        if calibration_panel is not None and calibration_panel.columns:
            tables.append(_build_calibration_table(results, panel, calibration_panel))
    return tables


# ---- arms by data sets ---------------------------------------------------------------------------


def _build_score_table(results: Results, panel: Panel, calibration_panel: Panel | None) -> Table:
    """Return arms by data sets, with the mean calibration error after zero-shot accuracy."""
    columns = [
        *panel.columns,
        *panel.mean_columns,
        *(calibration_panel.mean_columns if calibration_panel else ()),
    ]
    missing_headings = [
        format_score_heading(d, s) for d in panel.missing_datasets for s in panel.scores
    ]
    chances = [
        _get_format(panel, c).format_exact(c.observations.chance) if _is_ranked(c) else ""
        for c in columns
    ]
    sample_counts = ["" if c.num_samples is None else f"{c.num_samples:,}" for c in columns]
    missing_cells = [TableCell(text="n/a", tone=formatting.MUTED)] * len(missing_headings)
    rows = [make_row("chance", *chances, *([""] * len(missing_headings)), "")]
    for arm in panel.arms:
        mean_cells = [_build_mean_cell(panel, arm, c) for c in columns]
        rows.append(
            make_row(
                arm.label, *mean_cells, *missing_cells, _format_seed_count(results, panel, arm)
            )
        )
    rows.append(make_row("test samples", *sample_counts, *([""] * len(missing_headings)), ""))
    return Table(
        name=panel.name,
        title=f"{panel.title} ({panel.protocol}), in %",
        headings=("arm", *(_format_column_heading(c) for c in columns), *missing_headings, "seeds"),
        rows=tuple(rows),
        records=(*_build_records(results, panel, columns), *_build_missing_records(panel)),
        notes=tuple(_build_notes(panel)),
    )


def _build_calibration_table(results: Results, panel: Panel, calibration_panel: Panel) -> Table:
    """Return the expected calibration errors: 0 is best, and there is no chance level."""
    columns = [*calibration_panel.columns, *calibration_panel.mean_columns]
    return Table(
        name=panel.name.replace("zero_shot", "calibration"),
        title=f"Expected calibration error of zero-shot classification ({panel.protocol}), in %",
        headings=("arm", *(_format_column_heading(c) for c in columns)),
        rows=tuple(
            make_row(a.label, *(_build_mean_cell(panel, a, c) for c in columns)) for a in panel.arms
        ),
        records=tuple(_build_records(results, calibration_panel, columns)),
        notes=(
            INTERVAL_NOTE,
            "15 bins of equal width, with the model's logit scale; smaller is better.",
        ),
    )


def _get_format(panel: Panel, column: Column) -> formatting.NumberFormat:
    arms = [arm.name for arm in panel.arms]
    return formatting.choose_score_format(column.kind, column.observations, arms)


def _build_mean_cell(panel: Panel, arm: Arm, column: Column) -> TableCell:
    values = list(column.observations.values.get(arm.name, {}).values())
    if not values:
        return TableCell(text="n/a", tone=formatting.MUTED)
    estimate = estimate_effect({arm.name: 1.0}, column.observations)
    column_format = _get_format(panel, column)
    text = " / ".join(
        column_format.format(v) for v in ([estimate.mean] if len(values) != 2 else values)
    )
    if estimate.low is not None and estimate.high is not None:
        half_width = (estimate.high - estimate.low) / 2
        text += f" {formatting.PLUS_MINUS} {column_format.format(half_width)}"
    return TableCell(text=text, bold=arm.name in column.tied_for_best, link=f"#runs-{arm.name}")


def _is_ranked(column: Column) -> bool:
    return get_score_kind_traits(column.kind).is_ranked


def _format_column_heading(column: Column) -> str:
    few_samples_mark = "*" if column.too_few_samples else ""
    if column.evaluation_hash:
        kind_label = " (mAP)" if column.kind == "map" else ""
        return f"{format_score_heading(column.dataset, column.score)}{kind_label}{few_samples_mark}"
    kind_label = {"map": "mAP, ", "error": "calibration error, "}.get(column.kind, "")
    return kind_label + format_score_heading(column.dataset, column.score).replace(" R@", ", R@")


def _format_seed_count(results: Results, panel: Panel, arm: Arm) -> str:
    """Return the number of counted seeds, with the reasons for the others."""
    cells = results.sweep_data.cells
    statuses = cells[cells["arm"] == arm.name]["status"]
    finished_seeds = {s for c in panel.columns for s in c.observations.values.get(arm.name, {})}
    counts = {
        "diverged": int((statuses == RunStatus.DIVERGED).sum()),
        "failed": int((statuses == RunStatus.FAILED).sum()),
    }
    if panel.columns:
        counts["missing"] = len(statuses) - len(finished_seeds) - sum(counts.values())
    exclusions = formatting.format_exclusions(counts)
    return f"{len(finished_seeds)} of {len(statuses)}{exclusions}"


def _build_notes(panel: Panel) -> Iterator[str]:
    yield from (INTERVAL_NOTE, _format_bold_note(panel))
    yield from _build_metric_notes(panel)
    yield from _build_mean_notes(panel)
    if any(c.too_few_samples for c in panel.columns):
        yield f"* fewer than {MIN_SAMPLES} test samples: not tested, and in no mean."
    diverged_cells = {cell for c in panel.columns for cell in c.observations.diverged_cells}
    if diverged_cells:
        yield (
            f"{len(diverged_cells)} runs diverged and are excluded; with them at chance: "
            "worst_case_mean in the CSV."
        )
    yield from (
        f"{d}: n/a: missing, {download_hint}" for d, download_hint in panel.missing_datasets.items()
    )


def _build_mean_notes(panel: Panel) -> Iterator[str]:
    """Yield the data sets of each mean, and why others are in none."""
    datasets_of_means = dict.fromkeys((m.dataset, m.datasets) for m in panel.mean_columns)
    yield from (
        f"The {mean_label}: {', '.join(dataset_names)}."
        for mean_label, dataset_names in datasets_of_means
    )
    if not datasets_of_means:
        yield "No mean: no two data sets have the same kind of score from every counted run."
    yield from (f"{d}: in no mean, {reason}." for d, reason in panel.excluded_datasets.items())
    unaveraged_columns = [
        c for c in panel.columns if c.datasets[0] in panel.common_datasets and not panel.in_mean(c)
    ]
    for dataset in (
        dict.fromkeys(c.dataset for c in unaveraged_columns) if datasets_of_means else ()
    ):
        yield f"{dataset}: in no mean, the only one with its kind of score."


def _build_metric_notes(panel: Panel) -> Iterator[str]:
    datasets_by_metric: dict[str, list[str]] = {}
    for dataset, metric in panel.metrics.items():
        datasets_by_metric.setdefault(metric, []).append(dataset)
    metric_texts = [
        f"{metric}: {', '.join(dataset_names)}"
        for metric, dataset_names in datasets_by_metric.items()
    ]
    default_metric = "recall" if panel.scores[0].startswith("retrieval") else "accuracy"
    metrics_text = "; ".join(
        [*metric_texts, f"else {default_metric}"] if metric_texts else [default_metric]
    )
    yield f"Protocol {panel.protocol}; {metrics_text}."
    if default_metric == "accuracy":
        yield from (f"Deviates from the source: {text}." for text in panel.deviations)


def _format_bold_note(panel: Panel) -> str:
    if any(c.tied_for_best for c in (*panel.columns, *panel.mean_columns)):
        return formatting.BOLD_NOTE
    return "Nothing is bold: too few seeds, or no arm is significantly worse than the best."


def _build_records(
    results: Results, panel: Panel, columns: Sequence[Column]
) -> Iterator[dict[str, Any]]:
    """Yield a record for each arm and column."""
    for column in columns:
        for arm in panel.arms:
            estimate = estimate_effect({arm.name: 1.0}, column.observations)
            yield {
                "protocol": panel.protocol,
                "evaluation_hash": column.evaluation_hash,
                "dataset": column.dataset,
                "score": column.score,
                "kind": column.kind,
                "arm": arm.name,
                "mean": estimate.mean,
                "ci_low": estimate.low,
                "ci_high": estimate.high,
                "num_seeds": len(estimate.seeds),
                "num_diverged": estimate.num_diverged,
                "worst_case_mean": estimate.worst_case_mean,
                "num_planned_seeds": len(results.plan.seeds),
                "chance": column.observations.chance,
                "num_samples": column.num_samples,
                "tied_for_best": arm.name in column.tied_for_best,
                "in_mean": panel.in_mean(column),
                "per_seed": " ".join(
                    f"{s}:{v:.10g}" for s, v in zip(estimate.seeds, estimate.values)
                ),
                "runs": " ".join(results.run_by_cell[arm.name, s] for s in estimate.seeds),
                "missing": "",
            }


def _build_missing_records(panel: Panel) -> Iterator[dict[str, Any]]:
    for dataset, download_hint in panel.missing_datasets.items():
        yield {"protocol": panel.protocol, "dataset": dataset, "missing": download_hint}


# ---- published values ----------------------------------------------------------------------------


def _build_published_tables(results: Results, panel: Panel) -> list[Table]:
    """Return the published values for the same data sets, with the comparison of setups."""
    column_keys = [(c.dataset, c.score) for c in panel.columns]
    column_keys += [(d, s) for d in panel.missing_datasets for s in panel.scores]
    results_by_line = literature.select_published_results(column_keys)
    if not results_by_line:
        return []
    published_keys = {(r.dataset, r.score) for line in results_by_line.values() for r in line}
    used_keys = [k for k in column_keys if k in published_keys]
    sources = list(dict.fromkeys(line_key[-1] for line_key in results_by_line))
    rows, records = [], []
    for (method, backbone, data, _, source), line_results in results_by_line.items():
        values = {(r.dataset, r.score): r.value for r in line_results}
        comparison = _format_setup_comparison(results, panel, line_results[0])
        notes = "; ".join(f"{r.dataset}: {r.note}" for r in line_results if r.note)
        value_texts = [_format_published_value(values[k]) if k in values else "" for k in used_keys]
        source_text = f"[{sources.index(source) + 1}]"
        rows.append(make_row(method, backbone, data, comparison, notes, *value_texts, source_text))
        records += [_build_published_record(r, comparison) for r in line_results]
    return [
        Table(
            name=f"published_{panel.name}",
            title=f"{panel.title}: published results, in %",
            headings=(
                *PUBLISHED_HEADINGS,
                *(format_score_heading(*k) for k in used_keys),
                "source",
            ),
            rows=tuple(rows),
            records=tuple(records),
            notes=(
                "Published values enter no mean and are never bold.",
                SETUP_NOTE,
                *(f"[{i}] {source}." for i, source in enumerate(sources, 1)),
            ),
            num_text_columns=len(PUBLISHED_HEADINGS),
        )
    ]


def _format_published_value(percent: float) -> str:
    """Return a value with the decimals that its source has, and at least one."""
    text = f"{percent:.10g}"
    return text if "." in text else f"{text}.0"


def _format_setup_comparison(
    results: Results, panel: Panel, published_result: literature.PublishedResult
) -> str:
    arms_by_comparison = literature.group_arms_by_comparison(
        results.plan.base_config, published_result, panel.arms
    )
    if len(arms_by_comparison) == 1:
        return next(iter(arms_by_comparison))
    return "; ".join(
        f"{comparison} ({', '.join(results.get_arm_label(a) for a in arms)})"
        for comparison, arms in arms_by_comparison.items()
    )


def _build_published_record(
    published_result: literature.PublishedResult, comparison: str
) -> dict[str, Any]:
    return {
        "method": published_result.method,
        "backbone": published_result.backbone,
        "pretraining_data": published_result.pretraining_data,
        "protocol": published_result.protocol,
        "dataset": published_result.dataset,
        "score": published_result.score,
        "metric": published_result.metric,
        "value": published_result.value / 100,
        "setup_comparison": comparison,
        "note": published_result.note,
        "source": published_result.source,
        "confidence": published_result.confidence,
    }
