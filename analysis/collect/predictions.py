"""Per-sample outcomes and example images, from the `predictions/` folders of runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniclip.frames.records import load_arrays
from uniclip.store import Plan, Store

Floats = NDArray[np.float64]
EXAMPLE_ARRAYS = ("images", "image_names", "captions", "is_correct", "similarity")
"""Saved arrays `examples.<name>`, in the order of the fields of `RetrievalExamples`."""
CLUSTER_ARRAY = "family"
"""Saved array with the cluster of each image."""
LABEL_TASKS = ("zeroshot", "probe")
"""First words of the names of scores on the images that have a label."""


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


def load_outcomes(
    store: Store, plan: Plan, dataset: str, score: str
) -> dict[str, dict[int, Floats]]:
    """Return arm -> seed -> outcomes of the test samples, shape (n,), whose mean is the score.

    Runs that saved no outcomes are left out.
    """
    outcomes_by_arm: dict[str, dict[int, Floats]] = {}
    outcomes_by_run: dict[str, Floats | None] = {}
    for cell in plan.cells:
        if cell.run_id not in outcomes_by_run:
            evaluation = plan.evaluation_hashes[cell.arm].get(dataset)
            saved_arrays = load_arrays(store.get_run(cell.run_id), dataset, evaluation, (score,))
            outcomes_by_run[cell.run_id] = (
                saved_arrays[score].astype(np.float64) if score in saved_arrays else None
            )
        run_outcomes = outcomes_by_run[cell.run_id]
        if run_outcomes is not None:
            outcomes_by_arm.setdefault(cell.arm, {})[cell.seed] = run_outcomes
    return outcomes_by_arm


def load_clusters(store: Store, plan: Plan, dataset: str, score: str) -> NDArray[np.generic] | None:
    """Return the cluster of each outcome of a score, shape (n,); None if no run saved clusters.

    They are stored as `family`, one for each image. Outcomes of captions (`t2i`) are of the cluster
    of their image, and if images come in no clusters, those of one image are one. A score on a
    label set (`zeroshot.<label>`, `probe.<label>`) is of the images with such a label.
    """
    prefix, separator, _ = score.partition(".t2i.")
    image_name = f"{prefix}.t2i.image" if separator else ""
    label_name = _get_label_array(score)
    for cell in plan.cells:
        evaluation = plan.evaluation_hashes[cell.arm].get(dataset)
        array_names = (CLUSTER_ARRAY, image_name, label_name)
        saved_arrays = load_arrays(store.get_run(cell.run_id), dataset, evaluation, array_names)
        clusters, images = saved_arrays.get(CLUSTER_ARRAY), saved_arrays.get(image_name)
        labels = saved_arrays.get(label_name)
        if images is not None:
            return images if clusters is None else clusters[images]
        if clusters is not None:
            return clusters if labels is None else clusters[labels >= 0]
    return None


def _get_label_array(score: str) -> str:
    """Return the name of the saved labels of the images that a score is about; "" for all."""
    task, *words = score.split(".")
    return f"labels.{words[0]}" if task in LABEL_TASKS and words else ""


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
