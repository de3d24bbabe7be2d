"""Per-sample outcomes and example images, from the `predictions/` folders of runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.outcome_clusters import find_clusters, have_same_items, list_row_arrays
from uniclip.frames.records import load_arrays
from uniclip.store import Plan, Store

Floats = NDArray[np.float64]
EXAMPLE_ARRAYS = ("images", "image_names", "captions", "is_correct", "similarity")
"""Saved arrays `examples.<name>`, in the order of the fields of `RetrievalExamples`."""


@dataclass(frozen=True, kw_only=True)
class RetrievalExamples:
    """Test images with the captions that one run retrieves for them, nearest first."""

    arm: str
    seed: int
    images: NDArray[np.uint8]
    """RGB images, shape (e, 3, s, s)."""
    image_names: list[str]
    captions: list[list[str]]
    """k captions for each of the e images."""
    is_correct: NDArray[np.bool_]
    """Whether a caption belongs to the image, shape (e, k)."""
    similarities: Floats
    """Cosine similarities, shape (e, k)."""


@dataclass
class EvaluatedItems:
    """The test items of a score in one evaluation."""

    row_arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    """The arrays by which they are matched with images (`list_row_arrays`)."""
    clusters: NDArray[Any] | None = None
    """Cluster of each outcome, shape (n,), of the first run that states them; None = each is its
    own. They have another length where outcomes cannot be matched with images."""

    def add_run(self, score: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add what another run saved of them, the outcomes of the score among it."""
        names = list_row_arrays(score)
        self.row_arrays |= {n: arrays[n] for n in names if n in arrays}
        if self.clusters is None:
            self.clusters = find_clusters(score, len(arrays[score]), arrays)


class ArmItems(dict[str, EvaluatedItems]):
    """Arm -> the test items of a score, which are others where an arm has other test data."""

    def are_same(self, arms: Iterable[str]) -> bool:
        """Return whether arms are scored on the same items, so that these can be paired."""
        items = [self[arm] for arm in arms if arm in self]
        return all(have_same_items(items[0].row_arrays, i.row_arrays) for i in items[1:])

    def get_clusters(self, arms: Iterable[str]) -> NDArray[Any] | None:
        """Return the clusters of the items that arms have in common."""
        clusters = (self[arm].clusters for arm in arms if arm in self)
        return next((c for c in clusters if c is not None), None)

    def group_arms(self) -> list[list[str]]:
        """Return the arms that are scored on the same items, in their order."""
        groups: list[list[str]] = []
        for arm in self:
            group = next((g for g in groups if self.are_same((g[0], arm))), None)
            if group is None:
                groups.append([arm])
            else:
                group.append(arm)
        return groups


@dataclass(frozen=True)
class ItemOutcomes:
    """Outcomes of the test samples behind a score."""

    by_arm: dict[str, dict[int, Floats]]
    """Arm -> seed -> outcomes, shape (n,), whose mean is the score. Runs without any are absent."""
    items: ArmItems
    """What these samples are."""

    def pair(self, arms: Iterable[str]) -> tuple[dict[str, dict[int, Floats]], NDArray[Any] | None]:
        """Return the outcomes of arms that are scored on the same samples, none of others.

        Also the clusters of these samples (`EvaluatedItems.clusters`).
        """
        names = [arm for arm in arms if arm in self.by_arm]
        outcomes = {arm: self.by_arm[arm] for arm in names} if self.items.are_same(names) else {}
        return outcomes, self.items.get_clusters(names)


def load_outcomes(store: Store, plan: Plan, dataset: str, score: str) -> ItemOutcomes:
    """Read the outcomes of a score from every run of a plan, each file once."""
    outcomes_by_arm: dict[str, dict[int, Floats]] = {}
    outcomes_by_evaluation: dict[tuple[str, str | None], Floats | None] = {}
    items_by_evaluation: dict[str | None, EvaluatedItems] = {}
    items = ArmItems()
    for cell in plan.cells:
        evaluation = plan.evaluation_hashes[cell.arm].get(dataset)
        key = cell.run_id, evaluation
        if key not in outcomes_by_evaluation:
            evaluated = items_by_evaluation.setdefault(evaluation, EvaluatedItems())
            is_known = evaluated.clusters is not None
            names = [score, *(() if is_known else list_row_arrays(score))]
            arrays = load_arrays(store.get_run(cell.run_id), dataset, evaluation, names)
            saved = arrays.get(score)
            if saved is not None and not is_known:
                evaluated.add_run(score, arrays)
            outcomes_by_evaluation[key] = None if saved is None else saved.astype(np.float64)
        run_outcomes = outcomes_by_evaluation[key]
        if run_outcomes is not None:
            outcomes_by_arm.setdefault(cell.arm, {})[cell.seed] = run_outcomes
            items[cell.arm] = items_by_evaluation[evaluation]
    return ItemOutcomes(outcomes_by_arm, items)


def describe_item_groups(
    plan: Plan, item_groups: Mapping[tuple[str, str], Sequence[Sequence[str]]]
) -> list[str]:
    """Return a sentence for each data set on which arms are scored on different test items.

    Args:
        plan: The plan.
        item_groups: (data set, score) -> the groups of arms that are scored on the same items.
    """
    texts = {}
    for (dataset, _), groups in item_groups.items():
        if len(groups) > 1:
            parts = [", ".join(plan.get_arm(arm).label for arm in group) for group in groups]
            texts[dataset] = (
                f"Arms are scored on different test items of {dataset} ({'; '.join(parts)}): "
                "effects between them are paired by seed but not by item, and have no interval "
                "over items."
            )
    return list(texts.values())


def load_examples(store: Store, plan: Plan) -> RetrievalExamples | None:
    """Return the examples of the reference arm's first seed that has some; None without any."""
    array_names = [f"examples.{name}" for name in EXAMPLE_ARRAYS]
    dataset = plan.primary_metric.dataset
    evaluation = plan.evaluation_hashes[plan.reference].get(dataset)
    for cell in sorted(plan.cells, key=lambda c: plan.seeds.index(c.seed)):
        if cell.arm != plan.reference:
            continue
        saved_arrays = load_arrays(store.get_run(cell.run_id), dataset, evaluation, array_names)
        if set(array_names) <= set(saved_arrays) and len(saved_arrays["examples.image_names"]):
            images, image_names, captions, is_correct, similarities = (
                saved_arrays[n] for n in array_names
            )
            return RetrievalExamples(
                arm=cell.arm,
                seed=cell.seed,
                images=images,
                image_names=image_names.tolist(),
                captions=captions.tolist(),
                is_correct=is_correct.astype(bool),
                similarities=similarities,
            )
    return None
