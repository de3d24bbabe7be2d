"""Effects averaged over the published data sets of a sweep.

A mean covers the data sets of a mean column of `benchmark`: those that every counted run was
evaluated on. A set that an arm lacks is in no mean, so both sides of a contrast are averaged over
the same sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from analysis.results.benchmark import Column, Panel, build_panels
from analysis.results.results import Results
from analysis.statistics.dataset_means import MeanOverDatasets, estimate_mean_over_datasets
from analysis.statistics.effects import Effect, estimate_effect
from uniclip.store import Contrast, get_score_kind_traits


@dataclass(frozen=True, kw_only=True)
class AveragedEffect:
    """The effect of a contrast on one score, by data set and averaged over them."""

    contrast: Contrast
    panel: Panel
    column: Column
    """The mean over these data sets."""
    by_dataset: Mapping[str, Effect]
    estimate: MeanOverDatasets


def average_effects(results: Results) -> list[AveragedEffect]:
    """Return every contrast averaged over data sets, for each score that has a mean.

    A contrast without a seed that all of its arms completed, or with an arm that is not in the
    panel, has none.
    """
    return [
        averaged
        for panel in build_panels(results)
        for column in panel.mean_columns
        if get_score_kind_traits(column.kind).is_ranked
        for contrast in results.plan.contrasts
        for averaged in _average_contrast(results, panel, column, contrast)
    ]


def _average_contrast(
    results: Results, panel: Panel, column: Column, contrast: Contrast
) -> Iterator[AveragedEffect]:
    by_dataset = {
        c.dataset: estimate_effect(contrast.weights, c.observations)
        for c in panel.columns
        if c.score == column.score and c.dataset in column.datasets
    }
    seeds = {effect.seeds for effect in by_dataset.values()}
    if len(seeds) != 1 or not next(iter(seeds)):
        return
    yield AveragedEffect(
        contrast=contrast,
        panel=panel,
        column=column,
        by_dataset=by_dataset,
        estimate=estimate_mean_over_datasets(
            {name: effect.values for name, effect in by_dataset.items()},
            {
                name: results.item_squares.get((name, column.score), {}).get(contrast.name)
                for name in by_dataset
            },
        ),
    )
