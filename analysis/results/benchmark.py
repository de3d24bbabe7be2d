"""Published data sets of a sweep: arms by data sets, one panel for each kind of evaluation.

A panel has one protocol, a column for each data set (also for a missing one), and means over one
intersection: the data sets for which every counted run has every column. A run is counted if it has
any score of the panel. A mean covers one score of one kind: accuracies, average precisions and
recalls are never mixed, nor are the lists of `datasets.LISTS_WITH_OWN_MEAN` with other data sets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.collect import literature
from analysis.results.panel_tasks import METRIC_LABELS, PANEL_TASKS, SHIFT_TASKS, supports_task
from analysis.results.results import Results
from analysis.statistics.effects import Effect, Observations
from analysis.statistics.multiplicity import compare_with_best
from uniclip.evaluate import datasets
from uniclip.evaluate.protocols.published import PROTOCOLS
from uniclip.evaluate.scoring.score_card import MIN_SAMPLES
from uniclip.store import Arm, Look, Plan, get_score_kind_traits

CALIBRATION_SCORE = "zeroshot.ece"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One score of one data set, or its mean over several data sets."""

    datasets: tuple[str, ...]
    """One data set, or those that a mean covers."""
    score: str
    kind: str
    """accuracy, map, recall or error; empty while nothing is scored."""
    evaluation_hash: str
    """Hash of the protocol; empty for a mean, or a missing data set."""
    observations: Observations
    num_samples: int | None
    too_few_samples: bool
    """Fewer than 50 test samples: reported only, not tested, and in no mean."""
    tied_for_best: frozenset[str]
    """Arms that are not significantly worse than the best; empty if no arm is worse."""
    mean_list: str = ""
    """Of a mean: the list of data sets with a mean of their own, such as shifts; else empty."""

    @property
    def dataset(self) -> str:
        """Name in CSV tables."""
        if self.evaluation_hash:
            return self.datasets[0]
        return f"mean of {len(self.datasets)} {self.mean_list}".rstrip()

    def has_value(self, arm: str, seed: int) -> bool:
        """Return whether a run has a value."""
        return seed in self.observations.values.get(arm, {})


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Arms by data sets, of one kind of evaluation under one protocol."""

    name: str
    title: str
    scores: tuple[str, ...]
    """Scores of each data set."""
    protocol: str
    metrics: dict[str, str]
    """Data set -> metric, where it is neither accuracy nor recall."""
    deviations: tuple[str, ...]
    """Deviations of the protocol from its source."""
    arms: tuple[Arm, ...]
    columns: tuple[Column, ...]
    """Columns of the data sets that are present."""
    mean_columns: tuple[Column, ...]
    common_datasets: tuple[str, ...]
    """The intersection over which means are taken."""
    missing_datasets: dict[str, str]
    """Data set that is not present -> how to get it."""
    excluded_datasets: dict[str, str]
    """Data set that is present but not in the intersection -> the reason."""

    def in_mean(self, column: Column) -> bool:
        """Return whether the score of a data set is part of a mean."""
        kinds = {(m.score, m.kind) for m in self.mean_columns if column.datasets[0] in m.datasets}
        return bool(column.evaluation_hash) and (column.score, column.kind) in kinds


def build_panels(results: Results) -> list[Panel]:
    """Return every panel with a data set; a panel contains arms of one protocol only."""
    plan, panels, dataset_names = results.plan, [], results.published_datasets
    arms_by_protocol: dict[str, list[Arm]] = {}
    for arm in plan.arms if dataset_names else ():
        protocol = literature.get_protocol_name(plan.base_config, arm.config_diff)
        arms_by_protocol.setdefault(protocol, []).append(arm)
    for protocol, arms in arms_by_protocol.items():
        for task in PANEL_TASKS:
            task_datasets = [d for d in dataset_names if supports_task(d, task)]
            if task_datasets:
                panel = _build_panel(results, task, protocol, tuple(arms), task_datasets)
                if task in SHIFT_TASKS and not any(c.kind for c in panel.columns):
                    continue
                has_several_protocols = len(arms_by_protocol) > 1
                panels.append(
                    replace(panel, name=f"{task}_{protocol}") if has_several_protocols else panel
                )
    return panels


def build_calibration_panel(results: Results, panel: Panel) -> Panel:
    """Return the expected calibration errors of the data sets of a zero-shot panel."""
    dataset_names = [c.datasets[0] for c in panel.columns]
    columns = [
        c
        for c in _build_columns(results, panel.arms, dataset_names, (CALIBRATION_SCORE,))
        if c.kind
    ]
    mean_columns = _build_mean_columns(
        panel.arms,
        [c for c in columns if c.datasets[0] in panel.common_datasets],
        results.plan.looks,
    )
    return replace(
        panel,
        columns=tuple(columns),
        mean_columns=tuple(mean_columns),
        missing_datasets={},
        excluded_datasets={},
        common_datasets=(),
    )


def _build_panel(
    results: Results, task: str, protocol: str, arms: tuple[Arm, ...], dataset_names: Sequence[str]
) -> Panel:
    title, scores = PANEL_TASKS[task]
    plan = results.plan
    missing_probe_data = plan.missing_probe_data if task == "linear_probe" else {}
    available_datasets = [
        d
        for d in dataset_names
        if d not in missing_probe_data and any(d in plan.evaluation_hashes[a.name] for a in arms)
    ]
    columns = list(_build_columns(results, arms, available_datasets, scores))
    excluded_datasets = _explain_exclusions(columns, arms, available_datasets)
    common_datasets = tuple(d for d in available_datasets if d not in excluded_datasets)
    return Panel(
        name=task,
        title=title,
        scores=scores,
        protocol=protocol,
        metrics=_collect_metric_labels(
            results.sweep_data.protocols, protocol, columns, dataset_names
        ),
        deviations=_collect_deviations(results.sweep_data.protocols, protocol, columns),
        arms=arms,
        columns=tuple(columns),
        mean_columns=tuple(
            _build_mean_columns(
                arms,
                [c for c in columns if c.datasets[0] in common_datasets],
                results.plan.looks,
            )
        ),
        common_datasets=common_datasets,
        missing_datasets={
            d: _format_missing_reason(
                (plan.missing_datasets | missing_probe_data).get(d), _get_data_root(plan)
            )
            for d in dataset_names
            if d not in available_datasets
        },
        excluded_datasets=excluded_datasets,
    )


def _build_columns(
    results: Results, arms: Sequence[Arm], dataset_names: Sequence[str], scores: Sequence[str]
) -> Iterator[Column]:
    """Yield a column per data set and score; one per evaluation if the arms' evaluations differ."""
    plan, sweep_data = results.plan, results.sweep_data
    for dataset in dataset_names:
        evaluation_hashes = dict.fromkeys(plan.evaluation_hashes[a.name].get(dataset) for a in arms)
        for evaluation_hash in filter(None, evaluation_hashes):
            evaluated_arms = [
                a.name
                for a in arms
                if plan.evaluation_hashes[a.name].get(dataset) == evaluation_hash
            ]
            has_first_score = False
            for score in scores:
                rows = sweep_data.select_score_rows(dataset, score)
                rows = rows[rows["arm"].isin(evaluated_arms)]
                if rows.empty and score != scores[0] and has_first_score:
                    continue  # the data set has no such score
                has_first_score = not rows.empty if score == scores[0] else has_first_score
                observations = _restrict_to_arms(
                    sweep_data.get_observations(dataset, score), evaluated_arms
                )
                samples, kind = rows["samples"].max(), sweep_data.get_score_kind(dataset, score)
                # errors are report-only whatever their number of samples
                too_few_samples = bool(
                    rows["report_only"].any()
                    if get_score_kind_traits(kind).is_ranked
                    else samples < MIN_SAMPLES
                )
                yield Column(
                    datasets=(dataset,),
                    score=score,
                    kind=kind,
                    evaluation_hash=evaluation_hash,
                    observations=observations,
                    num_samples=int(samples) if samples == samples else None,
                    too_few_samples=too_few_samples,
                    tied_for_best=_find_tied_for_best(
                        observations,
                        arms,
                        results.plan.looks,
                        results.get_declared_effects((dataset, score)),
                    )
                    if get_score_kind_traits(kind).is_ranked and not too_few_samples
                    else frozenset(),
                )


