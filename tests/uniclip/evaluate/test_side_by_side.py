"""The scores of several models in one table."""

from __future__ import annotations

from uniclip.evaluate.side_by_side import format_side_by_side
from uniclip.store import Score


def make_score(
    name: str, value: float, kind: str = "accuracy", chance: float | None = 0.1
) -> Score:
    return Score(name=name, value=value, kind=kind, chance=chance, num_samples=9)


def test_main_scores_have_a_row_with_a_cell_for_each_model() -> None:
    first = [
        make_score("zeroshot", 0.5),
        make_score("zeroshot.top5", 0.9),
        make_score("zeroshot.ece", 0.1, "error", None),
        make_score("zeroshot[cat]", 0.4),
        make_score("fewshot.16", 0.75),
    ]
    second = [
        make_score("zeroshot", 0.25),
        make_score("zeroshot.skin|tone", 0.3),
        make_score("retrieval.i2t.r1", 0.125, "recall", 0.05),
        make_score("retrieval.i2t.r10", 0.5, "recall", 0.5),
        make_score("retrieval.log_likelihood", -4.5, "log_likelihood"),
        make_score("shift.clean", 0.5),
        make_score("shift.robust", 0.02, "robustness", None),
    ]
    lines = list(format_side_by_side({"a": {"dtd": first}, "b": {"dtd": second}}))
    assert lines == [
        "| data set | score | a | b | chance |",
        "|---|---|---|---|---|",
        "| dtd | zeroshot | 50.00 % | 25.00 % | 10.00 % |",
        "| dtd | fewshot.16 | 75.00 % |  | 10.00 % |",
        "| dtd | zeroshot.skin\\|tone |  | 30.00 % | 10.00 % |",
        "| dtd | retrieval.i2t.r1 |  | 12.50 % | 5.00 % |",
        "| dtd | shift.robust |  | 2.00 % |  |",
    ]


def test_models_without_a_common_data_set_have_empty_cells() -> None:
    scores = {"a": {"dtd": [make_score("zeroshot", 0.5)]}, "b": {}}
    assert list(format_side_by_side(scores))[2:] == ["| dtd | zeroshot | 50.00 % |  | 10.00 % |"]
