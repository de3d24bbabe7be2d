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

from analysis.collect.run_time import spending
from analysis.statistics.effects import Observed
from uniclip.errors import UserError
from uniclip.io.atomic import lines
from uniclip.store import Outcome, Plan, RunFolder, Score, Scores, Store

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
WITHOUT_OUTCOME = ("missing", "begun", "failed")
"""States of cells whose run has none: never begun; begun and not finished; failed, by its word."""


@dataclass(frozen=True)
class Gathered:
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
    numerics: dict[str, dict[str, Any]]
    """Run id -> numerics class."""
    training: dict[str, str]
    """Run id -> hash of the code that trained it."""
    probes: list[dict[str, Any]]
    """What was measured before the sweep (`probes.jsonl`)."""
    protocols: dict[str, dict[str, Any]]
    """Evaluation hash -> what it is the hash of, as the scores under it state it."""

    def rows(self, dataset: str, score: str) -> pd.DataFrame:
        """The part of `frame` that is about one score."""
        return self._by_score.get((dataset, score), self.frame.iloc[:0])

    @cached_property
    def _by_score(self) -> dict[tuple[str, str], pd.DataFrame]:
        groups = self.frame.groupby(["dataset", "score"], sort=False)
        return {(str(dataset), str(score)): rows for (dataset, score), rows in groups}

    def observed(self, dataset: str, score: str) -> Observed:
        """One score of every arm and seed, as the statistics want it."""
        rows = self.rows(dataset, score)
        values: dict[str, dict[int, float]] = {}
        for arm, seed, value in zip(rows["arm"], rows["seed"], rows["value"]):
            if not math.isnan(value):
                values.setdefault(arm, {})[int(seed)] = float(value)
        gone = self.cells[self.cells["state"] == "diverged"]
        chance, samples = rows["chance"].dropna(), rows["samples"].dropna()
        return Observed(
            seeds=self.plan.seeds,
            values=values,
            diverged=frozenset(zip(gone["arm"], (int(s) for s in gone["seed"]))),
            chance=float(chance.iloc[0]) if len(chance) else None,
            grain=1.0 / float(samples.max()) if len(samples) and samples.max() > 0 else 0.0,
        )

    def scores(self) -> list[tuple[str, str]]:
        """(data set, score) of everything that was scored, the primary one first."""
        primary = (self.plan.primary.dataset, self.plan.primary.score)
        pairs = dict.fromkeys(zip(self.frame["dataset"], self.frame["score"]))
        return [primary, *(p for p in pairs if p != primary)]

    def kind(self, dataset: str, score: str) -> str:
        """accuracy, recall, map, gap or error; empty while nothing was scored."""
        rows = self.rows(dataset, score)
        return str(rows["kind"].iloc[0]) if len(rows) else ""

    def shown_only(self, dataset: str, score: str) -> bool:
        """Whether the score has too few samples to be judged."""
        return bool(self.rows(dataset, score)["shown_only"].any())


def gather(store: Store, sweep_id: str) -> Gathered:
    """Everything the store knows of a sweep; `UserError` names a file that is damaged."""
    folder = store.sweep(sweep_id)
    plan = folder.plan()
    if plan is None:
        raise UserError(f"{store.root} has no sweep {sweep_id}; `list` shows what there is")
    wanted = plan.wanted()
    outcomes = {run: store.run(run).outcome() for run in {c.run for c in plan.cells}}
    kept = {run: _scores(store.run(run), plan) for run, outcome in outcomes.items() if outcome}
    scored = {run: {d: s.scores for d, s in found.items()} for run, found in kept.items()}
    states = {
        run: _without_outcome(store.run(run))
        if outcome is None
        else _state(wanted[run], outcome, scored.get(run, {}))
        for run, outcome in outcomes.items()
    }
    frame = pd.DataFrame(list(_rows(plan, states, scored)), columns=list(COLUMNS))
    cells = [
        {
            "arm": c.arm,
            "seed": c.seed,
            "run": c.run,
            "state": states[c.run],
        }
        for c in plan.cells
    ]
    return Gathered(
        plan=plan,
        frame=frame.astype({"value": float, "chance": float, "samples": float, "shown_only": bool}),
        cells=pd.DataFrame(cells, columns=["arm", "seed", "run", "state"]),
        history=_history(store, plan),
        costs=_costs(store, plan, outcomes, cells, lines(folder.prices)),
        numerics={run: o.numerics for run, o in sorted(outcomes.items()) if o},
        training={run: o.training for run, o in sorted(outcomes.items()) if o},
        probes=lines(folder.probes),
        protocols={s.evaluation: s.protocol for found in kept.values() for s in found.values()},
    )


