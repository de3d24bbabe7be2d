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
from analysis.results.results import Results
from analysis.statistics.effects import Observations, find_tied_for_best
from uniclip.evaluate import datasets
from uniclip.evaluate.protocols import protocol as protocols
from uniclip.evaluate.scoring.score_card import MIN_SAMPLES
from uniclip.store import Arm, Plan

PANEL_TASKS = {
    "zero_shot": ("Zero-shot classification", ("zeroshot",)),
    "linear_probe": ("Linear probe", ("probe",)),
    "retrieval_captions": (
        "Captions found for pictures",
        tuple(f"retrieval.i2t.r{k}" for k in protocols.RECALL_KS),
    ),
    "retrieval_pictures": (
        "Pictures found for captions",
        tuple(f"retrieval.t2i.r{k}" for k in protocols.RECALL_KS),
    ),
}
"""Panels: name, title, scores of each data set."""
METRIC_LABELS = {"mean_per_class": "mean per class", "map11": "11-point mAP", "map": "mAP"}
CALIBRATION_SCORE = "zeroshot.ece"


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
    observations: Observations
    samples: int | None
    too_few_samples: bool
    """Fewer than 50 test pictures: shown, never judged, in no mean."""
    tied_for_best: frozenset[str]
    """The arms that cannot be told from the best, if that says anything."""

    @property
    def dataset(self) -> str:
        """What it is called in a table for programs."""
        return self.datasets[0] if self.evaluation else f"mean of {len(self.datasets)}"

    def has_value(self, arm: str, seed: int) -> bool:
        """Whether a run has a value here."""
        return seed in self.observations.values.get(arm, {})


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
    deviations: tuple[str, ...]
    """Where the protocol is not what its source does."""
    arms: tuple[Arm, ...]
    columns: tuple[Column, ...]
    """Of data sets that are here."""
    mean_columns: tuple[Column, ...]
    common_datasets: tuple[str, ...]
    """The intersection."""
    missing_datasets: dict[str, str]
    """Data sets that are not here, and how to get them."""
    excluded_datasets: dict[str, str]
    """Data sets that are here and not in the intersection, and why."""

    def in_mean(self, column: Column) -> bool:
        """Whether a data set's score is part of a mean."""
        kinds = {(m.score, m.kind) for m in self.mean_columns if column.datasets[0] in m.datasets}
        return bool(column.evaluation) and (column.score, column.kind) in kinds


def build_panels(results: Results) -> list[Panel]:
    """Every panel that has a data set; arms under different protocols are never in one."""
    plan, built_panels = results.plan, []
    dataset_names = literature.list_published_datasets(plan)
    by_protocol: dict[str, list[Arm]] = {}
    for arm in plan.arms if dataset_names else ():
        by_protocol.setdefault(literature.get_protocol_name(plan, arm), []).append(arm)
    for protocol, arms in by_protocol.items():
        for task in PANEL_TASKS:
            task_datasets = [d for d in dataset_names if _supports_task(d, task)]
            if task_datasets:
                panel = _build_panel(results, task, protocol, tuple(arms), task_datasets)
                has_several_protocols = len(by_protocol) > 1
                built_panels.append(
                    replace(panel, name=f"{task}_{protocol}") if has_several_protocols else panel
                )
    return built_panels


def build_calibration_panel(results: Results, panel: Panel) -> Panel:
    """The expected calibration errors of the data sets of a zero-shot panel."""
    dataset_names = [c.datasets[0] for c in panel.columns]
    columns = [
        c
        for c in _build_columns(results, panel.arms, dataset_names, (CALIBRATION_SCORE,))
        if c.kind
    ]
    mean_columns = _build_mean_columns(
        panel.arms, [c for c in columns if c.datasets[0] in panel.common_datasets]
    )
    return replace(
        panel,
        columns=tuple(columns),
        mean_columns=tuple(mean_columns),
        missing_datasets={},
        excluded_datasets={},
        common_datasets=(),
    )


def _supports_task(dataset: str, task: str) -> bool:
    """Whether a set is judged in that way."""
    dataset_info = datasets.get(dataset)
    if task.startswith("retrieval") or dataset_info.kind == "retrieval":
        return task.startswith("retrieval") and dataset_info.kind == "retrieval"
    return task == "zero_shot" or {"train", "validation"} <= set(dataset_info.splits)


