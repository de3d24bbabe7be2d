"""One tidy frame from the store: a row for each arm, seed and score, and why where there is none.

Every row carries the id of its run, so a number is a link. What is absent stands there with its
state and without a value; it is never left out silently.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.collect.run_time import measure_run_time
from analysis.statistics.effects import Observations
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.store import DatasetScores, Outcome, Plan, RunFolder, Score, Store

COLUMNS = (
    "arm",
    "seed",
    "run",
    "dataset",
    "score",
    "kind",
    "value",
    "chance",
    "samples",
    "shown_only",
    "state",
)
STATUSES_WITHOUT_OUTCOME = ("missing", "begun", "failed")
"""States of cells whose run has none: never begun; begun and not finished; failed, by its word."""


@dataclass(frozen=True)
class SweepData:
    """A sweep as the store has it now."""

    plan: Plan
    frame: pd.DataFrame
    """`COLUMNS`; state is complete, diverged, unscored, or one of `WITHOUT_OUTCOME`; value is NaN
    unless complete."""
    cells: pd.DataFrame
    """arm, seed, run, state: one row a cell, in the plan's order."""
    history: pd.DataFrame
    """arm, seed, run, phase, step and whatever was logged."""
    costs: pd.DataFrame
    """arm, seed, run, state, attempts, steps, forwards, what the outcome says of costs; what the
    run took (wall_seconds, lost_seconds, ended_<how>); what was foretold of it (gpus, and under
    predicted_: seconds, low, high, from)."""
    numerics_classes: dict[str, dict[str, Any]]
    """Run id -> numerics class."""
    training_hashes: dict[str, str]
    """Run id -> hash of the code that trained it."""
    probes: list[dict[str, Any]]
    """What was measured before the sweep (`probes.jsonl`)."""
    protocols: dict[str, dict[str, Any]]
    """Evaluation hash -> what it is the hash of, as the scores under it state it."""

    def select_score_rows(self, dataset: str, score: str) -> pd.DataFrame:
        """The part of `frame` that is about one score."""
        return self._rows_by_score.get((dataset, score), self.frame.iloc[:0])

    @cached_property
    def _rows_by_score(self) -> dict[tuple[str, str], pd.DataFrame]:
        groups = self.frame.groupby(["dataset", "score"], sort=False)
        return {(str(dataset), str(score)): rows for (dataset, score), rows in groups}

    def get_observations(self, dataset: str, score: str) -> Observations:
        """One score of every arm and seed, as the statistics want it."""
        rows = self.select_score_rows(dataset, score)
        values: dict[str, dict[int, float]] = {}
        for arm, seed, value in zip(rows["arm"], rows["seed"], rows["value"]):
            if not math.isnan(value):
                values.setdefault(arm, {})[int(seed)] = float(value)
        diverged_rows = self.cells[self.cells["state"] == "diverged"]
        chance, samples = rows["chance"].dropna(), rows["samples"].dropna()
        return Observations(
            seeds=self.plan.seeds,
            values=values,
            diverged_cells=frozenset(
                zip(diverged_rows["arm"], (int(s) for s in diverged_rows["seed"]))
            ),
            chance=float(chance.iloc[0]) if len(chance) else None,
            resolution=1.0 / float(samples.max()) if len(samples) and samples.max() > 0 else 0.0,
        )

    def list_score_keys(self) -> list[tuple[str, str]]:
        """(data set, score) of everything that was scored, the primary one first."""
        primary_key = (self.plan.primary_metric.dataset, self.plan.primary_metric.metric)
        score_keys = dict.fromkeys(zip(self.frame["dataset"], self.frame["score"]))
        return [primary_key, *(p for p in score_keys if p != primary_key)]

    def get_score_kind(self, dataset: str, score: str) -> str:
        """accuracy, recall, map, gap or error; empty while nothing was scored."""
        rows = self.select_score_rows(dataset, score)
        return str(rows["kind"].iloc[0]) if len(rows) else ""

    def is_report_only(self, dataset: str, score: str) -> bool:
        """Whether the score has too few samples to be judged."""
        return bool(self.select_score_rows(dataset, score)["shown_only"].any())


def collect_sweep_data(store: Store, sweep_id: str) -> SweepData:
    """Everything the store knows of a sweep; `UserError` names a file that is damaged."""
    folder = store.get_sweep(sweep_id)
    plan = folder.read_plan()
    if plan is None:
        raise UserError(f"{store.root} has no sweep {sweep_id}; `list` shows what there is")
    required_evaluations = plan.required_evaluations()
    outcomes = {run: store.get_run(run).read_outcome() for run in {c.run_id for c in plan.cells}}
    score_records = {
        run: _read_scores(store.get_run(run), plan) for run, outcome in outcomes.items() if outcome
    }
    scores_by_run = {
        run: {d: s.scores for d, s in run_records.items()}
        for run, run_records in score_records.items()
    }
    status_by_run = {
        run: _get_status_without_outcome(store.get_run(run))
        if outcome is None
        else _get_status_with_outcome(
            required_evaluations[run], outcome, scores_by_run.get(run, {})
        )
        for run, outcome in outcomes.items()
    }
    frame = pd.DataFrame(
        list(_build_score_rows(plan, status_by_run, scores_by_run)), columns=list(COLUMNS)
    )
    cells = [
        {
            "arm": c.arm,
            "seed": c.seed,
            "run": c.run_id,
            "state": status_by_run[c.run_id],
        }
        for c in plan.cells
    ]
    return SweepData(
        plan=plan,
        frame=frame.astype({"value": float, "chance": float, "samples": float, "shown_only": bool}),
        cells=pd.DataFrame(cells, columns=["arm", "seed", "run", "state"]),
        history=_build_history_frame(store, plan),
        costs=_build_cost_frame(
            store, plan, outcomes, cells, read_jsonl(folder.cost_estimates_path)
        ),
        numerics_classes={run: o.numerics_class for run, o in sorted(outcomes.items()) if o},
        training_hashes={run: o.training_hash for run, o in sorted(outcomes.items()) if o},
        probes=read_jsonl(folder.probes_path),
        protocols={
            s.evaluation_hash: s.protocol
            for run_records in score_records.values()
            for s in run_records.values()
        },
    )