def _scores(run: RunFolder, plan: Plan) -> dict[str, Scores]:
    wanted = plan.wanted()[run.id]
    found = {d: run.scores(d, evaluation) for d, evaluation in wanted.items()}
    return {d: s for d, s in found.items() if s is not None}


def _without_outcome(run: RunFolder) -> str:
    """One of `WITHOUT_OUTCOME`."""
    numbers = run.attempts()
    ended = run.attempt(numbers[-1]).ended() if numbers else None
    failed = ended is not None and ended.kind == "failed"
    return "failed" if failed else "begun" if numbers else "missing"


def _state(wanted: dict[str, str], outcome: Outcome, scored: dict[str, tuple[Score, ...]]) -> str:
    if outcome.kind == "diverged":
        return "diverged"
    return "complete" if set(wanted) <= set(scored) else "unscored"


def _rows(
    plan: Plan, states: dict[str, str], scored: dict[str, dict[str, tuple[Score, ...]]]
) -> Iterator[tuple[Any, ...]]:
    """A row for each cell and each score that any cell has (the primary one always)."""
    known: dict[tuple[str, str], Score | None] = {(plan.primary.dataset, plan.primary.score): None}
    for cell in plan.cells:
        for dataset in plan.evaluations[cell.arm]:
            for s in scored.get(cell.run, {}).get(dataset, ()):
                if known.get((dataset, s.name)) is None:
                    known[dataset, s.name] = s
    for cell in plan.cells:
        own = {(d, s.name): s for d, scores in scored.get(cell.run, {}).items() for s in scores}
        for (dataset, name), like in known.items():
            score = own.get((dataset, name))
            state = states[cell.run] if score is None else "complete"
            yield (cell.arm, cell.seed, cell.run, dataset, name, *_numbers(score, like), state)


def _numbers(score: Score | None, like: Score | None) -> tuple[Any, ...]:
    shape = score or like
    if shape is None:
        return "", math.nan, math.nan, math.nan, False
    chance = math.nan if shape.chance is None else shape.chance
    value = math.nan if score is None else score.value
    return shape.kind, value, chance, shape.samples, shape.shown_only


def _history(store: Store, plan: Plan) -> pd.DataFrame:
    records = []
    cached: dict[str, list[dict[str, Any]]] = {}
    for c in plan.cells:
        if c.run not in cached:
            cached[c.run] = store.run(c.run).history()
        for record in cached[c.run]:
            own = {"arm": c.arm, "seed": c.seed, "run": c.run, "phase": "train", "step": 0}
            records.append(own | _flat(record))
    return pd.DataFrame(
        records, columns=None if records else ["arm", "seed", "run", "phase", "step"]
    )


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """Nested numbers under dotted names: {"moved": {"similarity": 1}} gives moved.similarity."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{k}": v for k, v in value.items()}
        else:
            flat[name] = value
    return flat


def _costs(
    store: Store,
    plan: Plan,
    outcomes: dict[str, Outcome | None],
    cells: list[dict[str, Any]],
    prices: list[dict[str, Any]],
) -> pd.DataFrame:
    rows = []
    foretold = {p["run"]: p for p in reversed(prices)}  # what was said first stands
    for cell in cells:
        outcome = outcomes[cell["run"]]
        per_sample = plan.forwards.get(cell["arm"], {})
        row = {**cell, "attempts": len(store.run(cell["run"]).attempts())}
        row |= {f"{k}_forwards_a_sample": v for k, v in sorted(per_sample.items())}
        if outcome is not None:
            row |= {"steps": outcome.step, **dict(sorted(outcome.cost.items()))}
        if (took := spending(store.run(cell["run"]), outcome)) is not None:
            row |= {"wall_seconds": took.seconds, "lost_seconds": took.lost_seconds}
            row |= {f"ended_{end.replace(' ', '_')}": n for end, n in sorted(took.ends.items())}
        if (price := foretold.get(cell["run"])) is not None:
            row |= {"gpus": price["devices"], "predicted_seconds": price["seconds"]}
            row |= {"predicted_low": price["low"], "predicted_high": price["high"]}
            row["predicted_from"] = price["source"]
        rows.append(row)
    return pd.DataFrame(rows)
