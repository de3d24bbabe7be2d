"""Per-sample outcomes and example pictures, from the `predictions/` of runs."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.errors import UserError
from uniclip.store import Plan, RunFolder, Store

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class RetrievalExamples:
    """Test pictures with the captions that one run finds for them, nearest first."""

    arm: str
    seed: int
    images: NDArray[np.uint8]
    """(e, 3, s, s)."""
    image_names: list[str]
    captions: list[list[str]]
    is_match: NDArray[np.bool_]
    """(e, k): whether a caption belongs to the picture."""
    similarities: Floats
    """(e, k) cosines."""


def load_outcomes(
    store: Store, plan: Plan, dataset: str, score: str
) -> dict[str, dict[int, Floats]]:
    """Arm -> seed -> (n,) outcomes of the test samples whose mean is the score; where kept."""
    outcomes_by_arm: dict[str, dict[int, Floats]] = {}
    outcomes_by_run: dict[str, Floats | None] = {}
    for cell in plan.cells:
        if cell.run_id not in outcomes_by_run:
            saved_arrays = load_arrays(store.get_run(cell.run_id), plan, dataset, (score,))
            outcomes_by_run[cell.run_id] = (
                saved_arrays[score].astype(np.float64) if score in saved_arrays else None
            )
        run_outcomes = outcomes_by_run[cell.run_id]
        if run_outcomes is not None:
            outcomes_by_arm.setdefault(cell.arm, {})[cell.seed] = run_outcomes
    return outcomes_by_arm


def load_examples(store: Store, plan: Plan) -> RetrievalExamples | None:
    """The examples of the reference arm, of its first seed that has some; None if none has."""
    array_names = [f"examples.{n}" for n in ("images", "image_names", "captions", "is_correct", "similarity")]
    for cell in sorted(plan.cells, key=lambda c: plan.seeds.index(c.seed)):
        if cell.arm != plan.reference:
            continue
        saved_arrays = load_arrays(
            store.get_run(cell.run_id), plan, plan.primary_metric.dataset, array_names
        )
        if set(array_names) <= set(saved_arrays) and len(saved_arrays["examples.image_names"]):
            images, image_names, captions, is_match, similarities = (
                saved_arrays[n] for n in array_names
            )
            return RetrievalExamples(
                arm=cell.arm,
                seed=cell.seed,
                images=images,
                image_names=image_names.tolist(),
                captions=captions.tolist(),
                is_match=is_match.astype(bool),
                similarities=similarities,
            )
    return None


def load_arrays(
    run: RunFolder, plan: Plan, dataset: str, array_names: Any
) -> dict[str, NDArray[Any]]:
    """Those of `names` that stand in the run's predictions; `UserError` names a damaged file."""
    required_evaluations = plan.required_evaluations()[run.id]
    if dataset not in required_evaluations:
        return {}
    path = run.predictions_path(dataset, required_evaluations[dataset])
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {n: archive[n] for n in array_names if n in archive.files}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}); move it away and run again") from None
