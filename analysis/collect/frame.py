"""Tidy data frames of a sweep: scores, cells, training history and costs, read from the store.

Every row names its run, so every number can be traced to a folder. A missing value has a row with
the status of its run and no value; nothing is dropped silently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.collect.provenance import RunProvenance, read_provenance
from analysis.collect.run_time import RunTime, measure_run_time
from analysis.statistics.effects import Observations
from uniclip.errors import UserError
from uniclip.frames.history import build_history_frame, repeat_values
from uniclip.frames.records import name_scores, read_status
from uniclip.io.atomic import read_jsonl
from uniclip.io.garbage_collection import pause_garbage_collection
from uniclip.store import (
    DatasetScores,
    Outcome,
    Plan,
    RunFolder,
    RunStatus,
    Score,
    Store,
    get_score_kind_traits,
)
from uniclip.store.history import Columns, build_columns
from uniclip.store.results_index import use_index

FRAME_COLUMNS = (
    "arm",
    "seed",
    "run",
    "dataset",
    "score",
    "kind",
    "value",
    "chance",
    "samples",
    "report_only",
    "status",
)
CELL_COLUMNS = ("arm", "seed", "run", "status")
STATUSES_WITH_OUTCOME = (RunStatus.COMPLETE, RunStatus.DIVERGED, RunStatus.NEEDS_EVALUATION)
UNFINISHED_STATUSES = (RunStatus.RUNNING, RunStatus.INTERRUPTED, RunStatus.PAUSED)
"""Statuses of runs that have an attempt and no result."""


@dataclass(frozen=True)
class SweepData:
    """Data of a sweep, as it is in the store now."""

    plan: Plan
    frame: pd.DataFrame
    """One row per cell and score, with `FRAME_COLUMNS`; value is NaN unless status is complete."""
    cells: pd.DataFrame
    """One row per cell, in the plan's order, with `CELL_COLUMNS`; status is a `RunStatus`."""
    history: pd.DataFrame
    """One row per metric record: arm, seed, run, phase, step and the logged values."""
    costs: pd.DataFrame
    """One row per cell: `CELL_COLUMNS`, num_attempts, forward passes per sample, steps and costs of
    the outcome, run time (wall_seconds, wasted_seconds, ended_<end reason>) and the estimate made
    before the run (num_gpus, predicted_seconds, predicted_seconds_low, predicted_seconds_high,
    prediction_source)."""
    numerics_classes: dict[str, dict[str, Any]]
    """Run id -> numerics class."""
    training_hashes: dict[str, str]
    """Run id -> hash of the training code."""
    probes: list[dict[str, Any]]
    """Measurements made before the sweep (`probes.jsonl`)."""
    protocols: dict[str, dict[str, Any]]
    """Evaluation hash -> the hashed protocol, as the scores state it."""
    provenance: dict[str, RunProvenance]
    """Run id -> where it comes from, for every run that was started."""
    data_contents: dict[str, dict[str, str]] = field(default_factory=dict)
    """Run id -> what it recorded of its data beside their fingerprint."""

    def select_score_rows(self, dataset: str, score: str) -> pd.DataFrame:
        """Return the rows of `frame` for one score."""
        return self._rows_by_score.get((dataset, score), self.frame.iloc[:0])

    @cached_property
    def _rows_by_score(self) -> dict[tuple[str, str], pd.DataFrame]:
        groups = self.frame.groupby(["dataset", "score"], sort=False)
        return {(str(dataset), str(score)): rows for (dataset, score), rows in groups}

    @cached_property
    def _diverged_cells(self) -> frozenset[tuple[str, int]]:
        rows = self.cells[self.cells["status"] == RunStatus.DIVERGED]
        return frozenset(zip(rows["arm"], (int(seed) for seed in rows["seed"])))

    @cached_property
    def _unplanned_cells(self) -> frozenset[tuple[str, int]]:
        """The cells that an adaptive sweep did not buy."""
        plan = self.plan
        if plan.adaptive is None:
            return frozenset()
        all_cells = {(arm.name, seed) for arm in plan.arms for seed in plan.seeds}
        return frozenset(all_cells - {(cell.arm, cell.seed) for cell in plan.cells})

    def get_observations(self, dataset: str, score: str) -> Observations:
        """Return the values of one score for every arm and seed."""
        rows = self.select_score_rows(dataset, score)
        values: dict[str, dict[int, float]] = {}
        for arm, seed, value in zip(rows["arm"], rows["seed"], rows["value"]):
            if not math.isnan(value):
                values.setdefault(arm, {})[int(seed)] = float(value)
        chance, samples = rows["chance"].dropna(), rows["samples"].dropna()
        traits = get_score_kind_traits(self.get_score_kind(dataset, score))
        has_steps = traits.has_steps and len(samples) > 0 and samples.max() > 0
        return Observations(
            seeds=self.plan.seeds,
            first_seed=self.plan.first_seed,
            values=values,
            diverged_cells=self._diverged_cells,
            unplanned_cells=self._unplanned_cells,
            chance=float(chance.iloc[0]) if len(chance) else None,
            resolution=1.0 / float(samples.max()) if has_steps else 0.0,
            higher_is_better=traits.higher_is_better is not False,
        )

    def list_score_keys(self) -> list[tuple[str, str]]:
        """Return (data set, score) of every score, the primary ones first."""
        primary_keys = [(m.dataset, m.metric) for m in self.plan.primary_metrics]
        score_keys = dict.fromkeys(zip(self.frame["dataset"], self.frame["score"]))
        return [*primary_keys, *(p for p in score_keys if p not in primary_keys)]

    def get_score_kind(self, dataset: str, score: str) -> str:
        """Return the kind of a score (`uniclip.store.ScoreKind`); empty while nothing is scored."""
        rows = self.select_score_rows(dataset, score)
        return str(rows["kind"].iloc[0]) if len(rows) else ""

    def get_num_samples(self, dataset: str, score: str) -> float:
        """Return the largest number of test samples behind a score; NaN while nothing is scored."""
        return float(self.select_score_rows(dataset, score)["samples"].max())

    def is_report_only(self, dataset: str, score: str) -> bool:
        """Return whether the score is reported without being tested or averaged."""
        return bool(self.select_score_rows(dataset, score)["report_only"].any())


