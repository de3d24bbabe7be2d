"""Curves of runs for the page: what training logged, thinned evenly, with the extremes.

The records that are shown are logged ones, not averages. If a run has more than fit, every k-th is
shown, and besides those in which a quantity is largest or smallest, so that no peak disappears.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.collect.frame import SweepData

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
MAX_NUMBERS = 1_000_000
"""Numbers of all curves of a page; a megabyte holds about 130,000."""
MAX_RECORDS = 400
"""Records of one run that are shown."""
MAX_RUNS = 500
"""Runs whose curves are on a page."""
NOT_QUANTITIES = {
    *("arm", "seed", "run", "phase", "step", "seconds", "attempt_seconds", "waited_seconds"),
    *("samples_seen", "images_seen", "best", "unreadable_images", "skipped_samples", "score"),
}
"""Columns of the history that are no curve, or that have an axis of their own."""
STEP_COLUMNS = {"samples_seen": "samples_per_step", "images_seen": "images_per_step"}
"""Columns that grow by an equal number in every step -> name of that number."""
LABELS = {
    "loss": "training loss",
    "grad_norm": "gradient norm",
    "lr": "learning rate",
    "clipped_fraction": "share of clipped steps",
    "scale": "logit scale",
}
PAIR_LABELS = {"ii": "image-image", "it": "image-text", "tt": "text-text"}
PREFIX_LABELS = {"tau_": "temperature", "b_": "offset"}
VALIDATION = {"key": "score", "label": "validation R@1 (%)", "phase": "validation", "factor": 100}
"""The curve of the validations."""


def encode_curves(sweep_data: SweepData) -> dict[str, Any]:
    """Return the curves of every run that logged something.

    Returns:
        quantities: what can be shown, with key, label and phase.
        runs: run id -> phase -> step, seconds and values (quantity -> values), and the samples,
            images and FLOPs of a step as far as they are known.
        notes: sentences on what is left out.
    """
    history = sweep_data.history.drop_duplicates(["run", "phase", "step"], keep="last")
    train = history[history["phase"] == "train"]
    validation = history[history["phase"] == "validation"]
    has_scores = "score" in validation and bool(validation["score"].notna().any())
    keys = [str(name) for name in train if _is_quantity(train, str(name))]
    runs = [str(run) for run in history["run"].drop_duplicates()]
    shown_runs, stride = runs[:MAX_RUNS], 1
    train = train[train["run"].isin(shown_runs)]
    validation = validation[validation["run"].isin(shown_runs)]
    if len(train):
        largest = int(train["run"].value_counts().max())
        needed = len(train) * (len(keys) + 2) / MAX_NUMBERS
        stride = max(1, math.ceil(largest / MAX_RECORDS), math.ceil(needed))
    flops = {p["arm"]: p["flops_per_step"] for p in sweep_data.probes if "flops_per_step" in p}
    curves: dict[str, dict[str, Any]] = {run: {} for run in shown_runs}
    arms = train["arm"].to_numpy()
    train_columns = _to_floats(train, ["step", *STEP_COLUMNS, "seconds", *keys])
    validation_columns = _to_floats(validation, ["step", "seconds", "score"])
    for run, rows in train.groupby("run", sort=False).indices.items():
        curves[str(run)] = _encode_run(train_columns, rows, keys, stride)
        curves[str(run)] |= _describe_step(train_columns, rows)
        if (arm := str(arms[rows[0]])) in flops:
            curves[str(run)]["flops_per_step"] = flops[arm]
    for run, rows in validation.groupby("run", sort=False).indices.items():
        curves[str(run)]["validation"] = _encode_records(validation_columns, rows, ["score"])
    quantities = [{"key": k, "label": label_quantity(k), "phase": "train"} for k in keys]
    return {
        "quantities": [*([VALIDATION] if has_scores else []), *quantities],
        "runs": {run: encoded for run, encoded in curves.items() if encoded},
        "notes": list(_describe_thinning(stride, len(shown_runs), len(runs))),
    }


def label_quantity(key: str) -> str:
    """Return the label of a logged quantity: "tau_ii" is "temperature, image-image"."""
    if key in LABELS:
        return LABELS[key]
    for prefix, label in PREFIX_LABELS.items():
        pair = key.removeprefix(prefix)
        if key.startswith(prefix) and pair in PAIR_LABELS:
            return f"{label}, {PAIR_LABELS[pair]}"
    if key.startswith("loss_terms."):
        return f"loss term: {key.removeprefix('loss_terms.').replace('_', ' ')}"
    return key.replace("_", " ")


def _is_quantity(train: pd.DataFrame, name: str) -> bool:
    is_number = pd.api.types.is_numeric_dtype(train[name]) and train[name].dtype != bool
    return name not in NOT_QUANTITIES and is_number and bool(train[name].notna().any())


def _to_floats(history: pd.DataFrame, names: Iterable[str]) -> dict[str, Floats]:
    """Return those of the named columns that there are, with NaN for what is no number."""
    return {
        name: pd.to_numeric(history[name], errors="coerce").to_numpy(np.float64)
        for name in names
        if name in history
    }


def _encode_run(
    columns: Mapping[str, Floats], rows: Rows, keys: list[str], stride: int
) -> dict[str, Any]:
    """Return the training records of a run, thinned."""
    rows = rows[np.argsort(columns["step"][rows], kind="stable")]
    chosen = {*range(0, len(rows), stride), len(rows) - 1}
    if stride > 1:
        for key in keys:
            values = columns[key][rows]
            if np.isfinite(values).any():
                chosen |= {int(np.nanargmax(values)), int(np.nanargmin(values))}
    return {"train": _encode_records(columns, rows[sorted(chosen)], keys)}


def _encode_records(columns: Mapping[str, Floats], rows: Rows, keys: list[str]) -> dict[str, Any]:
    values = {key: columns[key][rows] for key in keys if key in columns}
    encoded: dict[str, Any] = {
        "step": [int(step) for step in columns["step"][rows]],
        "values": {k: _round_numbers(v) for k, v in values.items() if not np.isnan(v).all()},
    }
    if "seconds" in columns:
        encoded["seconds"] = _round_numbers(columns["seconds"][rows])
    return encoded


def encode_numbers(values: Iterable[Any]) -> list[float | None]:
    """Return numbers with six digits; None for what is no finite number."""
    return _round_numbers(pd.to_numeric(pd.Series(values), errors="coerce").to_numpy(np.float64))


def _round_numbers(values: Floats) -> list[float | None]:
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]


def _describe_step(columns: Mapping[str, Floats], rows: Rows) -> dict[str, Any]:
    """Return the samples and images of one step of a run, as far as they are known."""
    step = columns["step"][rows]
    facts: dict[str, Any] = {}
    for column, name in STEP_COLUMNS.items():
        if column in columns:
            ratios = columns[column][rows][step > 0] / step[step > 0]
            ratios = ratios[~np.isnan(ratios)]
            if len(ratios) and math.isfinite(ratio := float(np.median(ratios))):
                facts[name] = float(f"{ratio:.6g}")
    return facts


def _describe_thinning(stride: int, num_shown: int, num_runs: int) -> list[str]:
    notes = []
    if stride > 1:
        ordinal = {2: "2nd", 3: "3rd"}.get(stride, f"{stride}th")
        notes.append(
            f"Every {ordinal} logged step is shown, and of every run the steps with the largest "
            "and the smallest value of each quantity."
        )
    if num_shown < num_runs:
        notes.append(f"The curves of the first {num_shown} of {num_runs:,} runs are shown.")
    return notes
