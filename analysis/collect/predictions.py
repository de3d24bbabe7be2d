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
class Examples:
    """Test pictures with the captions that one run finds for them, nearest first."""

    arm: str
    seed: int
    pixels: NDArray[np.uint8]
    """(e, 3, s, s)."""
    names: list[str]
    captions: list[list[str]]
    right: NDArray[np.bool_]
    """(e, k): whether a caption belongs to the picture."""
    similarity: Floats
    """(e, k) cosines."""


def outcomes(store: Store, plan: Plan, dataset: str, score: str) -> dict[str, dict[int, Floats]]:
    """Arm -> seed -> (n,) outcomes of the test samples whose mean is the score; where kept."""
    found: dict[str, dict[int, Floats]] = {}
    cached: dict[str, Floats | None] = {}
    for cell in plan.cells:
        if cell.run not in cached:
            kept = arrays(store.run(cell.run), plan, dataset, (score,))
            cached[cell.run] = kept[score].astype(np.float64) if score in kept else None
        values = cached[cell.run]
        if values is not None:
            found.setdefault(cell.arm, {})[cell.seed] = values
    return found


def examples(store: Store, plan: Plan) -> Examples | None:
    """The examples of the reference arm, of its first seed that has some; None if none has."""
    names = [f"examples.{n}" for n in ("pixels", "names", "captions", "right", "similarity")]
    for cell in sorted(plan.cells, key=lambda c: plan.seeds.index(c.seed)):
        if cell.arm != plan.reference:
            continue
        kept = arrays(store.run(cell.run), plan, plan.primary.dataset, names)
        if set(names) <= set(kept) and len(kept["examples.names"]):
            pixels, titles, captions, right, similarity = (kept[n] for n in names)
            return Examples(
                arm=cell.arm,
                seed=cell.seed,
                pixels=pixels,
                names=titles.tolist(),
                captions=captions.tolist(),
                right=right.astype(bool),
                similarity=similarity,
            )
    return None


def arrays(run: RunFolder, plan: Plan, dataset: str, names: Any) -> dict[str, NDArray[Any]]:
    """Those of `names` that stand in the run's predictions; `UserError` names a damaged file."""
    wanted = plan.wanted()[run.id]
    if dataset not in wanted:
        return {}
    path = run.predictions_path(dataset, wanted[dataset])
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {n: archive[n] for n in names if n in archive.files}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}); move it away and run again") from None