def _restrict_to_arms(observations: Observations, arms: Sequence[str]) -> Observations:
    values = {a: v for a, v in observations.values.items() if a in arms}
    diverged_cells = frozenset((a, s) for a, s in observations.diverged_cells if a in arms)
    return replace(observations, values=values, diverged_cells=diverged_cells)


def _find_tied_for_best(
    observations: Observations,
    arms: Sequence[Arm],
    looks: Sequence[Look],
    declared_effects: Mapping[tuple[str, str], Effect],
) -> frozenset[str]:
    candidates = [a.name for a in arms if a.role != "noise"]
    comparison = compare_with_best(observations, candidates, looks, declared_effects)
    return frozenset(comparison.bold_arms if comparison else ())


def _explain_exclusions(
    columns: Sequence[Column], arms: Sequence[Arm], dataset_names: Sequence[str]
) -> dict[str, str]:
    """Return data set -> why it is not in the intersection."""
    counted_cells = _list_counted_cells(columns, arms)
    reasons = {}
    for dataset in dataset_names:
        dataset_columns = [c for c in columns if c.datasets[0] == dataset]
        incomplete_cells = [
            cell for cell in counted_cells if not all(c.has_value(*cell) for c in dataset_columns)
        ]
        if len({c.evaluation_hash for c in dataset_columns}) > 1:
            reasons[dataset] = "arms were evaluated on different data"
        elif incomplete_cells or not counted_cells:
            reasons[dataset] = (
                f"{len(incomplete_cells)} of {len(counted_cells)} counted runs lack it"
            )
        elif any(c.too_few_samples for c in dataset_columns):
            reasons[dataset] = "fewer than 50 test samples"
    return reasons


