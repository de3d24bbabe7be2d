"""Scores and effects without the test items whose images are near-duplicates of training images.

Near-duplicates by hash are those that a run saved; those by embedding were searched later, by
`python -m uniclip.evaluate`, for one run with the same training data at least.

The items are those of `uniclip.evaluate.checks.contaminated_items`. An effect is computed without
the items that are contaminated for any of its arms: they may have different training data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.collect import literature, predictions
from analysis.collect.frame import SweepData
from analysis.statistics.item_clusters import ItemUncertainty, estimate_item_uncertainty
from analysis.statistics.verdicts import ScoreKey
from uniclip.evaluate.checks import contaminated_items, near_duplicates
from uniclip.evaluate.checks.copy_search import CopyVerdicts, read_verdicts
from uniclip.frames.records import load_arrays
from uniclip.store import Cell, Contrast, Plan, Store

Flags = NDArray[np.bool_]
BLIND = ".blind."
"""Part of the names of scores that do not look at images."""


@dataclass(frozen=True, kw_only=True)
class ArmScore:
    """The mean of a score over the seeds of an arm, with and without contaminated items."""

    num_items: int
    num_contaminated: int
    """Largest number over the seeds."""
    value: float
    value_without: float | None
    """None if no item is left."""
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ContaminatedScore:
    """A score with contaminated items."""

    key: ScoreKey
    arms: dict[str, ArmScore]
    effects: dict[str, tuple[ItemUncertainty | None, ItemUncertainty | None]]
    """Contrast -> its effect on all items, and without the contaminated ones."""


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """What the search for near-duplicates of training images found in all data sets."""

    scores: tuple[ContaminatedScore, ...] = ()
    clean: dict[str, int] = field(default_factory=dict)
    """Data set without near-duplicates -> number of its test images."""
    unchecked: tuple[str, ...] = ()
    """Data sets that were not searched."""
    by_embedding: dict[str, CopyVerdicts] = field(default_factory=dict)
    """Data set -> the first verdicts by embedding."""


def collect_contamination(store: Store, sweep_data: SweepData) -> Contamination:
    """Return scores and effects without contaminated items, of all scores with saved outcomes."""
    plan = sweep_data.plan
    scores: list[ContaminatedScore] = []
    clean, unchecked = {}, []
    by_embedding = {}
    for dataset in _list_datasets(sweep_data):
        copies = _read_copies(store, plan, dataset)
        if copies:
            by_embedding[dataset] = next(iter(copies.values()))
        saved = _SavedArrays(store, plan, dataset)
        saved.read(contaminated_items.list_needed_arrays(""))
        cells = {c: _select_arrays(saved, c, copies) for c in plan.cells}
        searched = {c: a for c, a in cells.items() if contaminated_items.VERDICTS in a}
        num_images = [contaminated_items.count_photographs(None, a) for a in searched.values()]
        if not searched:
            unchecked.append(dataset)
        elif not any(_has_copies(arrays) for arrays in searched.values()):
            clean[dataset] = max(num_images)
        else:
            names = [score for d, score in sweep_data.list_score_keys() if d == dataset]
            names = [score for score in names if BLIND not in score]
            items_by_score = _read_items(saved, names, copies)
            compared = [_compare_score(plan, (dataset, n), i) for n, i in items_by_score.items()]
            scores += [score for score in compared if score is not None]
    return Contamination(
        scores=tuple(scores),
        clean=clean,
        unchecked=tuple(unchecked),
        by_embedding=by_embedding,
    )


def _list_datasets(sweep_data: SweepData) -> list[str]:
    """Return the data sets with scores that may have copies of training images."""
    plan = sweep_data.plan
    if plan.is_scored_by_program:
        return []
    published = literature.list_published_datasets(plan.evaluation_hashes, ())
    scored = dict.fromkeys(dataset for dataset, _ in sweep_data.list_score_keys())
    return [d for d in scored if d in published or d in literature.CUSTOM_SOURCES]


def _read_copies(store: Store, plan: Plan, dataset: str) -> dict[str, CopyVerdicts]:
    """Return arm -> verdicts by embedding for its training data, which arms have in common."""
    copies: dict[tuple[Any, ...], CopyVerdicts] = {}
    for cell in plan.cells:
        evaluation_hash = plan.evaluation_hashes[cell.arm].get(dataset)
        training_data = _describe_training_data(plan, cell.arm)
        if evaluation_hash is not None and training_data not in copies:
            verdicts = read_verdicts(store.get_run(cell.run_id), dataset, evaluation_hash)
            copies.update({} if verdicts is None else {training_data: verdicts})
    training_data_by_arm = {arm.name: _describe_training_data(plan, arm.name) for arm in plan.arms}
    return {arm: copies[key] for arm, key in training_data_by_arm.items() if key in copies}


def _describe_training_data(plan: Plan, arm: str) -> tuple[Any, ...]:
    """Return the keys of the data in which an arm differs from the base, and their values."""
    config_diff = plan.get_arm(arm).config_diff
    return tuple(sorted((k, repr(v)) for k, v in config_diff.items() if k.startswith("data")))


@dataclass
class _SavedArrays:
    """Arrays that the runs of a plan saved on a data set; each is read once."""

    store: Store
    plan: Plan
    dataset: str
    _by_evaluation: dict[tuple[str, str | None], dict[str, NDArray[Any]]] = field(
        default_factory=dict
    )
    _names: set[str] = field(default_factory=set)

    def read(self, names: Sequence[str]) -> None:
        """Read those of the named arrays that were not read before."""
        missing = [name for name in dict.fromkeys(names) if name not in self._names]
        for run_id, evaluation_hash in dict.fromkeys(map(self._get_key, self.plan.cells)):
            run = self.store.get_run(run_id)
            arrays = load_arrays(run, self.dataset, evaluation_hash, missing)
            self._by_evaluation.setdefault((run_id, evaluation_hash), {}).update(arrays)
        self._names.update(missing)

    def get(self, cell: Cell) -> dict[str, NDArray[Any]]:
        """Return the arrays of a cell that were read."""
        return self._by_evaluation[self._get_key(cell)]

    def _get_key(self, cell: Cell) -> tuple[str, str | None]:
        return cell.run_id, self.plan.evaluation_hashes[cell.arm].get(self.dataset)


def _select_arrays(
    saved: _SavedArrays, cell: Cell, copies: Mapping[str, CopyVerdicts]
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a cell; an image is a copy if either search says so."""
    verdicts = copies[cell.arm].verdicts if cell.arm in copies else None
    return contaminated_items.add_verdicts(saved.get(cell), verdicts)


