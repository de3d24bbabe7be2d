"""Runs that exist already, elsewhere: a table of scores, or the log folders of open_clip."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniclip.commands.score_file import flatten_scores, to_float
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.io.hashing import digest_file
from uniclip.store.score_kinds import ScoreKind

ARM, SEED = "arm", "seed"
"""Columns of a table of scores; the others are scores."""
TRAIN_LINE = re.compile(
    r"Train Epoch: (?P<epoch>\d+) \[ *(?P<samples>\d+)/(?P<total>\d+).*"
    r" LR: (?P<lr>\S+) Logit Scale: (?P<scale>\S+) .*\bLoss: (?P<loss>\S+) \("
)
EVAL_LINE = re.compile(r"Eval Epoch: (\d+) ((?:[\w@/.-]+: [-\d.naife+]+\s*)+)$")
SEED_SUFFIX = re.compile(r"[-_.]+(?:seed|s)?[-_=]?(?P<seed>\d+)$", re.IGNORECASE)
"""What is cut from the name of a run to get that of its arm, if it is the run's seed."""
OPEN_CLIP_KINDS: tuple[tuple[str, ScoreKind], ...] = (
    (r"R@\d+$", "recall"),
    (r"top\d+$", "accuracy"),
    (r"(mean|median)_rank$", "rank"),
)
"""Pattern of a score's name in open_clip -> what it measures; others are left out."""


@dataclass(frozen=True, kw_only=True)
class ImportedRun:
    """One run from elsewhere."""

    arm: str
    seed: int
    scores: dict[str, float]
    origin: str
    """The file that it was read from, with its digest."""
    records: list[dict[str, Any]] = field(default_factory=list)
    """Logged metrics, with steps."""
    start: float = 0.0
    end: float = 0.0
    """Seconds since the epoch; 0 = not known."""


def read_runs(path: Path) -> list[ImportedRun]:
    """Return the runs in a CSV file, or in a folder of open_clip's log folders.

    Raises:
        UserError: there is no run, a value is missing, or a run is there twice.
    """
    if path.is_dir():
        runs = [*_read_log_folders(path)]
        missing = f"{path} has no folder with out.log and params.txt, as open_clip writes them"
    elif path.is_file():
        runs = [*_read_table(path)]
        missing = f"{path} has no row"
    else:
        raise UserError(f"{path} does not exist")
    if not runs:
        raise UserError(missing)
    names = set()
    for run in runs:
        if (run.arm, run.seed) in names:
            raise UserError(f"{path}: arm {run.arm} has seed {run.seed} twice")
        names.add((run.arm, run.seed))
    return runs


def guess_kind(score: str) -> ScoreKind | None:
    """Return what a score of open_clip measures, by its name; None if that is not known."""
    return next((kind for pattern, kind in OPEN_CLIP_KINDS if re.search(pattern, score)), None)


# ---- tables --------------------------------------------------------------------------------------


def _read_table(path: Path) -> Iterator[ImportedRun]:
    try:
        yield from _read_rows(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV in UTF-8: {error}") from None


def _read_rows(path: Path) -> Iterator[ImportedRun]:
    origin = f"{path.name} {digest_file(path)}"
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        columns = list(reader.fieldnames or ())
        score_names = [name for name in columns if name not in (ARM, SEED)]
        if not {ARM, SEED} <= set(columns) or not score_names:
            column_names = ", ".join(columns) or "nothing"
            raise UserError(
                f"{path} needs the columns arm, seed and a score; it has {column_names}"
            )
        for row in reader:
            where = f"{path} line {reader.line_num}"
            yield ImportedRun(
                arm=_parse_arm(row[ARM], where),
                seed=_parse_seed(row[SEED], where),
                scores={name: _parse_score(row[name], name, where) for name in score_names},
                origin=origin,
            )


def _parse_arm(text: str | None, where: str) -> str:
    if not text or "/" in text or not text.isprintable():
        raise UserError(f"{where}: {text!r} is no name of an arm")
    return text


def _parse_seed(text: str | None, where: str) -> int:
    if text is None or not text.strip().isdecimal():
        raise UserError(f"{where}: seed must be a whole number, got {text!r}")
    return int(text)


def _parse_score(text: str | None, name: str, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if value - value != 0:  # not a number, or infinite
        raise UserError(f"{where}: {name} must be a finite number, got {text!r}")
    return value


# ---- log folders of open_clip --------------------------------------------------------------------


def _read_log_folders(path: Path) -> Iterator[ImportedRun]:
    for log_path in sorted(path.glob("**/out.log")):
        folder = log_path.parent
        if (folder / "params.txt").is_file():
            yield _read_log_folder(folder)


def _read_log_folder(folder: Path) -> ImportedRun:
    parameters = dict(
        line.split(": ", 1)
        for line in (folder / "params.txt").read_text("utf-8", "replace").splitlines()
        if ": " in line
    )
    log_path = folder / "out.log"
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    values = _read_last_scores(folder, lines)
    scores = {name: v for name, v in values.items() if guess_kind(name) is not None}
    if not scores:
        raise UserError(f"{folder} has no evaluation in out.log or checkpoints/results.jsonl")
    seed = _parse_seed(parameters.get("seed"), f"{folder}/params.txt")
    for name, value in scores.items():
        _parse_score(str(value), name, str(folder))
    return ImportedRun(
        arm=_parse_arm(_cut_seed(folder.name, seed), str(folder)),
        seed=seed,
        scores=scores,
        origin=f"{folder.name}/out.log {digest_file(log_path)}",
        records=[*_parse_train_lines(lines, _compute_batch_size(parameters, folder))],
        start=(folder / "params.txt").stat().st_mtime,
        end=log_path.stat().st_mtime,
    )


def _cut_seed(name: str, seed: int) -> str:
    """Return the name of a run's arm: another number at its end is part of it, as in ViT-B-32."""
    match = SEED_SUFFIX.search(name)
    return name[: match.start()] or name if match and int(match["seed"]) == seed else name


def _compute_batch_size(parameters: Mapping[str, str], folder: Path) -> int:
    """Return the samples of a step of the optimizer, of all processes."""
    factors = [parameters.get(name, "1") for name in ("batch_size", "world_size", "accum_freq")]
    if not all(text.isdecimal() and int(text) for text in factors):
        raise UserError(
            f"{folder}/params.txt: batch_size, world_size and accum_freq must be whole numbers "
            f"above 0, got {', '.join(factors)}"
        )
    return math.prod(map(int, factors))


def _read_last_scores(folder: Path, lines: list[str]) -> Mapping[str, float]:
    records = read_jsonl(folder / "checkpoints" / "results.jsonl")
    if records:
        values = flatten_scores(records[-1])
        numbers = {name: to_float(value) for name, value in values.items()}
        return {name: number for name, number in numbers.items() if number is not None}
    for line in reversed(lines):
        if match := EVAL_LINE.search(line):
            return {n: float(v) for n, v in re.findall(r"([\w@/.-]+): (\S+)", match[2])}
    return {}


def _parse_train_lines(lines: list[str], batch_size: int) -> Iterator[dict[str, Any]]:
    """Yield the records of training; a step has `batch_size` samples."""
    for line in lines:
        if match := TRAIN_LINE.search(line):
            num_samples = int(match["epoch"]) * int(match["total"]) + int(match["samples"])
            yield {
                "step": num_samples // batch_size,
                "phase": "train",
                "samples_seen": num_samples,
                **{name: float(match[name]) for name in ("loss", "lr", "scale")},
            }
