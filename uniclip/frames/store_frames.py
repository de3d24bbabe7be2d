"""A store as pandas data frames: its sweeps, runs, scores, metrics and predictions.

Every frame has a tidy index, and `frame.attrs["units"]` says in what unit a column is. Nothing is
written to the store, and torch is not imported. Frames can be saved with `to_csv` and `to_parquet`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from uniclip.errors import UserError, make_unknown_name_error
from uniclip.frames.history import build_history_frame
from uniclip.frames.predictions import build_predictions_frame
from uniclip.frames.records import describe_unit, name_scores, read_status
from uniclip.store import Cell, Plan, RunFolder, RunStatus, Store, get_score_kind_traits
from uniclip.store.history import PHASES, build_columns, select_phase
from uniclip.store.results_index import use_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

RUN_UNITS = {
    "training_seconds": "s",
    "seconds_per_step": "s",
    "peak_memory_bytes": "B",
    "checkpoint_bytes": "B",
    "steps": "steps",
}
METRIC_UNITS = {
    "step": "steps",
    "seconds": "s",
    "attempt_seconds": "s",
    "waited_seconds": "s",
    "images_seen": "images",
    "samples_seen": "samples",
    "score": "fraction",
    "loss": "nats",
}
MAX_SIDE = 128
"""Largest side of the images of `StoreFrames.load_images`, in pixels."""


@dataclass(frozen=True, kw_only=True)
class TestImages:
    """Some test images, with their names and captions."""

    __test__ = False  # no class of tests

    images: NDArray[np.uint8]
    """RGB images, shape (n, 3, height, width), at most 128 pixels high and wide."""
    names: tuple[str, ...]
    """Names of the images; empty if the data have none."""
    captions: tuple[tuple[str, ...], ...]
    """The captions of each image."""


def open_store(root: str | Path) -> StoreFrames:
    """Return the records of a store as data frames.

    Args:
        root: folder of the store, as in `store=<folder>` of the command line.

    Raises:
        UserError: the folder is no store.
    """
    path = Path(root).expanduser()
    if not (path / "sweeps").is_dir():
        raise UserError(
            f"{root} ({path.resolve()}) is no store: it has no folder sweeps; give the folder that "
            "store= names on the command line"
        )
    return StoreFrames(Store(path))


class StoreFrames:
    """The records of a store as data frames; made by `uniclip.open_store`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __repr__(self) -> str:
        return f"<store of {len(list(self.store.iter_sweeps()))} sweeps>"

    def find_sweep(self, sweep: str) -> str:
        """Return the id of a sweep, which may be given by its start.

        Raises:
            UserError: there is none, or several begin so.
        """
        sweep_ids = [folder.id for folder in self.store.iter_sweeps()]
        if sweep in sweep_ids or self.store.get_sweep(sweep).read_plan() is not None:
            return sweep
        matches = [sweep_id for sweep_id in sweep_ids if sweep_id.startswith(sweep)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UserError(f"several sweeps begin with {sweep!r}: {', '.join(matches)}")
        raise make_unknown_name_error("sweep", sweep, sweep_ids)

    def read_plan(self, sweep: str) -> Plan:
        """Return the plan of a sweep: its arms, contrasts, seeds, looks and settings.

        Raises:
            UserError: there is no such sweep, or its file is damaged.
        """
        plan = self.store.get_sweep(self.find_sweep(sweep)).read_plan()
        assert plan is not None
        return plan

    def sweeps(self) -> pd.DataFrame:
        """Return one row per sweep, with index `sweep`."""
        plans = [plan for f in self.store.iter_sweeps() if (plan := f.read_plan()) is not None]
        rows = [
            {
                "sweep": plan.sweep_id,
                "ablation": plan.ablation,
                "title": plan.title,
                "data": plan.data,
                "budget": plan.budget,
                "design": plan.design,
                "is_tuned": plan.tuning is not None,
                "reference": plan.reference,
                "num_arms": len(plan.arms),
                "num_seeds": len(plan.seeds),
                "num_cells": len(plan.cells),
                "primary_scores": ", ".join(
                    f"{m.dataset}/{m.metric}" for m in plan.primary_metrics
                ),
            }
            for plan in plans
        ]
        columns = None if rows else ["sweep", "ablation", "title"]
        return _finish(pd.DataFrame(rows, columns=columns), ["sweep"], {})

    def contrasts(self, sweep: str) -> pd.DataFrame:
        """Return the weight of every arm in every contrast: index `contrast`, columns `arm`."""
        plan = self.read_plan(sweep)
        weights = pd.DataFrame(
            {c.name: c.weights for c in plan.contrasts}, index=[a.name for a in plan.arms]
        ).T.fillna(0.0)
        weights.index.name, weights.columns.name = "contrast", "arm"
        return weights

    def runs(self, sweep: str | None = None) -> pd.DataFrame:
        """Return one row per cell of a sweep, with index (arm, seed); per run of the store if None.

        Columns: run, status, attempts, steps, the measured costs (such as training_seconds), and
        of the last attempt its host, start (UTC), commit, code (source hash) and versions. Rows of
        the whole store have the index `run`.
        """
        if sweep is None:
            with use_index(self.store) as store:
                rows = [{"run": r.id, **_describe_run(r, {})} for r in store.iter_runs()]
            columns = None if rows else ["run", "status"]
            return _finish(pd.DataFrame(rows, columns=columns), ["run"], RUN_UNITS)
        plan = self.read_plan(sweep)
        required = plan.required_evaluations()
        with use_index(self.store) as store:
            described = {
                run_id: _describe_run(store.get_run(run_id), evaluations)
                for run_id, evaluations in required.items()
            }
        rows = [
            {"arm": c.arm, "seed": c.seed, "run": c.run_id, **described[c.run_id]}
            for c in plan.cells
        ]
        return _finish(pd.DataFrame(rows), ["arm", "seed"], RUN_UNITS)

    def scores(self, sweep: str) -> pd.DataFrame:
        """Return one row per score of each cell, with index (dataset, score, arm, seed).

        Columns: value, unit ("fraction": not in percent), kind, higher_is_better (None: it has no
        direction), chance, num_samples, report_only and run. A cell without scores has no rows:
        `runs` has its status.
        """
        plan = self.read_plan(sweep)
        rows: list[dict[str, Any]] = []
        with use_index(self.store) as store:
            for cell in plan.cells:
                run = store.get_run(cell.run_id)
                for dataset, evaluation in plan.evaluation_hashes[cell.arm].items():
                    rows += _list_scores(run, cell, dataset, evaluation)
        columns = ["dataset", "score", "arm", "seed", "value", "unit"]
        frame = pd.DataFrame(rows, columns=None if rows else columns)
        units = {"value": "column unit", "chance": "column unit", "num_samples": "test samples"}
        return _finish(frame, columns[:4], units)

    def metrics(self, sweep: str, phase: str | None = None) -> pd.DataFrame:
        """Return the logged metrics of every cell, with index (arm, seed, phase, step).

        Args:
            sweep: id of a sweep.
            phase: such as "train" or "validation"; None for all.

        Raises:
            UserError: there is no phase of this name.
        """
        plan = self.read_plan(sweep)
        with use_index(self.store) as store:
            histories = {
                run_id: run.read_history_columns() if run.is_readable() else build_columns([])
                for run_id in dict.fromkeys(c.run_id for c in plan.cells)
                for run in [store.get_run(run_id)]
            }
        if phase is not None:
            phases = {
                *PHASES,
                *(str(p) for columns in histories.values() for p in columns["phase"]),
            }
            if phase not in phases:
                raise make_unknown_name_error("phase", phase, phases)
            histories = {r: select_phase(columns, phase) for r, columns in histories.items()}
        frame = build_history_frame(plan.cells, histories)
        index = ["arm", "seed", "phase", "step"]
        if len(frame):
            frame = frame.dropna(axis="columns", how="all")
        objects = [name for name in frame if frame[name].dtype == object]
        flags = [name for name in objects if frame[name].dropna().map(type).eq(bool).all()]
        return _finish(frame.astype(dict.fromkeys(flags, "boolean")), index, METRIC_UNITS)

    def predictions(
        self,
        sweep: str,
        score: str,
        dataset: str | None = None,
        arms: Collection[str] | None = None,
    ) -> pd.DataFrame:
        """Return the outcome of every test sample: rows are samples, columns (arm, seed).

        The mean of a column is the score of the run. The index has the levels `item` (position),
        `image` (row of its image in the test split; -1 if unknown) and `cluster` (images of one
        number are variants of each other; where the data have none, the row of the image).

        Args:
            sweep: id of a sweep.
            score: name of a score that is a mean of outcomes, such as "retrieval.r1".
            dataset: the data set; None for that of the primary score.
            arms: the arms; None for all.

        Raises:
            NoOutcomesError: no run saved outcomes of this score.
            DifferentItemsError: the arms are scored on different test items.
        """
        plan = self.read_plan(sweep)
        dataset = dataset or plan.primary_metric.dataset
        return build_predictions_frame(self.store, plan, dataset, score, arms)

    def load_images(self, sweep: str, rows: Sequence[int], arm: str | None = None) -> TestImages:
        """Return test images of the data set that the sweep trains on.

        Args:
            sweep: id of a sweep.
            rows: their rows in the test split (level `image` of the index of `predictions`).
            arm: the arm whose test split it is; None for the first one.

        Raises:
            UserError: the data are not on this machine, or not those that the runs saw.
        """
        from uniclip import data, identity

        plan = self.read_plan(sweep)
        cells = [c for c in plan.cells if arm is None or c.arm == arm]
        runs = ((c.arm, self.store.get_run(c.run_id)) for c in cells)
        arm, run = next(((a, r) for a, r in runs if r.has_spec()), ("", None))
        spec = run.read_spec() if run is not None else {"config": {}}
        if "data" not in spec["config"]:
            raise UserError(f"no run of {plan.sweep_id} says which data it has")
        config = identity.config_from_spec(spec, plan.run_only_values(arm)).data
        split = data.open_split(config, "test")
        index = np.asarray(rows, dtype=np.int64)
        if len(index) and not 0 <= index.min() <= index.max() < len(split):
            raise UserError(f"the test split of data={config.name} has {len(split)} images only")
        return TestImages(
            images=_shrink(split.load_pixels(index)),
            names=tuple(split.sample_names[i] for i in index) if split.sample_names else (),
            captions=tuple(split.captions[i] for i in index),
        )


def _finish(frame: pd.DataFrame, index: list[str], units: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame with its index, sorted, and with the units of its columns in `attrs`."""
    indexed = frame.set_index(index).sort_index()
    indexed.attrs["units"] = {name: unit for name, unit in units.items() if name in frame}
    return indexed


def _describe_run(run: RunFolder, required_evaluations: Mapping[str, str]) -> dict[str, Any]:
    """Return status, costs and provenance of a run."""
    if not run.is_readable():
        return {"status": str(RunStatus.UNREADABLE)}
    outcome, attempt_numbers = run.read_outcome(), run.list_attempts()
    is_evaluated = run.has_scores(required_evaluations)
    row: dict[str, Any] = {
        "status": str(read_status(run, outcome, is_evaluated=is_evaluated)),
        "attempts": len(attempt_numbers),
    }
    if outcome is not None:
        row |= {"steps": outcome.step, **dict(sorted(outcome.cost.items()))}
    number = outcome.attempt if outcome is not None else (attempt_numbers or [0])[-1]
    claim = run.get_attempt(number).read_claim() if number else None
    if claim is not None:
        record = asdict(claim)
        row |= {
            "host": record["host"],
            "start": pd.Timestamp(record["time"], unit="s", tz="UTC").floor("s"),
            "commit": record["commit"],
            "code": record["source_hash"],
            "versions": ", ".join(f"{k} {v}" for k, v in sorted(record["versions"].items())),
        }
    return row


def _shrink(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images (n, 3, height, width) with sides of at most `MAX_SIDE`."""
    from PIL import Image

    height, width = images.shape[2:]
    if not len(images) or max(height, width) <= MAX_SIDE:
        return images
    scale = MAX_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shrunk = [
        np.asarray(Image.fromarray(i.transpose(1, 2, 0)).resize(size, Image.Resampling.BOX))
        for i in images
    ]
    return np.stack(shrunk).transpose(0, 3, 1, 2)


def _list_scores(run: RunFolder, cell: Cell, dataset: str, evaluation: str) -> list[dict[str, Any]]:
    """Return the rows of the scores of a cell on a data set; none if it has no outcome."""
    if not run.is_readable() or run.read_outcome() is None:
        return []
    dataset_scores = run.read_scores(dataset, evaluation)
    if dataset_scores is None:
        return []
    return [
        {
            "dataset": dataset,
            "score": name,
            "arm": cell.arm,
            "seed": cell.seed,
            "value": score.value,
            "unit": describe_unit(score.kind),
            "kind": score.kind,
            "higher_is_better": get_score_kind_traits(score.kind).higher_is_better,
            "chance": np.nan if score.chance is None else score.chance,
            "num_samples": score.num_samples,
            "report_only": score.report_only,
            "run": cell.run_id,
        }
        for name, score in name_scores(dataset_scores).items()
    ]