def _has_copies(arrays: Mapping[str, NDArray[Any]]) -> bool:
    return contaminated_items.count_photographs(near_duplicates.DUPLICATE, arrays) > 0


@dataclass
class _ScoreItems:
    """The items of one score in all cells, for those that are known."""

    outcomes: dict[str, dict[int, NDArray[Any]]] = field(default_factory=dict)
    """Arm -> seed -> outcomes, as they were saved."""
    flags: dict[str, dict[int, Flags]] = field(default_factory=dict)
    """Arm -> seed -> whether the items are contaminated."""
    items: predictions.ArmItems = field(default_factory=predictions.ArmItems)


def _read_items(
    saved: _SavedArrays, scores: Sequence[str], copies: Mapping[str, CopyVerdicts]
) -> dict[str, _ScoreItems]:
    """Return the items of some scores."""
    items_by_score = {score: _ScoreItems() for score in scores}
    needed = [contaminated_items.list_needed_arrays(score) for score in scores]
    saved.read([*scores, *(name for names in needed for name in names)])
    for cell in saved.plan.cells:
        arrays = _select_arrays(saved, cell, copies)
        for score in set(scores) & set(arrays):
            _add_cell(items_by_score[score], cell, score, arrays)
    return items_by_score


def _add_cell(
    items: _ScoreItems, cell: Cell, score: str, arrays: Mapping[str, NDArray[Any]]
) -> None:
    outcomes = arrays[score]
    flags = contaminated_items.find_contaminated_items(score, len(outcomes), arrays)
    if flags is None:
        return
    items.outcomes.setdefault(cell.arm, {})[cell.seed] = outcomes
    items.flags.setdefault(cell.arm, {})[cell.seed] = flags
    evaluated = items.items.setdefault(cell.arm, predictions.EvaluatedItems())
    if evaluated.clusters is None:
        evaluated.add_run(score, arrays)


def _compare_score(plan: Plan, key: ScoreKey, items: _ScoreItems) -> ContaminatedScore | None:
    """Return a score with and without contaminated items; None without any."""
    flags = items.flags
    if not any(f.any() for by_seed in flags.values() for f in by_seed.values()):
        return None
    outcomes = {
        arm.name: {seed: o.astype(np.float64) for seed, o in items.outcomes[arm.name].items()}
        for arm in plan.arms
        if arm.name in items.outcomes
    }
    return ContaminatedScore(
        key=key,
        arms={arm: _compare_arm(outcomes[arm], flags[arm]) for arm in outcomes},
        effects={
            c.name: _compare_effect(c, outcomes, flags, items.items.get_clusters(c.weights))
            for c in plan.contrasts
            if set(c.weights) <= set(outcomes) and items.items.are_same(c.weights)
        },
    )


def _compare_arm(outcomes: dict[int, predictions.Floats], flags: dict[int, Flags]) -> ArmScore:
    without = [o[~flags[seed]] for seed, o in outcomes.items()]
    return ArmScore(
        num_items=max(len(o) for o in outcomes.values()),
        num_contaminated=max(int(f.sum()) for f in flags.values()),
        value=_average([float(o.mean()) for o in outcomes.values()]),
        value_without=_average([float(o.mean()) for o in without])
        if all(len(o) for o in without)
        else None,
        seeds=tuple(sorted(outcomes)),
    )


def _average(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _compare_effect(
    contrast: Contrast,
    outcomes: dict[str, dict[int, predictions.Floats]],
    flags: dict[str, dict[int, Flags]],
    clusters: NDArray[np.generic] | None,
) -> tuple[ItemUncertainty | None, ItemUncertainty | None]:
    """Return an effect on all items, and on those that are contaminated for none of its arms."""
    arms = list(contrast.weights)
    all_flags = [f for arm in arms for f in flags[arm].values()]
    effect = estimate_item_uncertainty(contrast.weights, outcomes, clusters)
    if effect is None or len({len(f) for f in all_flags}) != 1:
        return effect, None
    is_clean = ~reduce(np.logical_or, all_flags)
    if not is_clean.any():
        return effect, None
    clean_outcomes = {arm: {s: o[is_clean] for s, o in outcomes[arm].items()} for arm in arms}
    clean_clusters = None if clusters is None else clusters[is_clean]
    return effect, estimate_item_uncertainty(contrast.weights, clean_outcomes, clean_clusters)