def _build_panel(
    results: Results, task: str, protocol: str, arms: tuple[Arm, ...], dataset_names: Sequence[str]
) -> Panel:
    title, scores = PANEL_TASKS[task]
    plan = results.plan
    missing_probe_data = plan.missing_probe_data if task == "linear_probe" else {}
    available_datasets = [
        d for d in dataset_names if d not in missing_probe_data and _is_evaluated(plan, d, arms)
    ]
    columns = list(_build_columns(results, arms, available_datasets, scores))
    excluded_datasets = _explain_exclusions(columns, arms, available_datasets)
    common_datasets = tuple(d for d in available_datasets if d not in excluded_datasets)
    return Panel(
        name=task,
        title=title,
        scores=scores,
        protocol=protocol,
        metrics=_collect_metric_labels(results, protocol, columns, dataset_names),
        deviations=_collect_deviations(results, protocol, columns),
        arms=arms,
        columns=tuple(columns),
        mean_columns=tuple(
            _build_mean_columns(arms, [c for c in columns if c.datasets[0] in common_datasets])
        ),
        common_datasets=common_datasets,
        missing_datasets={
            d: _format_missing_reason(plan, (plan.missing_datasets | missing_probe_data).get(d))
            for d in dataset_names
            if d not in available_datasets
        },
        excluded_datasets=excluded_datasets,
    )


def _build_columns(
    results: Results, arms: Sequence[Arm], dataset_names: Sequence[str], scores: Sequence[str]
) -> Iterator[Column]:
    """One for each set and score; two, should arms have been judged on different data."""
    plan, sweep_data = results.plan, results.sweep_data
    for dataset in dataset_names:
        evaluation_hashes = dict.fromkeys(plan.evaluation_hashes[a.name].get(dataset) for a in arms)
        for evaluation in filter(None, evaluation_hashes):
            evaluated_arms = [
                a.name for a in arms if plan.evaluation_hashes[a.name].get(dataset) == evaluation
            ]
            for score in scores:
                rows = sweep_data.select_score_rows(dataset, score)
                rows = rows[rows["arm"].isin(evaluated_arms)]
                observations = _restrict_to_arms(
                    sweep_data.get_observations(dataset, score), evaluated_arms
                )
                samples, kind = rows["samples"].max(), sweep_data.get_score_kind(dataset, score)
                # what is never maximised is shown only, whatever the number of samples
                too_few_samples = bool(
                    samples < MIN_SAMPLES if kind == "error" else rows["shown_only"].any()
                )
                yield Column(
                    datasets=(dataset,),
                    score=score,
                    kind=kind,
                    evaluation=evaluation,
                    observations=observations,
                    samples=int(samples) if samples == samples else None,
                    too_few_samples=too_few_samples,
                    tied_for_best=_find_tied_for_best(observations, arms)
                    if kind != "error" and not too_few_samples
                    else frozenset(),
                )


def _restrict_to_arms(observations: Observations, arms: Sequence[str]) -> Observations:
    values = {a: v for a, v in observations.values.items() if a in arms}
    diverged_cells = frozenset((a, s) for a, s in observations.diverged_cells if a in arms)
    return replace(observations, values=values, diverged_cells=diverged_cells)


def _find_tied_for_best(observations: Observations, arms: Sequence[Arm]) -> frozenset[str]:
    return frozenset(find_tied_for_best(observations, [a.name for a in arms if a.role != "noise"]))


def _explain_exclusions(
    columns: Sequence[Column], arms: Sequence[Arm], dataset_names: Sequence[str]
) -> dict[str, str]:
    """Why a set is not in the intersection."""
    counted_cells = _list_counted_cells(columns, arms)
    reasons = {}
    for dataset in dataset_names:
        dataset_columns = [c for c in columns if c.datasets[0] == dataset]
        incomplete_cells = [
            cell for cell in counted_cells if not all(c.has_value(*cell) for c in dataset_columns)
        ]
        if len({c.evaluation for c in dataset_columns}) > 1:
            reasons[dataset] = "arms were judged on different data"
        elif incomplete_cells or not counted_cells:
            reasons[dataset] = (
                f"{len(incomplete_cells)} of {len(counted_cells)} counted runs lack it"
            )
        elif any(c.too_few_samples for c in dataset_columns):
            reasons[dataset] = "fewer than 50 test samples"
    return reasons


