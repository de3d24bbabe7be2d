"""The baseline of effective robustness: fitted to published accuracies of models."""

from __future__ import annotations

import csv
import math

import pytest

from uniclip.evaluate.datasets.shifts import SHIFT_DATASETS
from uniclip.evaluate.prompts import DATA_FOLDER
from uniclip.evaluate.scoring.robustness import COLUMNS, POINTS_FILE, fit_baseline


def logit(p: float) -> float:
    return math.log(p / (1 - p))


@pytest.mark.parametrize(
    ("name", "r_squared", "lowest", "highest"),
    [
        ("imagenet_v2", 0.995, 0.40982, 0.87068),
        ("imagenet_sketch", 0.922, 0.40982, 0.87068),
        ("imagenet_a", 0.843, 0.6216, 0.9783),
        ("imagenet_r", 0.920, 0.6398, 0.973),
    ],
)
def test_the_fit_is_least_squares_in_logits(name, r_squared, lowest, highest) -> None:
    with open(DATA_FOLDER / POINTS_FILE, newline="") as stream:
        rows = list(csv.DictReader(stream))
    x = [logit(float(row[COLUMNS[name]]) / 100) for row in rows]
    y = [logit(float(row[name]) / 100) for row in rows]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / sum(
        (a - mean_x) ** 2 for a in x
    )
    baseline = fit_baseline(name)
    assert baseline is not None
    assert baseline.num_models == len(rows) == 819
    assert baseline.slope == pytest.approx(slope)
    assert baseline.intercept == pytest.approx(mean_y - slope * mean_x)
    assert baseline.r_squared == pytest.approx(r_squared, abs=5e-4)
    assert (baseline.lowest, baseline.highest) == pytest.approx((lowest, highest))
    assert baseline.covers(lowest)
    assert not baseline.covers(lowest - 0.01)
    expected = 1 / (1 + math.exp(-(slope * logit(0.7) + mean_y - slope * mean_x)))
    assert baseline.predict(0.7) == pytest.approx(expected)


def test_the_models_were_trained_on_imagenet_1k_alone() -> None:
    with open(DATA_FOLDER / POINTS_FILE, newline="") as stream:
        tags = [row["model"].partition(".")[2].split("_") for row in csv.DictReader(stream)]
    assert all("in1k" in tag for tag in tags)
    others = {"ft", "jft", "dist", "in21k", "in22k", "in12k", "clip", "openai", "adv", "ap", "ns"}
    assert not [tag for tag in tags if others & set(tag)]


def test_every_baseline_is_of_a_shift_with_a_reference() -> None:
    with_reference = {d.name for d in SHIFT_DATASETS if d.reference is not None}
    assert with_reference == {*COLUMNS, "imagenet_o"}
    assert fit_baseline("objectnet") is None
