"""Figure of disagreements: a panel per image."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.figures.disagreements import ItemOutcomes, draw_disagreements
from analysis.figures.style import FigureSkipped
from uniclip.frames.store_frames import TestImages


def make_images(count: int) -> TestImages:
    images = np.zeros((count, 3, 8, 8), np.uint8)
    captions = tuple((f"caption {i}", "another") for i in range(count))
    return TestImages(images=images, names=(), captions=captions)


def test_every_image_has_its_caption_and_both_outcomes() -> None:
    outcomes = [ItemOutcomes(1.0, i / 4) for i in range(5)]
    figure = draw_disagreements(make_images(5), outcomes, ("UniCLIP", "CLIP"))
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == [f"caption {i}" for i in range(5)]
    assert panels[1].get_xlabel() == "UniCLIP: 1\nCLIP: 0.25"
    with pytest.raises(FigureSkipped, match="agree on every"):
        draw_disagreements(make_images(0), [], ("a", "b"))
