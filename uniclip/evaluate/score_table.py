"""The rows of the tables that the command line prints: scores, and differences of two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from uniclip.evaluate.side_by_side import format_value
from uniclip.store import get_score_kind_traits

if TYPE_CHECKING:
    from uniclip.evaluate.comparison import ScoreDifference
    from uniclip.store import Score

TABLE_HEAD = ("| data set | score | value | chance | samples |", "|---|---|---|---|---|")
DIFFERENCE_HEAD = (
    "| data set | score | difference | 95 % interval | samples |",
    "|---|---|---|---|---|",
)


def format_score(name: str, score: Score) -> str:
    """Return a score's row of the table; a report-only score is marked with *."""
    chance = "" if score.chance is None else format_value(score, score.chance)
    label = score.name.replace("|", r"\|") + ("*" if score.report_only else "")
    value = format_value(score, score.value)
    return f"| {name} | {label} | {value} | {chance} | {score.num_samples} |"


def format_without(
    name: str, scores: Sequence[Score], values: Mapping[str, float], what: str
) -> list[str]:
    """Return the rows of the scores without contaminated items.

    Args:
        name: The data set.
        scores: Its scores.
        values: Name of a score -> its value without those items.
        what: What the items were contaminated by, in words.
    """
    return [
        format_score(
            name, replace(score, name=f"{score.name} without {what}", value=values[score.name])
        )
        for score in scores
        if score.name in values
    ]


def format_difference(dataset: str, difference: ScoreDifference) -> str:
    """Return the row of a difference, with its interval where it has one."""
    scale, decimals, unit = (
        (100, 2, " pp") if get_score_kind_traits(difference.kind).is_percent else (1, 4, "")
    )
    interval = ""
    if difference.low is not None and difference.high is not None:
        low, high = (
            f"{scale * bound:+.{decimals}f}" for bound in (difference.low, difference.high)
        )
        interval = f"{low} to {high}"
    label = difference.score.replace("|", r"\|")
    value = f"{scale * difference.difference:+.{decimals}f}{unit}"
    return f"| {dataset} | {label} | {value} | {interval} | {difference.num_samples or ''} |"
