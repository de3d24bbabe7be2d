"""Verdicts of a search for copies by embedding that nobody made."""

from __future__ import annotations

import numpy as np

from uniclip.evaluate.checks.copy_search import CopyVerdicts
from uniclip.evaluate.checks.embedding_copies import Calibration
from uniclip.evaluate.checks.near_duplicates import DISTINCT, DUPLICATE


def make_verdicts(num_images: int, num_copies: int = 1) -> CopyVerdicts:
    """Return verdicts by which the first images are copies."""
    verdicts = np.full(num_images, DISTINCT, np.int8)
    verdicts[:num_copies] = DUPLICATE
    calibration = Calibration(
        similarity=0.9, correlation=0.9, recall=1.0, similar_share=0.0, num_images=9
    )
    return CopyVerdicts(verdicts=verdicts, calibration=calibration, model="another model")
