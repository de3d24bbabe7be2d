"""The scores that a program leaves in a JSON file."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from uniclip.commands.definition import CommandDefinition, ScoreDefinition
from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json, read_jsonl
from uniclip.io.hashing import digest
from uniclip.store import Score


def read_scores(path: Path, definitions: Mapping[str, ScoreDefinition]) -> tuple[Score, ...]:
    """Return the declared scores of a file; no scores if one of them is not finite.

    Args:
        path: A JSON object, or JSON lines or a CSV of which the last one counts; nested names are
            dotted.
        definitions: Score -> what it is.

    Raises:
        UserError: there is no such file, or it lacks a score.
    """
    values = flatten_scores(_read_object(path))
    scores = []
    for name, definition in definitions.items():
        key = definition.key or name
        value = to_float(values.get(key))
        if value is None:
            names = ", ".join(list(values)[:12]) or "nothing"
            raise UserError(f"{path}: no number {key!r} for the score {name}; it has {names}")
        scores.append(
            Score(
                name=name,
                value=value,
                kind=definition.kind,
                chance=definition.chance,
                num_samples=definition.num_samples,
            )
        )
    return tuple(scores) if all(math.isfinite(score.value) for score in scores) else ()


def compute_evaluation_hash(definition: CommandDefinition) -> str:
    """Return the hash of what is read as scores."""
    scores = {
        name: {"kind": s.kind, "key": s.key or name, "chance": s.chance, "samples": s.num_samples}
        for name, s in definition.scores.items()
    }
    return digest({"file": definition.scores_file, "scores": scores}, 12)


def to_float(value: object) -> float | None:
    """Return a JSON number as a float; None if it is no number, or a whole one beyond the range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"the program ended without writing its scores: {path} does not exist")
    if path.suffix == ".jsonl":
        records = read_jsonl(path)
        if not records:
            raise UserError(f"{path} has no JSON line")
        return records[-1]
    if path.suffix == ".csv":
        return _read_last_cells(path)
    try:
        content = parse_json(path.read_bytes())
    except JSON_ERRORS as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object of scores")
    return content


def _read_last_cells(path: Path) -> dict[str, Any]:
    """Return the last number of every column of a CSV."""
    values: dict[str, Any] = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream, skipinitialspace=True):
                for name, cell in row.items():
                    with suppress(TypeError, ValueError):
                        values[str(name)] = float(cell)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV in UTF-8: {error}") from None
    return values


def flatten_scores(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten_scores(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
