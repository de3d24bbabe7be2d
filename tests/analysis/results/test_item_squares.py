"""Mean squares over test items, read from saved outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis.statistics.item_clusters import compute_mean_squares
from tests.helpers import fake_published_sets
from tests.helpers.analyzed_sweeps import analyze_sweep
from uniclip import rng
from uniclip.store import Cell

CONTRAST = "full - clip"
FAMILIES = np.repeat(np.arange(20), 3)


def draw_outcomes(cell: Cell, dataset: str) -> np.ndarray:
    """Return whether each of 60 images is classified correctly; of dtd, one arm has fewer."""
    key = rng.derive_key("squares", cell.arm, cell.seed, dataset)
    draws = np.random.Generator(np.random.Philox(key=key)).random(60) < 0.6
    return draws[:50] if (dataset, cell.arm) == ("dtd", "clip") else draws


def save_outcomes(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
    """Save outcomes; on cifar10 in clusters, and none on flowers102 by one arm."""
    if (dataset, cell.arm) == ("flowers102", "clip"):
        return {}
    arrays = {"zeroshot": draw_outcomes(cell, dataset)}
    return {**arrays, "family": FAMILIES} if dataset == "cifar10" else arrays


def test_squares_are_of_paired_outcomes_in_clusters(tmp_path: Path) -> None:
    results = analyze_sweep(*fake_published_sets.make(tmp_path, extra=save_outcomes))
    cells = {(c.arm, c.seed): c for c in results.plan.cells}
    table = np.stack(
        [
            draw_outcomes(cells["full", s], "cifar10").astype(float)
            - draw_outcomes(cells["clip", s], "cifar10")
            for s in results.plan.seeds
        ]
    )
    squares = results.item_squares["cifar10", "zeroshot"][CONTRAST]
    assert squares is not None
    assert squares == compute_mean_squares(table, FAMILIES)
    assert squares.num_clusters == 20
    assert results.item_squares["dtd", "zeroshot"][CONTRAST] is None, "other numbers of images"
    assert results.item_squares["flowers102", "zeroshot"][CONTRAST] is None, "nothing was saved"
    assert results.item_squares["dtd", "zeroshot"]["noise"] is not None
    assert all(dataset != "openmoji" for dataset, _ in results.item_squares)


def test_the_squares_are_those_of_a_two_way_table() -> None:
    table = np.array([[1.0, 2.0, 4.0], [2.0, 2.0, 6.0]])
    squares = compute_mean_squares(table)
    assert squares.seed == pytest.approx(3 * np.var([7 / 3, 10 / 3], ddof=1))
    assert squares.cluster == pytest.approx(2 * np.var([1.5, 2.0, 5.0], ddof=1))
    assert (squares.seed_df, squares.cluster_df, squares.residual_df) == (1, 2, 2)
