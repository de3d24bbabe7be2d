"""Kinds of scores: the one place that says which direction is better, and in what unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ScoreKind = Literal[
    "accuracy",
    "recall",
    "map",
    "reciprocal_rank",
    "rank",
    "log_rank",
    "log_likelihood",
    "gap",
    "error",
    "temperature",
    "detection",
    "robustness",
    "f1",
    "worst_group",
    "share",
    "jaccard",
    "loss",
    "value",
]
"""What a score measures. Averages are taken within one kind only."""


@dataclass(frozen=True, kw_only=True)
class ScoreKindTraits:
    """How the values of one kind of score are compared and shown."""

    higher_is_better: bool | None
    """Direction of an improvement; None = the score has none."""
    is_ranked: bool = True
    """Whether arms are compared by it: only then one of them can be the best."""
    is_percent: bool = False
    """Whether it is a fraction that is shown in percent."""
    has_steps: bool = False
    """Whether it moves in steps of 1 / number of samples, as a share of the samples does."""
    unit: str = ""
    """Unit of a value that is not in percent."""


_SHARE = ScoreKindTraits(higher_is_better=True, is_percent=True, has_steps=True)

SCORE_KINDS: dict[str, ScoreKindTraits] = {
    "accuracy": _SHARE,
    "recall": _SHARE,
    "map": _SHARE,
    "reciprocal_rank": ScoreKindTraits(higher_is_better=True, is_percent=True),
    "rank": ScoreKindTraits(higher_is_better=False),
    "log_rank": ScoreKindTraits(higher_is_better=False),
    "log_likelihood": ScoreKindTraits(higher_is_better=True, unit="nats"),
    "gap": ScoreKindTraits(higher_is_better=None, is_ranked=False),
    "error": ScoreKindTraits(
        higher_is_better=False, is_ranked=False, is_percent=True, has_steps=True
    ),
    "temperature": ScoreKindTraits(higher_is_better=None, is_ranked=False),
    "detection": ScoreKindTraits(higher_is_better=True, is_percent=True),
    "robustness": ScoreKindTraits(higher_is_better=True, is_percent=True),
    "f1": ScoreKindTraits(higher_is_better=True, is_percent=True),
    "worst_group": ScoreKindTraits(higher_is_better=True, is_percent=True),
    "jaccard": ScoreKindTraits(higher_is_better=True, is_percent=True),
    "loss": ScoreKindTraits(higher_is_better=False),
    "value": ScoreKindTraits(higher_is_better=True),
    "share": ScoreKindTraits(higher_is_better=None, is_ranked=False, is_percent=True),
}
"""Kind -> its traits."""


def get_score_kind_traits(kind: str) -> ScoreKindTraits:
    """Return the traits of a kind; for "" (nothing is scored yet), those of an accuracy."""
    return SCORE_KINDS[kind or "accuracy"]


def is_better(value: float, reference: float, kind: str) -> bool:
    """Return whether a value is better than another; False for a kind without a direction."""
    higher_is_better = get_score_kind_traits(kind).higher_is_better
    if higher_is_better is None:
        return False
    return value > reference if higher_is_better else value < reference