def _read_scores(run: RunFolder, plan: Plan) -> dict[str, DatasetScores]:
    required_evaluations = plan.required_evaluations()[run.id]
    score_records = {
        d: run.read_scores(d, evaluation) for d, evaluation in required_evaluations.items()
    }
    return {d: s for d, s in score_records.items() if s is not None}


def _get_status_without_outcome(run: RunFolder) -> str:
    """One of `WITHOUT_OUTCOME`."""
    attempt_numbers = run.list_attempts()
    attempt_end = run.get_attempt(attempt_numbers[-1]).read_end() if attempt_numbers else None
    has_failed = attempt_end is not None and attempt_end.kind == "failed"
    return "failed" if has_failed else "begun" if attempt_numbers else "missing"


def _get_status_with_outcome(
    required_evaluations: dict[str, str],
    outcome: Outcome,
    scores_by_dataset: dict[str, tuple[Score, ...]],
) -> str:
    if outcome.kind == "diverged":
        return "diverged"
    return "complete" if set(required_evaluations) <= set(scores_by_dataset) else "unscored"


def _build_score_rows(
    plan: Plan,
    status_by_run: dict[str, str],
    scores_by_run: dict[str, dict[str, tuple[Score, ...]]],
) -> Iterator[tuple[Any, ...]]:
    """A row for each cell and each score that any cell has (the primary one always)."""
    example_scores: dict[tuple[str, str], Score | None] = {
        (plan.primary_metric.dataset, plan.primary_metric.metric): None
    }
    for cell in plan.cells:
        for dataset in plan.evaluation_hashes[cell.arm]:
            for s in scores_by_run.get(cell.run_id, {}).get(dataset, ()):
                if example_scores.get((dataset, s.name)) is None:
                    example_scores[dataset, s.name] = s
    for cell in plan.cells:
        cell_scores = {
            (d, s.name): s
            for d, scores in scores_by_run.get(cell.run_id, {}).items()
            for s in scores
        }
        for (dataset, name), example_score in example_scores.items():
            score = cell_scores.get((dataset, name))
            status = status_by_run[cell.run_id] if score is None else "complete"
            yield (
                cell.arm,
                cell.seed,
                cell.run_id,
                dataset,
                name,
                *_extract_score_columns(score, example_score),
                status,
            )


def _extract_score_columns(score: Score | None, example_score: Score | None) -> tuple[Any, ...]:
    template_score = score or example_score
    if template_score is None:
        return "", math.nan, math.nan, math.nan, False
    chance = math.nan if template_score.chance is None else template_score.chance
    value = math.nan if score is None else score.value
    return (
        template_score.kind,
        value,
        chance,
        template_score.num_samples,
        template_score.too_few_samples,
    )


def _build_history_frame(store: Store, plan: Plan) -> pd.DataFrame:
    records = []
    records_by_run: dict[str, list[dict[str, Any]]] = {}
    for c in plan.cells:
        if c.run_id not in records_by_run:
            records_by_run[c.run_id] = store.get_run(c.run_id).read_history()
        for record in records_by_run[c.run_id]:
            cell_columns = {
                "arm": c.arm,
                "seed": c.seed,
                "run": c.run_id,
                "phase": "train",
                "step": 0,
            }
            records.append(cell_columns | _flatten_record(record))
    return pd.DataFrame(
        records, columns=None if records else ["arm", "seed", "run", "phase", "step"]
    )


def _flatten_record(record: dict[str, Any]) -> dict[str, Any]:
    """Nested numbers under dotted names: {"moved": {"similarity": 1}} gives moved.similarity."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{k}": v for k, v in value.items()}
        else:
            flat[name] = value
    return flat


def _build_cost_frame(
    store: Store,
    plan: Plan,
    outcomes: dict[str, Outcome | None],
    cells: list[dict[str, Any]],
    cost_estimates: list[dict[str, Any]],
) -> pd.DataFrame:
    rows = []
    estimate_by_run = {p["run"]: p for p in reversed(cost_estimates)}  # what was said first stands
    for cell in cells:
        outcome = outcomes[cell["run"]]
        forward_passes = plan.forward_passes.get(cell["arm"], {})
        row = {**cell, "attempts": len(store.get_run(cell["run"]).list_attempts())}
        row |= {f"{k}_forwards_a_sample": v for k, v in sorted(forward_passes.items())}
        if outcome is not None:
            row |= {"steps": outcome.step, **dict(sorted(outcome.cost.items()))}
        if (run_time := measure_run_time(store.get_run(cell["run"]), outcome)) is not None:
            row |= {"wall_seconds": run_time.wall_seconds, "lost_seconds": run_time.wasted_seconds}
            row |= {
                f"ended_{end_reason.replace(' ', '_')}": n
                for end_reason, n in sorted(run_time.end_reason_counts.items())
            }
        if (estimate := estimate_by_run.get(cell["run"])) is not None:
            row |= {"gpus": estimate["devices"], "predicted_seconds": estimate["seconds"]}
            row |= {"predicted_low": estimate["low"], "predicted_high": estimate["high"]}
            row["predicted_from"] = estimate["source"]
        rows.append(row)
    return pd.DataFrame(rows)
