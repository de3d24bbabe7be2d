"""MLflow: a real server on loopback, and what its own client reads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.exports.source import SweepSource
from tests.helpers import exported_sweeps
from tests.helpers.command_line import wait_until
from tests.helpers.exported_sweeps import (
    count_changes,
    expect_values,
    export_in_process,
    format_value,
)
from uniclip.errors import UserError

exported_sweeps.require_library("mlflow")
exported_sweeps.require_library("flask")  # of the whole of mlflow, which has the server


def is_answering(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start `mlflow server` and return its URL."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = f"sqlite:///{folder}/mlflow.db"
    options = ["--backend-store-uri", database, "--host", "127.0.0.1", "--port", str(port)]
    child = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *options, "--workers", "1"],
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_answering(url) or child.poll() is not None)
        assert child.poll() is None
        yield url
    finally:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait()


def read_values(source: SweepSource, uri: str) -> exported_sweeps.Values:
    """Return what MLflow's client reads; two runs of a cell or points of a step are an error."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(source.plan.sweep_id)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    values: exported_sweeps.Values = {}
    for run in runs:
        points = [
            ((name, metric.step), format_value(metric.value))
            for name in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, name)
        ]
        values[run.info.run_name] = dict(points)
        assert len(values[run.info.run_name]) == len(points)
        assert run.data.params["arm"] == run.data.tags["uniclip.arm"]
    assert len(values) == len(runs)
    return values


def expect_mlflow_values(source: SweepSource) -> exported_sweeps.Values:
    """Return what a database holds: the largest float instead of an infinity."""
    largest = format_value(sys.float_info.max)
    return {
        cell: {key: largest if value == "inf" else value for key, value in values.items()}
        for cell, values in expect_values(source).items()
    }


def test_the_client_reads_the_numbers_of_the_store(server: str, tmp_path: Path) -> None:
    """Also after a killed export, a second one, one more step and a run started afresh."""
    source = exported_sweeps.make_source(tmp_path / "store")
    export_in_process("mlflow", source, server, kill=True)
    count_changes("mlflow", source, server)
    assert read_values(source, server) == expect_mlflow_values(source)
    assert count_changes("mlflow", source, server) == {"unchanged": 3}
    exported_sweeps.train_on(source, 2000)
    assert count_changes("mlflow", source, server) == {"unchanged": 2, "changed": 1}
    assert read_values(source, server) == expect_mlflow_values(source)
    exported_sweeps.rewrite_history(source)
    assert count_changes("mlflow", source, server) == {"unchanged": 2, "changed": 1}
    assert read_values(source, server) == expect_mlflow_values(source)


def test_half_a_run_is_completed_and_a_second_one_is_deleted(server: str, tmp_path: Path) -> None:
    """As exports leave them that are killed in a run, or that run at once."""
    from mlflow.tracking import MlflowClient

    source = exported_sweeps.make_source(tmp_path / "store")
    count_changes("mlflow", source, server)
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name(source.plan.sweep_id).experiment_id
    cell = next(source.iter_cells())
    for _ in range(2):
        run = client.create_run(experiment, tags={"uniclip.cell": cell.name}, run_name=cell.name)
        point = cell.curve[0]
        name, value = next(iter(point.values.items()))
        client.log_metric(run.info.run_id, name, value, round(1000 * point.time), point.step)
    count_changes("mlflow", source, server)
    assert read_values(source, server) == expect_mlflow_values(source)


def test_a_server_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    source = exported_sweeps.make_source(tmp_path / "store")
    with pytest.raises(UserError, match=r"MLflow: .*127\.0\.0\.1") as caught:
        count_changes("mlflow", source, "http://127.0.0.1:9")
    assert "\n" not in str(caught.value)
