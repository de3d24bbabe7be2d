"""Export to MLflow: an experiment per sweep, a run per cell, to a server or a local database.

    mlflow ui --backend-store-uri sqlite:///<folder>/mlflow.db

A run is found again by its tag `uniclip.cell`. Its points are compared with those of the store, and
those that are missing are logged; a run with other points, such as those of a run that was started
afresh, is deleted and logged anew. The tag `uniclip.digest`, set last, says that a run is whole.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.exports.source import Change, Changes, ExportedCell, SweepSource, select_values
from uniclip.errors import UserError
from uniclip.io.hashing import digest_text
from uniclip.store import RunStatus

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

from mlflow.entities import Metric, Param, Run, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

CELL_TAG, DIGEST_TAG = "uniclip.cell", "uniclip.digest"
MAX_METRICS, MAX_PARAMS = 1000, 100
"""Metrics and parameters that MLflow takes in one request."""
MAX_PARAM_LENGTH = 6000
MAX_NAME_LENGTH = 250
INVALID_CHARACTERS = re.compile(r"[^\w.:/ -]", re.ASCII)
"""Characters that the name of a metric or parameter may not have."""
STATUSES = {
    RunStatus.PENDING: "SCHEDULED",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.STALLED: "RUNNING",
    RunStatus.NEEDS_EVALUATION: "RUNNING",
    RunStatus.INTERRUPTED: "KILLED",
    RunStatus.PAUSED: "KILLED",
    RunStatus.FAILED: "FAILED",
    RunStatus.DIVERGED: "FAILED",
}
"""Status of a run -> MLflow's; "FINISHED" for all others."""

Points = set[tuple[str, int, int, str]]
"""(metric, step, time in ms, value as text: NaN equals NaN)."""


def export(source: SweepSource, destination: str) -> Changes:
    """Log every cell to a server (a URL) or to `<folder>/mlflow.db`.

    Raises:
        UserError: MLflow refuses something, or cannot be reached.
    """
    try:
        client = MlflowClient(tracking_uri=_make_uri(destination))
        experiment = _get_experiment(client, source.plan.sweep_id, destination)
        runs_by_cell = _find_runs(client, experiment)
        for cell in source.iter_cells():
            yield cell.name, _export_cell(client, experiment, cell, runs_by_cell.get(cell.name, []))
    except MlflowException as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"MLflow: {first_line[:300]}") from None


def make_name(name: str) -> str:
    """Return a name that MLflow accepts, different for different names."""
    valid_name = INVALID_CHARACTERS.sub("_", name)
    if valid_name == name and len(name) <= MAX_NAME_LENGTH:
        return name
    return f"{valid_name[: MAX_NAME_LENGTH - 9]}-{digest_text(name, 8)}"


def _make_uri(destination: str) -> str:
    if "://" in destination:
        return destination
    folder = Path(destination).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder}/mlflow.db"


def _get_experiment(client: MlflowClient, name: str, destination: str) -> str:
    """Return the id of the experiment of a sweep, which is created if it does not exist."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        if experiment.lifecycle_stage != "active":
            raise UserError(f"MLflow: the experiment {name} was deleted there: restore it first")
        return str(experiment.experiment_id)
    is_server = "://" in destination
    location = None if is_server else (Path(destination).resolve() / "artifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _find_runs(client: MlflowClient, experiment: str) -> dict[str, list[Run]]:
    """Return the runs of an experiment by cell, each cell's in a fixed order."""
    runs_by_cell: dict[str, list[Run]] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            if CELL_TAG in run.data.tags:
                runs_by_cell.setdefault(run.data.tags[CELL_TAG], []).append(run)
        token = page.token
        if not token:
            break
    return {
        cell: sorted(runs, key=lambda run: str(run.info.run_id))
        for cell, runs in runs_by_cell.items()
    }


def _export_cell(
    client: MlflowClient, experiment: str, cell: ExportedCell, runs: Sequence[Run]
) -> Change:
    """Log what a cell's run lacks; of several runs, which exports at once may create, one stays."""
    for extra_run in runs[1:]:
        client.delete_run(extra_run.info.run_id)
    if runs and runs[0].data.tags.get(DIGEST_TAG) == cell.digest:
        return "unchanged"
    metrics = _list_metrics(cell)
    params = {make_name(k): v[:MAX_PARAM_LENGTH] for k, v in _list_params(cell).items()}
    run = runs[0] if runs else None
    logged = _read_points(client, run) if run is not None else set()
    if run is not None and not _can_continue(run, logged, metrics, params):
        client.delete_run(run.info.run_id)
        run, logged = None, set()
    if run is None:
        tags = {CELL_TAG: cell.name}
        run = client.create_run(experiment, _to_ms(cell.started_at), tags, run_name=cell.name)
    run_id = str(run.info.run_id)
    client.log_batch(
        run_id, tags=[RunTag("uniclip.arm", cell.arm), RunTag("uniclip.run", cell.run_id)]
    )
    _log(client, run_id, [m for m in metrics if _to_point(m) not in logged], params)
    status = STATUSES.get(cell.status, "FINISHED")
    if status in ("RUNNING", "SCHEDULED"):
        client.update_run(run_id, status=status)
    else:
        client.set_terminated(run_id, status, _to_ms(cell.end_time))
    client.set_tag(run_id, DIGEST_TAG, cell.digest)
    return "changed" if runs else "new"


def _list_metrics(cell: ExportedCell) -> list[Metric]:
    metrics = [
        Metric(make_name(name), value, _to_ms(point.time), point.step)
        for point in cell.curve
        for name, value in point.values.items()
    ]
    end_time = _to_ms(cell.end_time)
    return metrics + [
        Metric(make_name(f"scores/{name}"), value, end_time, cell.last_step)
        for name, value in cell.score_values.items()
    ]


def _list_params(cell: ExportedCell) -> dict[str, str]:
    settings = {"arm": cell.arm, **cell.config, "seed": cell.seed}
    return {name: str(value) for name, value in select_values(settings).items()}


def _read_points(client: MlflowClient, run: Run) -> Points:
    return {
        _to_point(metric)
        for name in run.data.metrics
        for metric in client.get_metric_history(run.info.run_id, name)
    }


def _can_continue(
    run: Run, logged: Points, metrics: Sequence[Metric], params: Mapping[str, str]
) -> bool:
    """Return whether a run holds nothing but what it must hold."""
    has_params = all(params.get(name) == value for name, value in run.data.params.items())
    return has_params and logged <= {_to_point(metric) for metric in metrics}


def _log(
    client: MlflowClient, run_id: str, metrics: Sequence[Metric], params: Mapping[str, str]
) -> None:
    for start in range(0, len(metrics), MAX_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])
    entries = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(entries), MAX_PARAMS):
        client.log_batch(run_id, params=entries[start : start + MAX_PARAMS])


def _to_point(metric: Metric) -> tuple[str, int, int, str]:
    """Return a metric as it is compared: a database holds no infinities but the largest floats."""
    value: Any = metric.value
    if math.isinf(value):
        value = math.copysign(sys.float_info.max, value)
    return str(metric.key), int(metric.step), int(metric.timestamp), repr(float(value))


def _to_ms(seconds: float) -> int:
    return round(1000 * seconds)
