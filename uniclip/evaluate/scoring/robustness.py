"""Effective robustness: accuracy under a shift beyond what accuracy without it lets expect.

Taori et al. (NeurIPS 2020): the accuracy on shifted images of models that were trained on ImageNet
alone is close to a linear function of their accuracy on ImageNet, both as logits. What a model
has more than that function of its own ImageNet accuracy is its effective robustness.

The function is fitted by least squares, for each shift, to the models of
`data/imagenet_1k_models.csv`: 819 of the models that timm lists in `results/` (commit aa4b585,
2026-08-08, Apache-2.0), with its top-1 accuracies. They are those whose tag says training on
ImageNet-1k from scratch: none with ft, dist, jft, adv, ap, ns, ssld, in21k and the like in it. So
the fit is ours, to other models than that of Taori et al.; ImageNet accuracy is on the classes of
the shift (200 for ImageNet-A and -R). ImageNet-O and ObjectNet are not in timm's results.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

import numpy as np

from uniclip.evaluate.metrics import Float
from uniclip.evaluate.prompts import DATA_FOLDER

POINTS_FILE = "imagenet_1k_models.csv"
COLUMNS = {
    "imagenet_v2": "imagenet",
    "imagenet_sketch": "imagenet",
    "imagenet_a": "imagenet_on_a",
    "imagenet_r": "imagenet_on_r",
}
"""Shift -> column of the accuracies without it, on the same classes."""


@dataclass(frozen=True)
class RobustnessBaseline:
    """The fit of one shift; logit(p) = log(p / (1 - p))."""

    slope: float
    intercept: float
    """Of the logit of the accuracy under the shift, as a function of that without it."""
    r_squared: float
    """Share of the variance of the logits that the fit explains."""
    num_models: int
    lowest: float
    highest: float
    """Lowest and highest accuracy without the shift of the models."""

    def predict(self, accuracy: float) -> float:
        """Return the accuracy under the shift that an accuracy in (0, 1) lets expect."""
        return float(1 / (1 + np.exp(-(self.slope * _logit(accuracy) + self.intercept))))

    def covers(self, accuracy: float) -> bool:
        """Return whether models with such an accuracy are among the fitted ones."""
        return self.lowest <= accuracy <= self.highest


@cache
def fit_baseline(dataset: str) -> RobustnessBaseline | None:
    """Return the fit of a shift; None for a data set without published points."""
    if dataset not in COLUMNS:
        return None
    with open(DATA_FOLDER / POINTS_FILE, newline="", encoding="ascii") as stream:
        rows = list(csv.DictReader(stream))
    clean, shifted = (
        np.array([float(row[column]) / 100 for row in rows])
        for column in (COLUMNS[dataset], dataset)
    )
    x, y = _logit(clean), _logit(shifted)
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - (slope * x + intercept)
    return RobustnessBaseline(
        slope=float(slope),
        intercept=float(intercept),
        r_squared=float(1 - residual.var() / y.var()),
        num_models=len(rows),
        lowest=float(clean.min()),
        highest=float(clean.max()),
    )


def _logit(probability: float | Float) -> Float:
    return np.asarray(np.log(probability) - np.log1p(-np.asarray(probability)))
