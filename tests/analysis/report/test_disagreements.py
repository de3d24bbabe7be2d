"""Samples on which arms disagree: pictures, captions, and the outcomes of both arms."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from analysis.report.disagreements import (
    collect_disagreements,
    format_outcome,
    format_samples,
)
from analysis.results.results import Results
from uniclip.frames.store_frames import TestImages
from uniclip.store import Store


def test_pairs_that_contrasts_compare_are_listed(
    complete_results: Results, complete_root: Path
) -> None:
    disagreements = collect_disagreements(Store(complete_root), complete_results)
    labels = [d.labels for d in disagreements]
    assert ("UniCLIP, all components", "without awareness") in labels
    for disagreement in disagreements:
        assert 0 < disagreement.num_different <= disagreement.num_samples == 600
        assert disagreement.note.startswith("No pictures: "), "the sweep is made up"
        assert all(s.outcomes[0][1] != s.outcomes[1][1] for s in disagreement.samples)


def test_samples_have_picture_captions_and_both_outcomes() -> None:
    index = pd.MultiIndex.from_tuples([(4, 2, 2)], names=["item", "image", "cluster"])
    frame = pd.DataFrame(
        {"first": [1.0], "second": [1 / 3], "difference": [2 / 3], "num_seeds": [3]}, index=index
    )
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(1, 3, 4, 5)
    images = TestImages(images=pixels, names=("<cat>",), captions=(("a", "b", "c", "d"),))
    (sample,) = format_samples(frame, images, ("A", "B"), is_share=True)
    assert sample.title == "<cat>"
    assert sample.captions == ("a", "b", "c")
    assert sample.outcomes == (("A", "right in 3 of 3 seeds"), ("B", "right in 1 of 3 seeds"))
    decoded = Image.open(io.BytesIO(base64.b64decode(sample.image)))
    assert (np.asarray(decoded).transpose(2, 0, 1) == pixels[0]).all()
    (bare,) = format_samples(frame, None, ("A", "B"), is_share=True)
    assert (bare.title, bare.image) == ("test sample 4", "")


def test_outcomes_that_are_no_shares_are_numbers() -> None:
    assert format_outcome(1.0, 1, is_share=True) == "right"
    assert format_outcome(0.123456, 2, is_share=True) == "0.123"
    assert format_outcome(2.0, 3, is_share=False) == "2"