@dataclass(frozen=True, kw_only=True)
class _RunData:
    """Everything that is read of one run, each file once."""

    status: RunStatus
    outcome: Outcome | None
    scores: dict[str, DatasetScores]
    """By data set."""
    num_attempts: int
    run_time: RunTime | None
    history: Columns
    """By column (`uniclip.store.history`)."""
    provenance: RunProvenance | None


_UNREADABLE_RUN = _RunData(
    status=RunStatus.UNREADABLE,
    outcome=None,
    scores={},
    num_attempts=0,
    run_time=None,
    history=build_columns([]),
    provenance=None,
)
"""Stands for a run whose folder belongs to another user and cannot be read."""


def collect_sweep_data(store: Store, sweep_id: str) -> SweepData:
    """Read a sweep from the store.

    Raises:
        UserError: for an unknown sweep or a damaged file, which it names.
    """
    plan = store.get_sweep(sweep_id).read_plan()
    if plan is None:
        raise UserError(f"{store.root} has no sweep {sweep_id}; `list` shows what there is")
    return collect_plan_data(store, plan)


def collect_plan_data(store: Store, plan: Plan) -> SweepData:
    """Read the runs of a plan from the store, which need not contain the plan.

    Raises:
        UserError: for a damaged file, which it names.
    """
    with pause_garbage_collection():  # until the records that only the frames are made of are gone
        return _collect_plan_data(store, plan)


def _collect_plan_data(store: Store, plan: Plan) -> SweepData:
    folder = store.get_sweep(plan.sweep_id)
    required_evaluations = plan.required_evaluations()
    with use_index(store) as indexed_store:
        run_by_id = {  # sorted, as the index is
            run_id: _read_run(indexed_store.get_run(run_id), required_evaluations[run_id])
            for run_id in sorted(required_evaluations)
        }
    runs = {run_id: run_by_id[run_id] for run_id in required_evaluations}
    cell_records = [
        {"arm": c.arm, "seed": c.seed, "run": c.run_id, "status": runs[c.run_id].status}
        for c in plan.cells
    ]
    outcomes = {run_id: run.outcome for run_id, run in sorted(runs.items()) if run.outcome}
    return SweepData(
        plan=plan,
        frame=_build_score_frame(plan, runs),
        cells=pd.DataFrame(cell_records, columns=list(CELL_COLUMNS)),
        history=build_history_frame(plan.cells, {r: run.history for r, run in runs.items()}),
        costs=_build_cost_frame(
            plan.forward_passes, runs, cell_records, read_jsonl(folder.cost_estimates_path)
        ),
        numerics_classes={run_id: o.numerics_class for run_id, o in outcomes.items()},
        training_hashes={run_id: o.training_hash for run_id, o in outcomes.items()},
        probes=read_jsonl(folder.probes_path),
        protocols={
            scores.evaluation_hash: scores.protocol
            for run in runs.values()
            for scores in run.scores.values()
        },
        provenance={
            run_id: run.provenance for run_id, run in runs.items() if run.provenance is not None
        },
        data_contents={run_id: o.data_content for run_id, o in outcomes.items()},
    )


