"""Rows of the tables of one model, and of the differences of two."""

from __future__ import annotations

from uniclip.evaluate.comparison import ScoreDifference
from uniclip.evaluate.score_table import format_difference, format_score, format_without
from uniclip.store import Score


def test_rows_of_scores() -> None:
    score = Score(name="zeroshot", value=0.5, kind="accuracy", chance=0.1, num_samples=9)
    loss = Score(
        name="a|b", value=-1.5, kind="log_likelihood", chance=None, num_samples=9, report_only=True
    )
    assert format_score("dtd", score) == "| dtd | zeroshot | 50.00 % | 10.00 % | 9 |"
    assert format_score("dtd", loss) == "| dtd | a\\|b* | -1.5000 |  | 9 |"
    assert format_without("dtd", [score, loss], {"zeroshot": 0.25}, "near-duplicates") == [
        "| dtd | zeroshot without near-duplicates | 25.00 % | 10.00 % | 9 |"
    ]


def test_rows_of_differences() -> None:
    difference = ScoreDifference(
        score="zeroshot", kind="accuracy", difference=0.25, low=0.125, high=0.375, num_samples=9
    )
    assert (
        format_difference("dtd", difference)
        == "| dtd | zeroshot | +25.00 pp | +12.50 to +37.50 | 9 |"
    )
    other = ScoreDifference(score="retrieval.t2i.log_rank", kind="log_rank", difference=-0.5)
    assert format_difference("coco", other).endswith("-0.5000 |  |  |")
