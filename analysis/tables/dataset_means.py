"""Table of the effects that are averaged over published data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from analysis import formatting
from analysis.results.benchmark import Column
from analysis.results.dataset_means import AveragedEffect, average_effects
from analysis.results.results import Results
from analysis.statistics.dataset_means import Interval, MeanOverDatasets
from analysis.tables.table import Table, make_row

SEEDS, SEEDS_AND_ITEMS = "new seeds", "new seeds and items"
SEEDS_SETS_AND_ITEMS = "new seeds, sets and items"
NO_OUTCOMES = "no outcomes"


def build_dataset_mean_tables(results: Results) -> list[Table]:
    """Return the table of averaged effects; none without two data sets with a common score."""
    averaged_effects = average_effects(results)
    if not averaged_effects:
        return []
    shown = _select_shown(averaged_effects)
    confidence = formatting.format_confidence_level()
    return [
        Table(
            name="dataset_means",
            title="Effects averaged over data sets",
            headings=(
                "contrast",
                "mean of",
                "data sets",
                "effect (pp)",
                f"{confidence}, these sets: {SEEDS}",
                f"{confidence}, these sets: {SEEDS_AND_ITEMS}",
                f"{confidence}, {SEEDS_SETS_AND_ITEMS}",
                "positive / negative",
                "p (signs)",
                "p (ranks)",
                "without one set",
                "seeds",
            ),
            essential=(
                *("contrast", "mean of", "data sets", "effect (pp)"),
                *(f"{confidence}, these sets: {SEEDS_AND_ITEMS}",),
                f"{confidence}, {SEEDS_SETS_AND_ITEMS}",
            ),
            rows=tuple(_build_row(a) for a in shown),
            records=tuple(_build_record(results, a) for a in averaged_effects),
            notes=tuple(_build_notes(averaged_effects)),
            num_text_columns=2,
        )
    ]


def _select_shown(averaged_effects: Sequence[AveragedEffect]) -> list[AveragedEffect]:
    """Return the effects of primary contrasts; all, if none of them is primary."""
    primary = [a for a in averaged_effects if a.contrast.primary]
    return primary or list(averaged_effects)


def format_mean_label(column: Column) -> str:
    """Return what a mean is of: "zero-shot accuracy, shifts", "R@1 image to text"."""
    kind_text = "" if column.kind == "recall" else f" {column.kind.replace('_', ' ')}"
    list_text = f", {column.mean_list}" if column.mean_list else ""
    return f"{formatting.format_score_label(column.score)}{kind_text}{list_text}"


def _build_row(averaged: AveragedEffect) -> Any:
    estimate = averaged.estimate
    errors = _estimate_error(estimate)
    number_format = formatting.make_number_format(averaged.column.kind, errors)

    def format_interval(interval: Interval | None, missing: str = "") -> str:
        if interval is None:
            return missing
        return number_format.format_bounds(interval.low, interval.high)

    lacks_outcomes = estimate.seeds is not None and estimate.seeds_and_items is None
    tests = estimate.tests
    return make_row(
        averaged.contrast.label,
        format_mean_label(averaged.column),
        str(len(averaged.by_dataset)),
        number_format.format_signed(estimate.mean),
        format_interval(estimate.seeds),
        format_interval(estimate.seeds_and_items, NO_OUTCOMES if lacks_outcomes else ""),
        format_interval(estimate.seeds_sets_and_items),
        f"{tests.num_positive} / {tests.num_negative}",
        formatting.format_p_value(tests.sign_p),
        formatting.format_p_value(tests.signed_rank_p),
        f"{number_format.format_signed(estimate.without_one.low)} to "
        f"{number_format.format_signed(estimate.without_one.high)}"
        f" ({estimate.most_influential})",
        str(estimate.num_seeds),
    )


def _estimate_error(estimate: MeanOverDatasets) -> float | None:
    """Return a quarter of the length of the first interval, by which decimals are chosen."""
    interval = estimate.seeds or estimate.seeds_sets_and_items
    return None if interval is None else (interval.high - interval.low) / 4


def _build_record(results: Results, averaged: AveragedEffect) -> dict[str, Any]:
    estimate, tests = averaged.estimate, averaged.estimate.tests

    def get_bounds(name: str, interval: Interval | None) -> dict[str, float | None]:
        return {
            f"{name}_low": None if interval is None else interval.low,
            f"{name}_high": None if interval is None else interval.high,
        }

    seeds = next(iter(averaged.by_dataset.values())).seeds
    return {
        "contrast": averaged.contrast.name,
        "score": averaged.column.score,
        "kind": averaged.column.kind,
        "dataset": averaged.column.dataset,
        "protocol": averaged.panel.protocol,
        "effect": estimate.mean,
        **get_bounds("seeds", estimate.seeds),
        **get_bounds("seeds_and_items", estimate.seeds_and_items),
        **get_bounds("seeds_sets_and_items", estimate.seeds_sets_and_items),
        "num_datasets": len(averaged.by_dataset),
        "num_positive": tests.num_positive,
        "num_negative": tests.num_negative,
        "p_signs": tests.sign_p,
        "p_ranks": tests.signed_rank_p,
        **get_bounds("without_one", estimate.without_one),
        "most_influential": estimate.most_influential,
        "num_seeds": estimate.num_seeds,
        "by_dataset": " ".join(f"{d}:{v:.10g}" for d, v in estimate.by_dataset.items()),
        "runs": " ".join(
            results.run_by_cell[arm, seed] for arm in averaged.contrast.weights for seed in seeds
        ),
    }


def _build_notes(averaged_effects: Sequence[AveragedEffect]) -> Iterator[str]:
    sets_by_label: dict[str, tuple[str, ...]] = {}
    for averaged in averaged_effects:
        sets_by_label[format_mean_label(averaged.column)] = averaged.column.datasets
    yield from (f"Mean of {label}: {', '.join(sets)}." for label, sets in sets_by_label.items())
    yield (
        "Every data set has the same weight, and a set that a counted run lacks is in no mean. "
        "Exploratory: none of these effects is corrected for the others, and none makes a verdict."
    )
    yield (
        f"These sets, {SEEDS}: paired t over seeds, data sets and items fixed. "
        f"{SEEDS_AND_ITEMS.capitalize()}: the test items of each set are random too. "
        f"{SEEDS_SETS_AND_ITEMS.capitalize()}: the sets as well are a sample (two-way random "
        "effects of seeds and sets; from three sets on)."
    )
    yield (
        "Signs and ranks: exact sign test and Wilcoxon's signed-rank test over data sets. They "
        "take the trained models as given: what a seed does to all sets is not in them, so they "
        "support an interval and do not replace it."
    )
    yield (
        "Without one set: the smallest and the largest mean if one set is left out, and the set "
        "that changes the mean most."
    )
