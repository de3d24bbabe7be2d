"""Comparing two executions of one run: bit for bit, or only its scores.

Bits are promised within a numerics class and for equal training code (`uniclip.numerics`). Where
both are equal, two results that differ contradict each other, unless train.numerics=fast: kernels
chosen by timing may round differently in every execution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from uniclip.errors import UserError
from uniclip.io.hashing import to_canonical_json
from uniclip.store import DatasetScores, Outcome, RunFolder, get_score_kind_traits
from uniclip.store.json_io import read_record


class Agreement(StrEnum):
    """How two results of one run agree."""

    IDENTICAL = "bit for bit"
    OTHER_CLASS = "not comparable bit for bit"
    """They differ, and so do numerics class or training code, or numerics are fast: that may be
    why."""
    CONTRADICTION = "contradiction"
    """They differ, although numerics class and training code are equal."""


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Two results of one run."""

    agreement: Agreement
    reason: str
    """What differs, in one line; "" if nothing does."""
    largest_difference: float
    """Largest absolute difference of a score that is a fraction, over the data sets of both."""


def compare_runs(first: RunFolder, second: RunFolder) -> RunComparison:
    """Compare two finished runs of one id.

    Raises:
        UserError: one of them is not finished, or a file is damaged.
    """
    outcomes = [_read_outcome(run) for run in (first, second)]
    scores = [_read_scores(run) for run in (first, second)]
    common = [(scores[0][name], scores[1][name]) for name in sorted(scores[0].keys() & scores[1])]
    differences = [*_list_differences(*outcomes), *_list_score_differences(common)]
    if not differences:
        agreement = Agreement.IDENTICAL
    elif any(outcome.numerics_class.get("numerics") == "fast" for outcome in outcomes):
        agreement = Agreement.OTHER_CLASS
        differences.append("train.numerics=fast promises no bits")
    elif _collect_classes(first, outcomes[0]) | _collect_classes(second, outcomes[1]) == (
        _collect_classes(first, outcomes[0]) & _collect_classes(second, outcomes[1])
    ):
        agreement = Agreement.CONTRADICTION
    else:
        agreement = Agreement.OTHER_CLASS
        differences.append(_describe_classes(*outcomes))
    return RunComparison(
        agreement=agreement,
        reason="; ".join(differences),
        largest_difference=max(map(_measure_difference, common), default=0.0),
    )


def _read_outcome(run: RunFolder) -> Outcome:
    outcome = run.read_outcome()
    if outcome is None:
        raise UserError(f"run {run.id} has no outcome")
    return outcome


def _read_scores(run: RunFolder) -> dict[str, DatasetScores]:
    """Return the scores of a run by the name of their file, which states data set and protocol."""
    paths = {path.name: path for path in run.list_score_paths() if path.suffix == ".json"}
    records = {name: read_record(DatasetScores, path) for name, path in paths.items()}
    return {name: record for name, record in records.items() if record is not None}


def _list_differences(first: Outcome, second: Outcome) -> Iterator[str]:
    if first.kind != second.kind:
        yield f"one is {first.kind}, the other {second.kind}"
    elif first.step != second.step:
        yield f"they ended at steps {first.step} and {second.step}"
    elif first.weights_digest != second.weights_digest:
        yield "the weights differ"


def _list_score_differences(pairs: list[tuple[DatasetScores, DatasetScores]]) -> Iterator[str]:
    names = [first.dataset for first, second in pairs if first.scores != second.scores]
    if names:
        yield f"the scores on {', '.join(names)} differ"


def _measure_difference(pair: tuple[DatasetScores, DatasetScores]) -> float:
    second_values = {score.name: score.value for score in pair[1].scores}
    return max(
        (
            abs(score.value - second_values[score.name])
            for score in pair[0].scores
            if score.name in second_values and get_score_kind_traits(score.kind).is_percent
        ),
        default=0.0,
    )


def _collect_classes(run: RunFolder, outcome: Outcome) -> set[str]:
    """Return the classes in which a run was trained and evaluated, with the code that did it."""
    claims = [run.get_attempt(number).read_claim() for number in run.list_attempts()]
    classes = [(outcome.numerics_class, outcome.training_hash)]
    classes += [(c.numerics_class, c.training_hash) for c in claims if c and c.numerics_class]
    return {to_canonical_json([*key]) for key in classes}


def _describe_classes(first: Outcome, second: Outcome) -> str:
    classes = (first.numerics_class, second.numerics_class)
    names = [
        name
        for name in dict.fromkeys([*classes[0], *classes[1]])
        if classes[0].get(name) != classes[1].get(name)
    ]
    if first.training_hash != second.training_hash:
        names.append("training code")
    return f"not the same: {', '.join(names) or 'the machines of some attempts'}"
