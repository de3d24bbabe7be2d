"""Figure of retrieval examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.collect.predictions import load_examples
from analysis.figures.examples import MAX_CAPTION_LENGTH, draw_retrieval_examples
from analysis.figures.style import GOOD, FigureSkipped, use_figure_style
from analysis.results.results import Results
from uniclip.store import Store


def test_correct_captions_are_marked(complete_root: Path, complete_results: Results) -> None:
    examples = load_examples(Store(complete_root), complete_results.plan)
    assert examples is not None
    with use_figure_style():
        figure = draw_retrieval_examples(examples)
    assert sum(bool(axes.images) for axes in figure.axes) == 12
    texts = [text for axes in figure.axes for text in axes.texts]
    assert len(texts) == 12 * 5
    assert sum(text.get_color() == GOOD for text in texts) == examples.is_correct.sum() == 9
    assert max(len(text.get_text()) for text in texts) <= MAX_CAPTION_LENGTH + len("  0.00")


def test_without_examples_the_figure_is_skipped() -> None:
    with pytest.raises(FigureSkipped, match="no run of the reference arm saved example images"):
        draw_retrieval_examples(None)
