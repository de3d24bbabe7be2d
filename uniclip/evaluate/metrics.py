"""Measures of outcomes, in numpy alone: wins, recall under ties, calibration, and chance levels.

Two similarities closer than `TIE` are a tie: that is the rounding of a float32 cosine, and which of
two equal keys comes first must decide nothing. A tie is counted at its expectation when its members
are put in random order, so a model that says the same of everything scores exactly chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

TIE = 1e-6
"""Cosines closer than this are a tie."""


def wins(right: NDArray[Any], wrong: NDArray[Any]) -> Float:
    """How often the right one of a pair scores higher, a tie counting one half; chance is 0.5.

    right: (n,) similarities. wrong: (n, k), of the k alternatives to each. Returns (n,) float64 in
    [0, 1]: the mean over the alternatives.
    """
    margin = right[:, None].astype(np.float64) - wrong.astype(np.float64)
    return np.where(np.abs(margin) > TIE, margin > 0, 0.5).mean(axis=1)


def drawn(right: NDArray[Any], wrong: NDArray[Any], draws: NDArray[Any] | int) -> Float:
    """The probability that `draws` of right + wrong keys, without replacement, hold a right one.

    All arguments are counts, int64, and broadcast; `draws` below 1 gives 0. This is the chance
    level of R@k (draws = k among all keys) and the expectation of a hit within a tie.
    """
    right, wrong, draws = np.broadcast_arrays(right, wrong, draws)
    missed = np.ones(right.shape)
    for draw in range(int(draws.max(initial=0))):
        left = np.maximum(wrong - draw, 0)
        missed = np.where(draw < draws, missed * left / np.maximum(right + left, 1), missed)
    return 1.0 - missed


def softmax(logits: NDArray[Any]) -> Float:
    """Rows (n, C) of logits as probabilities, float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def calibration_error(confidence: NDArray[Any], outcome: NDArray[Any], bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017): mean |accuracy - confidence|.

    confidence: (n,) probability of the predicted class. outcome: (n,) in [0, 1]. Compared within
    `bins` bins of equal width on (0, 1].
    """
    confidence, outcome = confidence.astype(np.float64), outcome.astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=outcome - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))
