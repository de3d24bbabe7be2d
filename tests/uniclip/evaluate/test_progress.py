"""The progress of a long evaluation, in words."""

from __future__ import annotations

import pytest

from uniclip.evaluate.progress import EvaluationProgress


@pytest.mark.parametrize(
    ("done", "seconds", "words"),
    [
        (0.0, 9_000, "0 % done, about 2.5 h left"),
        (0.256, 600, "26 % done, about 10 min left"),
        (0.99, 20, "99 % done, about 20 s left"),
    ],
)
def test_it_says_what_is_left(done: float, seconds: float, words: str) -> None:
    progress = EvaluationProgress(done=done, seconds_left=seconds, is_saved=True)
    assert progress.describe() == words
