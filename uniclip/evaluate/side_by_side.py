"""A table of the scores of several models, with a column for each model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from uniclip.evaluate.scoring.score_names import CALIBRATION_ERROR, split_class_name
from uniclip.store import Score, get_score_kind_traits

SUMMARIZED = {
    "retrieval": ("i2t.r1", "i2t.r5", "t2i.r1", "t2i.r5"),
    "composition": ("text", "image", "group"),
    "zeroshot": (),
    "probe": (),
}
"""First word of a score's name -> the words after it of the scores that the table has; none: the
score itself, and that of each label set."""
REPEATED = ("accuracy", "mean_per_class", "top5")
"""Last words of names of scores that repeat another one in another metric."""


def format_side_by_side(
    scores_by_model: Mapping[str, Mapping[str, Sequence[Score]]],
) -> Iterator[str]:
    """Yield the lines of the table: a row for each main score that a model has.

    scores_by_model: model -> data set -> scores.
    """
    models = list(scores_by_model)
    yield f"| data set | score | {' | '.join(models)} | chance |"
    yield "|---" * (len(models) + 3) + "|"
    rows: dict[tuple[str, str], dict[str, Score]] = {}
    for model, scores_by_dataset in scores_by_model.items():
        for dataset, scores in scores_by_dataset.items():
            for score in filter(_is_main_score, scores):
                rows.setdefault((dataset, score.name), {})[model] = score
    for (dataset, name), scores_of_row in rows.items():
        values = {model: format_value(score, score.value) for model, score in scores_of_row.items()}
        cells = [values.get(model, "") for model in models]
        first = next(iter(scores_of_row.values()))
        chance = "" if first.chance is None else format_value(first, first.chance)
        label = name.replace("|", r"\|")
        yield f"| {dataset} | {label} | {' | '.join(cells)} | {chance} |"


def format_value(score: Score, value: float) -> str:
    """Return a value of a score of that kind: in percent, or with four decimals."""
    is_percent = get_score_kind_traits(score.kind).is_percent
    return f"{100 * value:.2f} %" if is_percent else f"{value:.4f}"


def _is_main_score(score: Score) -> bool:
    name, class_name = split_class_name(score.name)
    first, *others = name.split(".")
    if class_name is not None or CALIBRATION_ERROR in others:
        return False
    if first not in SUMMARIZED:
        return first in ("fewshot", "knn", "association", "shift", "ood") and name != "shift.clean"
    if SUMMARIZED[first]:
        return ".".join(others) in SUMMARIZED[first]
    return len(others) < 2 and not {*others} & {*REPEATED}