def _list_counted_cells(columns: Sequence[Column], arms: Sequence[Arm]) -> list[tuple[str, int]]:
    """The (arm, seed) that have any score of the panel."""
    cells = {(a, s) for c in columns for a, v in c.observations.values.items() for s in v}
    return sorted(cells, key=lambda cell: ([a.name for a in arms].index(cell[0]), cell[1]))


def _build_mean_columns(arms: Sequence[Arm], columns: Sequence[Column]) -> Iterator[Column]:
    """The mean of each score and kind that two sets or more have."""
    columns_by_score: dict[tuple[str, str], list[Column]] = {}
    for column in columns:
        columns_by_score.setdefault((column.score, column.kind), []).append(column)
    for (score, kind), score_columns in columns_by_score.items():
        if len(score_columns) > 1:
            observations = _average_columns(score_columns, arms)
            yield Column(
                datasets=tuple(c.datasets[0] for c in score_columns),
                score=score,
                kind=kind,
                evaluation="",
                observations=observations,
                samples=None,
                too_few_samples=False,
                tied_for_best=_find_tied_for_best(observations, arms)
                if kind != "error"
                else frozenset(),
            )


def _average_columns(columns: Sequence[Column], arms: Sequence[Arm]) -> Observations:
    num_columns, first_observations = len(columns), columns[0].observations
    values: dict[str, dict[int, float]] = {}
    for arm, seed in _list_counted_cells(columns, arms):
        seed_values = [c.observations.values[arm][seed] for c in columns]
        values.setdefault(arm, {})[seed] = math.fsum(seed_values) / num_columns
    chances: list[Any] = [c.observations.chance for c in columns]
    return Observations(
        seeds=first_observations.seeds,
        values=values,
        diverged_cells=first_observations.diverged_cells,
        chance=None if None in chances else math.fsum(chances) / num_columns,
        resolution=min(c.observations.resolution for c in columns) / num_columns,
    )


def _collect_metric_labels(
    results: Results, protocol: str, columns: Sequence[Column], dataset_names: Sequence[str]
) -> dict[str, str]:
    """As the scores state them; of sets that are missing, as a published protocol would."""
    protocol_rules = protocols.PROTOCOLS.get(protocol)
    default_metrics = (
        {d: protocol_rules.get_metric(d) for d in dataset_names}
        if protocol_rules is not None
        else {}
    )
    stated_protocols = {
        c.dataset: results.sweep_data.protocols.get(c.evaluation, {}) for c in columns
    }
    metric_by_dataset = {
        **default_metrics,
        **{d: s["metric"] for d, s in stated_protocols.items() if "metric" in s},
    }
    return {d: METRIC_LABELS[m] for d, m in metric_by_dataset.items() if m in METRIC_LABELS}


def _collect_deviations(
    results: Results, protocol: str, columns: Sequence[Column]
) -> tuple[str, ...]:
    protocol_rules = protocols.PROTOCOLS.get(protocol)
    stated_deviations = [
        results.sweep_data.protocols.get(c.evaluation, {}).get("departs") for c in columns
    ]
    deviations = next(
        filter(None, stated_deviations),
        protocol_rules.deviations if protocol_rules is not None else (),
    )
    return tuple(deviations)


def _is_evaluated(plan: Plan, dataset: str, arms: Sequence[Arm]) -> bool:
    return any(dataset in plan.evaluation_hashes[a.name] for a in arms)


def _format_missing_reason(plan: Plan, reason: str | None) -> str:
    """What is missing and how to get it, without the place where the sets lie on one machine."""
    root = Path(plan.base_config.get("runtime", {}).get("data_root", "data"))
    prefix = "there is no "
    reason_text = "another arm's" if reason is None else reason
    return reason_text.replace(f"{prefix}{root}/", f"{prefix}<data_root>/", 1)
