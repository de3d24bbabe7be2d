"""Comparing two executions of one run: bit for bit, or only its scores.

Bits are promised within a numerics class and for equal training code (`uniclip.numerics`). Where
both are equal, two results that differ contradict each other, unless the data held other samples
(`Outcome.data_content`) or train.numerics=fast: kernels chosen by timing may round differently in
every execution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from uniclip.errors import UserError
from uniclip.io.hashing import to_canonical_json
from uniclip.store import DatasetScores, Outcome, RunFolder, get_score_kind_traits
from uniclip.store.json_io import read_record
from uniclip.store.numerics_classes import drop_unknown_keys, list_class_differences


class Agreement(StrEnum):
    """How two results of one run agree."""

    IDENTICAL = "bit for bit"
    OTHER_CLASS = "not comparable bit for bit"
    """They differ, and so do numerics class, training code or the samples of the data, or numerics
    are fast: that may be why."""
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
    elif _had_other_samples(*outcomes):
        agreement = Agreement.OTHER_CLASS
        differences.append("the data held other samples under the same names and sizes")
    elif any(outcome.numerics_class.get("numerics") == "fast" for outcome in outcomes):
        agreement = Agreement.OTHER_CLASS
        differences.append("train.numerics=fast promises no bits")
    elif _have_equal_classes((first, second), outcomes):
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


def _had_other_samples(first: Outcome, second: Outcome) -> bool:
    """Return whether data that both runs were trained on had another content."""
    common_keys = first.data_content.keys() & second.data_content
    return any(first.data_content[key] != second.data_content[key] for key in common_keys)


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


def _have_equal_classes(runs: Sequence[RunFolder], outcomes: Sequence[Outcome]) -> bool:
    """Return whether two runs were trained and evaluated in the same classes, by the same code."""
    records = [_list_class_records(*pair) for pair in zip(runs, outcomes)]
    num_first = len(records[0])
    classes = drop_unknown_keys(c for group in records for c, _ in group)
    hashes = [training_hash for group in records for _, training_hash in group]
    keys = [to_canonical_json([*pair]) for pair in zip(classes, hashes)]
    return set(keys[:num_first]) == set(keys[num_first:])


def _list_class_records(run: RunFolder, outcome: Outcome) -> list[tuple[dict[str, Any], str]]:
    """Return the classes in which a run was trained and evaluated, with the code that did it."""
    claims = [run.get_attempt(number).read_claim() for number in run.list_attempts()]
    classes = [(outcome.numerics_class, outcome.training_hash)]
    classes += [(c.numerics_class, c.training_hash) for c in claims if c and c.numerics_class]
    return classes


def _describe_classes(first: Outcome, second: Outcome) -> str:
    names = list_class_differences(first.numerics_class, second.numerics_class)
    if first.training_hash != second.training_hash:
        names.append("training code")
    return f"not the same: {', '.join(names) or 'the machines of some attempts'}"
