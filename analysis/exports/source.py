"""The cells of a sweep as trackers take them: configuration, details, curves and scores.

Every target of `analysis.exports` reads the store through `SweepSource`, so that all of them hold
the same numbers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal
from urllib.parse import quote

from uniclip.config.compose import flatten
from uniclip.frames.records import name_scores, read_status
from uniclip.io.hashing import digest_text
from uniclip.store import Cell, ClaimRecord, Plan, RunFolder, RunStatus, Score, Store
from uniclip.store.history import flatten_record

Change = Literal["new", "changed", "unchanged"]
"""What an export did with a cell or a file."""
Changes = Iterator[tuple[str, Change]]
"""(name of a cell or file, what was done with it), as an export proceeds."""
NOT_METRICS = ("step", "phase")
"""Fields of a metrics record that say when it was logged."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """All metrics that were logged at one step."""

    step: int
    time: float
    """Seconds since the epoch: the start of the first attempt plus the seconds of training."""
    values: dict[str, float]
    """`<phase>/<metric>` -> value, such as train/loss; NaN and infinities as they are stored."""


@dataclass(frozen=True, kw_only=True)
class ExportedCell:
    """One cell of a sweep, as it is in the store now."""

    sweep_id: str
    arm: str
    seed: int
    run_id: str
    status: RunStatus
    started_at: float
    """Start of the first attempt, in seconds since the epoch; 0 if the run has none."""
    config: dict[str, Any]
    """Dotted key -> value of the configuration that the run id is a hash of."""
    details: dict[str, Any]
    """Costs and provenance: training_seconds, host, commit, versions and more."""
    curve: tuple[CurvePoint, ...] = field(repr=False)
    """The logged metrics, by step."""
    scores: dict[str, Score] = field(repr=False)
    """`<data set>/<score>` -> score of the evaluation."""

    @property
    def name(self) -> str:
        """`<arm>/<seed>`."""
        return f"{self.arm}/{self.seed}"

    @property
    def file_name(self) -> str:
        """`<arm>-<seed>` as the name of a folder on any file system."""
        return f"{make_file_name(self.arm)}-{self.seed}"

    @property
    def is_final(self) -> bool:
        """Whether nothing of it is still to come."""
        return self.status in (RunStatus.COMPLETE, RunStatus.DIVERGED)

    @property
    def last_step(self) -> int:
        """The last step that was logged; 0 if none was."""
        return self.curve[-1].step if self.curve else 0

    @property
    def end_time(self) -> float:
        """Time of the last logged step, in seconds since the epoch."""
        return self.curve[-1].time if self.curve else self.started_at

    @cached_property
    def score_values(self) -> dict[str, float]:
        """`<data set>/<score>` -> value, as it is stored (a share is not in percent)."""
        return {name: score.value for name, score in self.scores.items()}

    @cached_property
    def digest(self) -> str:
        """Digest of everything in this object, 32 hex digits."""
        return digest_text(json.dumps(asdict(self), sort_keys=True, default=str), 32)


@dataclass(frozen=True, kw_only=True)
class SweepSource:
    """The cells of a sweep that are exported, read from the store when they are asked for."""

    store: Store
    plan: Plan
    cells: tuple[Cell, ...]

    def iter_cells(self) -> Iterator[ExportedCell]:
        """Yield the cells that were started, in the order of the plan; each run is read once more
        for every cell that shares it.

        Raises:
            UserError: for a damaged file, which it names.
        """
        for cell in self.cells:
            run = self.store.get_run(cell.run_id)
            if run.is_readable() and run.has_spec() and run.list_attempts():
                yield self._read_cell(cell, run)

    def _read_cell(self, cell: Cell, run: RunFolder) -> ExportedCell:
        evaluations = self.plan.evaluation_hashes[cell.arm]
        outcome, attempt_numbers = run.read_outcome(), run.list_attempts()
        scores = {
            f"{dataset}/{name}": score
            for dataset, evaluation in (evaluations.items() if outcome else ())
            if (dataset_scores := run.read_scores(dataset, evaluation)) is not None
            for name, score in name_scores(dataset_scores).items()
        }
        first_claim = run.get_attempt(attempt_numbers[0]).read_claim()
        number = outcome.attempt if outcome is not None else attempt_numbers[-1]
        started_at = first_claim.time if first_claim is not None else 0.0
        return ExportedCell(
            sweep_id=self.plan.sweep_id,
            arm=cell.arm,
            seed=cell.seed,
            run_id=cell.run_id,
            status=read_status(run, outcome, is_evaluated=run.has_scores(evaluations)),
            started_at=started_at,
            config=flatten(run.read_spec()["config"]),
            details={
                "attempts": len(attempt_numbers),
                **(dict(sorted(outcome.cost.items())) if outcome is not None else {}),
                **_describe_claim(run.get_attempt(number).read_claim()),
            },
            curve=tuple(_build_curve(run.read_history(), started_at)),
            scores=dict(sorted(scores.items())),
        )


def make_file_name(name: str) -> str:
    """Return a name as one that every file system takes, different for different names."""
    quoted = quote(name, safe="=,+ ")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


def format_time(seconds: float) -> str:
    """Return a time in seconds since the epoch as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def select_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return configuration values as scalars: lists and mappings as JSON text, None as "null"."""
    return {
        key: value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
        for key, value in values.items()
    }


def _describe_claim(claim: ClaimRecord | None) -> dict[str, Any]:
    """Return where an attempt ran, and with which code."""
    if claim is None:
        return {}
    versions = ", ".join(f"{name} {v}" for name, v in sorted(claim.versions.items()))
    return {
        "host": claim.host,
        "commit": claim.commit,
        "code": claim.source_hash,
        "versions": versions,
    }


def _build_curve(history: list[dict[str, Any]], started_at: float) -> Iterator[CurvePoint]:
    """Yield one point per step of a history that is sorted by step."""
    steps: dict[int, dict[str, float]] = {}
    seconds: dict[int, float] = {}
    for record in history:
        step, phase = int(record.get("step", 0)), record.get("phase", "train")
        values = {
            f"{phase}/{name}": float(value)
            for name, value in flatten_record(record).items()
            if name not in NOT_METRICS and _is_number(value)
        }
        steps.setdefault(step, {}).update(values)
        if _is_number(record.get("seconds")):
            seconds.setdefault(step, float(record["seconds"]))
    elapsed = 0.0
    for step in sorted(steps):
        elapsed = max(elapsed, seconds.get(step, elapsed))
        yield CurvePoint(step=step, time=started_at + elapsed, values=steps[step])


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, float)