def _read_run(run: RunFolder, required_evaluations: Mapping[str, str]) -> _RunData:
    if not run.is_readable():
        return _UNREADABLE_RUN
    outcome, attempt_numbers = run.read_outcome(), run.list_attempts()
    scores = {
        dataset: dataset_scores
        for dataset, evaluation in (required_evaluations.items() if outcome else ())
        if (dataset_scores := run.read_scores(dataset, evaluation)) is not None
    }
    is_evaluated = set(required_evaluations) <= set(scores)
    return _RunData(
        status=read_status(run, outcome, is_evaluated=is_evaluated),
        outcome=outcome,
        scores=scores,
        num_attempts=len(attempt_numbers),
        run_time=measure_run_time(run, outcome),
        history=run.read_history_columns(),
        provenance=read_provenance(run, outcome),
    )


def _build_score_frame(plan: Plan, runs: Mapping[str, _RunData]) -> pd.DataFrame:
    """Return a row for each cell and each score that any cell has (the primary ones always).

    Kind, chance, samples and report_only of a missing score are those of the first cell that has
    it.
    """
    scores_by_run = {
        run_id: {
            (dataset, name): score
            for dataset, dataset_scores in run.scores.items()
            for name, score in name_scores(dataset_scores).items()
        }
        for run_id, run in runs.items()
    }
    examples: dict[tuple[str, str], Score] = {}
    for cell in plan.cells:
        for key, score in scores_by_run[cell.run_id].items():
            examples.setdefault(key, score)
    primary_keys = ((m.dataset, m.metric) for m in plan.primary_metrics)
    keys = list(dict.fromkeys((*primary_keys, *examples)))
    scores = [scores_by_run[cell.run_id].get(key) for cell in plan.cells for key in keys]
    templates = [
        score or example
        for score, example in zip(scores, [*map(examples.get, keys)] * len(plan.cells))
    ]
    statuses = [runs[cell.run_id].status for cell in plan.cells for _ in keys]
    columns = {
        "arm": repeat_values([cell.arm for cell in plan.cells], len(keys)),
        "seed": repeat_values([cell.seed for cell in plan.cells], len(keys)),
        "run": repeat_values([cell.run_id for cell in plan.cells], len(keys)),
        "dataset": [dataset for dataset, _ in keys] * len(plan.cells),
        "score": [name for _, name in keys] * len(plan.cells),
        "kind": ["" if t is None else t.kind for t in templates],
        "value": [math.nan if s is None else s.value for s in scores],
        "chance": [math.nan if t is None or t.chance is None else t.chance for t in templates],
        "samples": [math.nan if t is None else t.num_samples for t in templates],
        "report_only": [t is not None and t.report_only for t in templates],
        "status": [
            status if score is None else RunStatus.COMPLETE
            for status, score in zip(statuses, scores)
        ],
    }
    frame = pd.DataFrame(columns, columns=list(FRAME_COLUMNS))
    return frame.astype({"value": float, "chance": float, "samples": float, "report_only": bool})


def _build_cost_frame(
    forward_passes: Mapping[str, Mapping[str, float]],
    runs: Mapping[str, _RunData],
    cell_records: list[dict[str, Any]],
    cost_estimates: list[dict[str, Any]],
) -> pd.DataFrame:
    rows = []
    # of several estimates of one run, the first one counts
    estimate_by_run = {e["run"]: e for e in reversed(cost_estimates)}
    for cell in cell_records:
        run = runs[cell["run"]]
        row = {**cell, "num_attempts": run.num_attempts}
        row |= {
            f"{encoder}_forward_passes_per_sample": passes
            for encoder, passes in sorted(forward_passes.get(cell["arm"], {}).items())
        }
        if run.outcome is not None:
            row |= {"steps": run.outcome.step, **dict(sorted(run.outcome.cost.items()))}
        if run.run_time is not None:
            row["wall_seconds"] = run.run_time.wall_seconds
            row["wasted_seconds"] = run.run_time.wasted_seconds
            row |= {f"ended_{k}": n for k, n in sorted(run.run_time.end_reason_counts.items())}
        if (estimate := estimate_by_run.get(cell["run"])) is not None:
            row |= {
                "num_gpus": estimate["gpus_per_run"],
                "predicted_seconds": estimate["seconds"],
                "predicted_seconds_low": estimate["low"],
                "predicted_seconds_high": estimate["high"],
                "prediction_source": estimate["source"],
            }
        rows.append(row)
    return pd.DataFrame(rows)
