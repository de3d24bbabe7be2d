"""A page of several models' scores on published data sets, beside published values.

The scores are those of files that `python -m uniclip.evaluate output=<file>` wrote. A column is one
score of one data set as it was evaluated: another protocol, or other data, is another column. A
mean is over the data sets that every model has, and never across the lists with a mean of their own
(`datasets.LISTS_WITH_OWN_MEAN`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from analysis.collect import literature
from analysis.collect.imported_results import ImportedResult, read_imported_results
from analysis.page.html import render_leaderboard
from analysis.results.panel_tasks import PANEL_TASKS, format_score_heading
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.io.atomic import JSON_ERRORS
from uniclip.io.hashing import digest
from uniclip.store import ScoreKind, get_score_kind_traits, is_better

CONTENT_ERRORS = (
    *(ValueError, KeyError, TypeError, AttributeError, OverflowError),
    msgspec.ValidationError,
)
"""Raised for JSON that holds no scores."""


@dataclass(frozen=True, order=True)
class LeaderboardColumn:
    """One score of one data set under one protocol on one state of the data."""

    dataset: str
    score: str
    kind: str
    protocol: str
    """Name of the protocol."""
    metric: str
    """Of the data set under the protocol."""
    protocol_hash: str
    """Hash of everything that the score depends on besides the model."""


@dataclass(frozen=True)
class ModelScores:
    """The scores of one model."""

    name: str
    values: Mapping[LeaderboardColumn, float]


@dataclass(frozen=True, kw_only=True)
class ModelDifference:
    """The difference of one score between two models, as a file of scores has it."""

    run: str
    baseline: str
    dataset: str
    score: str
    kind: ScoreKind
    difference: float
    low: float | None = None
    high: float | None = None
    num_samples: int | None = None


@dataclass(frozen=True)
class LeaderboardRow:
    """A line of a section."""

    name: str
    cells: tuple[str, ...]
    best: tuple[bool, ...] = ()
    """Whether each cell is the best of its column."""
    conditions: str = ""
    """Of a published line: backbone, pre-training data, protocol and source."""


@dataclass(frozen=True)
class LeaderboardSection:
    """One kind of evaluation."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[LeaderboardRow, ...]
    published: tuple[LeaderboardRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leaderboard:
    """Models, and the differences that were computed with intervals."""

    models: list[ModelScores] = field(default_factory=list)
    differences: list[ModelDifference] = field(default_factory=list)
    imported: list[ImportedResult] = field(default_factory=list)
    """Results of other libraries."""


def read_results(paths: Sequence[Path]) -> Leaderboard:
    """Read files of scores, and of results of CLIP_benchmark and DataComp.

    A file of scores of one model gives it the name of the file.

    Raises:
        UserError: A file cannot be read, is of another kind, or two models have one name.
    """
    leaderboard = Leaderboard()
    for path in paths:
        imported = read_imported_results(path)
        if imported is not None:
            leaderboard.imported.extend(imported)
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            runs = content["runs"] if "runs" in content else {path.stem: content}
            models = [ModelScores(name, dict(_read_values(run))) for name, run in runs.items()]
            differences = msgspec.convert(content.get("differences", ()), list[ModelDifference])
        except (*JSON_ERRORS, *CONTENT_ERRORS):
            raise UserError(
                f"{path} is no file of scores: write one with python -m uniclip.evaluate "
                "output=<file>"
            ) from None
        names = {model.name for model in leaderboard.models}
        for model in models:
            if model.name in names:
                raise UserError(
                    f"{path} has scores of {model.name}, as another file has; rename it"
                )
        leaderboard.models.extend(models)
        leaderboard.differences.extend(differences)
    return leaderboard


def build_sections(
    models: Sequence[ModelScores], imported: Sequence[ImportedResult] = ()
) -> list[LeaderboardSection]:
    """Return a section for each kind of evaluation of which a model has a score."""
    sections = []
    for title, scores in PANEL_TASKS.values():
        columns = [
            column
            for score in scores
            for column in dict.fromkeys(c for model in models for c in model.values)
            if column.score == score
        ]
        if columns:
            sections.append(_build_section(title, models, _order_by_dataset(columns), imported))
    return sections


def build_page(leaderboard: Leaderboard) -> str:
    """Return the page as HTML that loads nothing."""
    return render_leaderboard(
        [model.name for model in leaderboard.models],
        build_sections(leaderboard.models, leaderboard.imported),
        _build_difference_rows(leaderboard.differences),
    )


def _read_values(results: Mapping[str, Any]) -> Iterator[tuple[LeaderboardColumn, float]]:
    """Yield the finite scores of one model; KeyError or TypeError if these are none."""
    for dataset, result in results.items():
        protocol = result["protocol"]
        protocol_hash = digest(protocol, 8)
        for score in result["scores"]:
            get_score_kind_traits(score["kind"])  # KeyError for an unknown kind
            column = LeaderboardColumn(
                *(dataset, score["name"], score["kind"]),
                *(protocol.get("protocol", ""), protocol.get("metric", ""), protocol_hash),
            )
            if math.isfinite(value := float(score["value"])):
                yield column, value


def _order_by_dataset(columns: Sequence[LeaderboardColumn]) -> list[LeaderboardColumn]:
    dataset_names = list(dict.fromkeys(c.dataset for c in columns))
    return sorted(columns, key=lambda c: dataset_names.index(c.dataset))


def _build_section(
    title: str,
    models: Sequence[ModelScores],
    columns: Sequence[LeaderboardColumn],
    imported: Sequence[ImportedResult],
) -> LeaderboardSection:
    present = [model for model in models if any(c in model.values for c in columns)]
    groups = _group_for_means(present, columns)
    values = [
        [model.values.get(c) for c in columns]
        + [math.fsum(model.values[c] for c in group) / len(group) for group in groups.values()]
        for model in present
    ]
    kinds = [*(c.kind for c in columns), *(group[0].kind for group in groups.values())]
    best = [_find_best([row[i] for row in values], kind) for i, kind in enumerate(kinds)]
    rows = [
        LeaderboardRow(
            model.name,
            tuple(_format_value(v, kind) for v, kind in zip(row, kinds)),
            tuple(v is not None and v == best_value for v, best_value in zip(row, best)),
        )
        for model, row in zip(present, values)
    ]
    if groups:  # sorted by the first mean
        by_mean = sorted(range(len(rows)), key=lambda i: values[i][len(columns)] or 0, reverse=True)
        rows = [rows[i] for i in by_mean]
    several = {c.dataset for c in columns if _count_protocols(columns, c) > 1}
    return LeaderboardSection(
        title=title,
        headings=(*(_format_heading(c, several) for c in columns), *groups),
        rows=tuple(rows),
        published=(
            *_build_published_rows(columns, len(groups)),
            *_build_imported_rows(columns, len(groups), imported),
        ),
        notes=tuple(
            f"{d}: evaluated under several protocols or on several states of the data; columns are "
            "not comparable with each other"
            for d in sorted(several)
        ),
    )


def _count_protocols(columns: Sequence[LeaderboardColumn], column: LeaderboardColumn) -> int:
    same = (c for c in columns if (c.dataset, c.score) == (column.dataset, column.score))
    return len({c.protocol_hash for c in same})


def _group_for_means(
    models: Sequence[ModelScores], columns: Sequence[LeaderboardColumn]
) -> dict[str, list[LeaderboardColumn]]:
    """Return heading -> the columns of a mean: at least two data sets that every model has.

    Headings name the kind of score where several kinds have a mean.
    """
    groups: dict[tuple[str, str, str], list[LeaderboardColumn]] = {}
    for column in columns:
        if all(column in model.values for model in models):
            key = (datasets.get_mean_list(column.dataset), column.score, column.kind)
            groups.setdefault(key, []).append(column)
    groups = {key: group for key, group in groups.items() if len(group) > 1}
    num_kinds = Counter((name, score) for name, score, _ in groups)
    headings = {}
    for (name, score, kind), group in groups.items():
        heading = format_score_heading(f"mean of {len(group)} {name}".rstrip(), score)
        detail = f" ({kind.replace('_', ' ')})" if num_kinds[name, score] > 1 else ""
        headings[f"{heading}{detail}"] = group
    return headings


def _find_best(values: Sequence[float | None], kind: str) -> float | None:
    """Return the best value; None with fewer than two, or for a score without a direction."""
    known = [v for v in values if v is not None]
    if len(known) < 2 or get_score_kind_traits(kind).higher_is_better is None:
        return None
    best = known[0]
    for value in known[1:]:
        best = value if is_better(value, best, kind) else best
    return best


def _build_published_rows(
    columns: Sequence[LeaderboardColumn], num_means: int
) -> Iterator[LeaderboardRow]:
    """Yield a line for each published model that has one of the scores."""
    keys = {(c.dataset, c.score) for c in columns}
    for line, results in literature.select_published_results(keys).items():
        values = {(r.dataset, r.score): r.value / 100 for r in results}
        method, backbone, pretraining_data, protocol, source = line
        yield LeaderboardRow(
            method,
            (
                *(_format_value(values.get((c.dataset, c.score)), c.kind) for c in columns),
                *[""] * num_means,
            ),
            conditions="; ".join(
                [backbone, pretraining_data, protocol or "protocol not stated", source]
            ),
        )


def _build_imported_rows(
    columns: Sequence[LeaderboardColumn], num_means: int, imported: Sequence[ImportedResult]
) -> Iterator[LeaderboardRow]:
    """Yield a line for each model and set of conditions that has one of the scores."""
    results_by_line: dict[tuple[str, str], dict[str, ImportedResult]] = {}
    for result in imported:
        line = results_by_line.setdefault((result.model, result.conditions), {})
        line[result.dataset] = result
    for (model, conditions), results in results_by_line.items():
        values = [
            None if (r := results.get(c.dataset)) is None else r.get_value(c.score, c.metric)
            for c in columns
        ]
        if any(value is not None for value in values):
            cells = [_format_value(v, c.kind) for v, c in zip(values, columns)]
            yield LeaderboardRow(model, (*cells, *[""] * num_means), conditions=conditions)


def _build_difference_rows(differences: Sequence[ModelDifference]) -> list[LeaderboardRow]:
    """Return a line for each difference of a score that a section shows, with its title."""
    titles = {score: title for title, scores in PANEL_TASKS.values() for score in scores}
    return [
        LeaderboardRow(
            f"{d.run} minus {d.baseline}",
            (
                titles[d.score],
                format_score_heading(d.dataset, d.score),
                _format_value(d.difference, d.kind, sign="+"),
                " to ".join(_format_value(v, d.kind, sign="+") for v in (d.low, d.high))
                if d.low is not None
                else "",
                "" if d.num_samples is None else f"{d.num_samples:,}",
            ),
        )
        for d in differences
        if d.score in titles
    ]


def _format_heading(column: LeaderboardColumn, several: set[str]) -> str:
    heading = format_score_heading(column.dataset, column.score)
    return f"{heading} ({column.protocol})" if column.dataset in several else heading


@cache
def _get_scale(kind: str) -> tuple[int, int]:
    """Return the factor and the decimals of values of a kind of score."""
    return (100, 1) if get_score_kind_traits(kind).is_percent else (1, 3)


def _format_value(value: float | None, kind: str, sign: str = "") -> str:
    if value is None:
        return ""
    scale, decimals = _get_scale(kind)
    return f"{scale * value:{sign}.{decimals}f}"
