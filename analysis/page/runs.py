"""What the page says of each run: its configuration, machine, costs, files and the end of its log.

What many runs have in common is encoded once, and runs refer to it by number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.collect.frame import SweepData
from analysis.collect.provenance import RunProvenance
from analysis.page.curves import encode_numbers
from analysis.results.setup import build_arm_config
from uniclip.store import AttemptFolder, RunStatus, Store

LOG_TAIL_BYTES = 6000
"""Bytes at the end of a log that are shown."""
MAX_LOGS = 200
"""Runs whose logs are on a page: those that failed first, then those that are executed."""
LOG_STATUSES = (RunStatus.FAILED, RunStatus.STALLED, RunStatus.DIVERGED, RunStatus.RUNNING)
COSTS = {
    "training_seconds": "training (s)",
    "wall_seconds": "all attempts (s)",
    "wasted_seconds": "lost to interruptions (s)",
    "seconds_per_step": "per step (s)",
    "peak_memory_bytes": "peak memory (bytes)",
    "parameters": "parameters",
    "num_attempts": "attempts",
}
"""Column of the costs -> label."""


def encode_configs(sweep_data: SweepData) -> dict[str, Any]:
    """Return the configuration of the reference arm, and what the others have in its place.

    Returns:
        reference: key -> value as text.
        arms: arm -> key -> value as text, or null for a key that the arm does not have.
    """
    plan = sweep_data.plan
    reference = _format_config(sweep_data, plan.reference)
    arms = {}
    for arm in plan.arms:
        config = _format_config(sweep_data, arm.name)
        changed = {k: v for k, v in config.items() if reference.get(k) != v}
        arms[arm.name] = changed | {k: None for k in reference if k not in config}
    return {"reference": reference, "arms": arms}


def encode_environments(sweep_data: SweepData) -> dict[str, Any]:
    """Return the different environments (fact -> text), and run id -> the number of its own."""
    numbers: dict[str, int] = {}
    environments: list[dict[str, str]] = []
    runs = {}
    for run, provenance in sweep_data.provenance.items():
        facts = _describe_environment(provenance)
        key = json.dumps(facts)
        if key not in numbers:
            numbers[key] = len(environments)
            environments.append(facts)
        runs[run] = numbers[key]
    return {"list": environments, "runs": runs}


def encode_costs(sweep_data: SweepData) -> dict[str, Any]:
    """Return the costs as labels, and run id -> a value for each of them, or null."""
    costs = sweep_data.costs.drop_duplicates("run")
    names = [name for name in COSTS if name in costs and costs[name].notna().any()]
    columns = [encode_numbers(costs[name]) for name in names]
    runs = dict(zip((str(run) for run in costs["run"]), (list(v) for v in zip(*columns))))
    return {"labels": [COSTS[name] for name in names], "runs": runs}


def encode_files(sweep_data: SweepData) -> dict[str, list[list[str]]]:
    """Return run id -> [label, path in the folder of runs] of each file that exists."""
    return {
        run: [[label, path] for label, path in provenance.files]
        for run, provenance in sweep_data.provenance.items()
    }


def read_logs(store: Store, cells: pd.DataFrame) -> dict[str, str]:
    """Return run id -> end of its log, for runs that failed, diverged or are executed.

    Args:
        store: the store.
        cells: a row per cell with run and status.
    """
    statuses = dict(zip(cells["run"], cells["status"]))
    chosen = [run for status in LOG_STATUSES for run, s in statuses.items() if s == status]
    logs = {run: read_log_tail(_list_attempts(store, run)) for run in chosen[:MAX_LOGS]}
    return {run: text for run, text in logs.items() if text}


def read_log_tail(attempts: Iterable[AttemptFolder]) -> str:
    """Return the last whole lines of the first log that is not empty; "" without one."""
    for attempt in attempts:
        try:
            with attempt.log_path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - LOG_TAIL_BYTES))
                text = file.read().decode("utf-8", errors="replace").strip("\n")
        except OSError:
            continue
        if size > LOG_TAIL_BYTES:
            text = text.partition("\n")[2] or text
        if text.strip():
            return text
    return ""


def _list_attempts(store: Store, run_id: str) -> list[AttemptFolder]:
    """Return the attempts of a run, the newest first."""
    run = store.get_run(run_id)
    return [run.get_attempt(number) for number in reversed(run.list_attempts())]


def _format_config(sweep_data: SweepData, arm: str) -> dict[str, str]:
    config = build_arm_config(sweep_data, arm)
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items() if k != "seed"}


def _describe_environment(provenance: RunProvenance) -> dict[str, str]:
    claim = provenance.claim
    facts = {
        "host": claim.host,
        "commit": claim.commit,
        "code": claim.source_hash,
        "training code": claim.training_hash,
    }
    facts |= {name.replace("_", " "): str(v) for name, v in claim.numerics_class.items()}
    facts |= {f"{name} version": version for name, version in sorted(claim.versions.items())}
    return {name: text for name, text in facts.items() if text}
