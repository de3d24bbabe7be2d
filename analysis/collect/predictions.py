"""Per-sample outcomes and example images, from the `predictions/` folders of runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.outcome_clusters import find_clusters, list_row_arrays
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


@dataclass(frozen=True)
class ItemOutcomes:
    """Outcomes of the test samples behind a score."""

    by_arm: dict[str, dict[int, Floats]]
    """Arm -> seed -> outcomes, shape (n,), whose mean is the score. Runs without any are absent."""
    clusters: NDArray[Any] | None
    """Cluster of each outcome, shape (n,), of the first run that states them; None = each is its
    own. They have another length where outcomes cannot be matched with images."""


def load_outcomes(store: Store, plan: Plan, dataset: str, score: str) -> ItemOutcomes:
    """Read the outcomes of a score from every run of a plan, each file once."""
    outcomes_by_arm: dict[str, dict[int, Floats]] = {}
    outcomes_by_evaluation: dict[tuple[str, str | None], Floats | None] = {}
    clusters: NDArray[Any] | None = None
    for cell in plan.cells:
        evaluation = plan.evaluation_hashes[cell.arm].get(dataset)
        key = cell.run_id, evaluation
        if key not in outcomes_by_evaluation:
            names = [score, *(list_row_arrays(score) if clusters is None else ())]
            arrays = load_arrays(store.get_run(cell.run_id), dataset, evaluation, names)
            saved = arrays.get(score)
            if saved is not None and clusters is None:
                clusters = find_clusters(score, len(saved), arrays)
            outcomes_by_evaluation[key] = None if saved is None else saved.astype(np.float64)
        run_outcomes = outcomes_by_evaluation[key]
        if run_outcomes is not None:
            outcomes_by_arm.setdefault(cell.arm, {})[cell.seed] = run_outcomes
    return ItemOutcomes(outcomes_by_arm, clusters)


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