def _list_counted_cells(columns: Sequence[Column], arms: Sequence[Arm]) -> list[tuple[str, int]]:
    """Return the (arm, seed) that have any score of the panel."""
    cells = {(a, s) for c in columns for a, v in c.observations.values.items() for s in v}
    return sorted(cells, key=lambda cell: ([a.name for a in arms].index(cell[0]), cell[1]))


def _build_mean_columns(
    arms: Sequence[Arm], columns: Sequence[Column], looks: Sequence[Look]
) -> Iterator[Column]:
    """Yield the mean of each score and kind that at least two data sets of a list have."""
    columns_by_score: dict[tuple[str, str, str], list[Column]] = {}
    for column in columns:
        key = (datasets.get_mean_list(column.datasets[0]), column.score, column.kind)
        columns_by_score.setdefault(key, []).append(column)
    for (mean_list, score, kind), score_columns in columns_by_score.items():
        if len(score_columns) > 1:
            observations = _average_columns(score_columns, arms)
            yield Column(
                datasets=tuple(c.datasets[0] for c in score_columns),
                score=score,
                kind=kind,
                evaluation_hash="",
                observations=observations,
                num_samples=None,
                too_few_samples=False,
                tied_for_best=_find_tied_for_best(observations, arms, looks, {})
                if get_score_kind_traits(kind).is_ranked
                else frozenset(),
                mean_list=mean_list,
            )


def _average_columns(columns: Sequence[Column], arms: Sequence[Arm]) -> Observations:
    num_columns, first_observations = len(columns), columns[0].observations
    values: dict[str, dict[int, float]] = {}
    for arm, seed in _list_counted_cells(columns, arms):
        seed_values = [c.observations.values[arm][seed] for c in columns]
        values.setdefault(arm, {})[seed] = math.fsum(seed_values) / num_columns
    chances = [c.observations.chance for c in columns if c.observations.chance is not None]
    return Observations(
        seeds=first_observations.seeds,
        first_seed=first_observations.first_seed,
        values=values,
        diverged_cells=first_observations.diverged_cells,
        chance=math.fsum(chances) / num_columns if len(chances) == num_columns else None,
        resolution=min(c.observations.resolution for c in columns) / num_columns,
        higher_is_better=first_observations.higher_is_better,
    )


def _collect_metric_labels(
    stated_protocols: Mapping[str, Mapping[str, Any]],
    protocol: str,
    columns: Sequence[Column],
    dataset_names: Sequence[str],
) -> dict[str, str]:
    """Return data set -> label of its metric, as the scores state it, or else the protocol.

    Args:
        stated_protocols: evaluation hash -> what the scores state.
        protocol: name of the protocol; a custom one states nothing of missing data sets.
        columns: columns of the panel.
        dataset_names: data sets of the panel.
    """
    metrics: dict[str, str] = {}
    if (protocol_rules := PROTOCOLS.get(protocol)) is not None:
        metrics |= {d: protocol_rules.get_metric(d) for d in dataset_names}
    for column in columns:
        stated_protocol = stated_protocols.get(column.evaluation_hash, {})
        if "metric" in stated_protocol:
            metrics[column.dataset] = stated_protocol["metric"]
    return {d: METRIC_LABELS[m] for d, m in metrics.items() if m in METRIC_LABELS}


def _collect_deviations(
    stated_protocols: Mapping[str, Mapping[str, Any]], protocol: str, columns: Sequence[Column]
) -> tuple[str, ...]:
    """Return the deviations that the scores state, or else the protocol."""
    for column in columns:
        deviations = stated_protocols.get(column.evaluation_hash, {}).get("deviations")
        if deviations:
            return tuple(deviations)
    protocol_rules = PROTOCOLS.get(protocol)
    return protocol_rules.deviations if protocol_rules is not None else ()


def _get_data_root(plan: Plan) -> str:
    return str(Path(plan.base_config.get("runtime", {}).get("data_root", "data")))


def _format_missing_reason(reason: str | None, data_root: str) -> str:
    """Return what is missing and how to get it, without the data folder of one machine."""
    prefix = "there is no "
    reason_text = "evaluated for other arms only" if reason is None else reason
    return reason_text.replace(f"{prefix}{data_root}/", f"{prefix}<data_root>/", 1)
