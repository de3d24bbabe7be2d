"""Names of scores: whatever a class is called, its score has a name of its own."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip.evaluate.scoring import zero_shot
from uniclip.evaluate.scoring.score_card import ScoreCard
from uniclip.evaluate.scoring.score_names import (
    join_class_name,
    rename_early_class_scores,
    split_class_name,
)
from uniclip.evaluate.scoring.zero_shot import ZeroShotResult
from uniclip.store import Score

ODD_NAMES = [
    "ece",
    "prediction",
    "mean_per_class",
    "accuracy",
    "top5",
    "a.b",
    "a/b",
    "[x]",
    "x]",
    'say "hi"',
    "",
    "Cat",
    "cat",
    "猫",
    "it's|so",
    "nan",
]


@pytest.mark.parametrize("class_name", ODD_NAMES)
def test_a_class_is_found_in_the_name(class_name: str) -> None:
    assert split_class_name(join_class_name("zeroshot.label", class_name)) == (
        "zeroshot.label",
        class_name,
    )


def test_scores_over_all_classes_have_no_class() -> None:
    assert split_class_name("zeroshot.label.ece") == ("zeroshot.label.ece", None)


def test_no_class_collides_with_another_score() -> None:
    labels = np.arange(len(ODD_NAMES)).repeat(2)
    outcome = np.tile([0.0, 1.0], len(ODD_NAMES))
    score_card = ScoreCard()
    result = ZeroShotResult(labels, outcome, 0.125)
    zero_shot.add_zero_shot_scores(score_card, "label", result, labels, ODD_NAMES)
    scores, arrays = score_card.get_results()
    assert len({s.name for s in scores}) == len(scores) == len(ODD_NAMES) + 2
    assert {s.value for s in scores if s.name == "zeroshot.label.ece"} == {0.125}
    assert set(arrays) == {"zeroshot.label", "zeroshot.label.prediction"}


def make_score(name: str, kind: str = "accuracy", *, report_only: bool = True) -> Score:
    return Score(
        name=name,
        value=0.5,
        kind=kind,  # type: ignore[arg-type]
        chance=None,
        num_samples=100,
        report_only=report_only,
    )


def test_early_names_of_classes_are_recognized() -> None:
    scores = [
        make_score("zeroshot.label", report_only=False),
        make_score("zeroshot.label.ece", "error"),
        make_score("zeroshot.label.a.b"),
        make_score("probe.label"),
        make_score("probe.label.cat"),
        make_score("retrieval.i2t.r1", "recall"),
    ]
    assert rename_early_class_scores(scores) == {
        "zeroshot.label.a.b": "zeroshot.label[a.b]",
        "probe.label.cat": "probe.label[cat]",
    }
    single_label = [make_score("zeroshot", report_only=False), make_score("zeroshot.top5")]
    assert rename_early_class_scores(single_label) == {}
    multi_label = [make_score("zeroshot", "map"), make_score("zeroshot.dining table", "map")]
    assert rename_early_class_scores(multi_label) == {
        "zeroshot.dining table": "zeroshot[dining table]"
    }
    assert rename_early_class_scores([make_score("zeroshot.label[a]")]) == {}
