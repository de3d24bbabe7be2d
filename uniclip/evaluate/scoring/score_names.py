"""Names of scores. Ours are words joined by dots; a name that the user chose stands in brackets.

    zeroshot.label              accuracy over all classes of the label set "label"
    zeroshot.label.ece          its calibration error
    zeroshot.label[ece]         accuracy of the class that the user calls "ece"

So no class can have the name of another score, whatever it is called.
"""

from __future__ import annotations

from collections.abc import Sequence

from uniclip.store import Score

CALIBRATION_ERROR = "ece"
"""Last word of the name of an expected calibration error."""

NOT_PROPORTIONS = frozenset(
    {"mrr", "median_rank", "log_rank", "log_likelihood", "temperature", "gap", CALIBRATION_ERROR}
)
"""Words of the names of scores that are no share of the test samples."""


def is_proportion(name: str) -> bool:
    """Return whether a score may be a share of the test samples, as its name says."""
    return not NOT_PROPORTIONS & set(split_class_name(name)[0].split("."))


def join_class_name(name: str, class_name: str) -> str:
    """Return the name of a score of one class: `name` is that of the score over all classes."""
    assert "[" not in name, name
    return f"{name}[{class_name}]"


def split_class_name(name: str) -> tuple[str, str | None]:
    """Return the name of the score over all classes, and the class; None for a score of all."""
    base_name, bracket, rest = name.partition("[")
    return (base_name, rest.removesuffix("]")) if bracket else (name, None)


def rename_early_class_scores(scores: Sequence[Score]) -> dict[str, str]:
    """Return early name -> present name, for scores that early versions called `<name>.<class>`.

    A score of a class is recognized by its kind: it is that of the score over all classes, which is
    there, too.
    """
    kinds = {score.name: score.kind for score in scores}
    renamed = {}
    for score in scores:
        for base_name in _list_possible_bases(score.name) if score.report_only else ():
            is_class = kinds.get(base_name) == score.kind
            if is_class and (score.kind == "map" or "." in base_name):
                renamed[score.name] = join_class_name(
                    base_name, score.name.removeprefix(f"{base_name}.")
                )
                break
    return renamed


def _list_possible_bases(name: str) -> list[str]:
    """Return what may be the score over all classes: the first two words, or the first."""
    words = name.split(".")
    if "[" in name or words[0] not in ("zeroshot", "probe"):
        return []
    return [".".join(words[:length]) for length in (2, 1) if len(words) > length]
