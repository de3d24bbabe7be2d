"""trackio: what its own storage returns; each process exports once, since it has one folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from analysis.exports.source import SweepSource
from tests.helpers import exported_sweeps
from tests.helpers.exported_sweeps import expect_values, export_in_process, format_value

exported_sweeps.require_library("trackio")

READER = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
project = sys.argv[1]
records = SQLiteStorage.get_run_records(project)
print(json.dumps([
    [r["name"], SQLiteStorage.get_logs(project, run_id=r["id"]),
     SQLiteStorage.get_run_config(project, run_id=r["id"])] for r in records
], default=str))
"""


def read_runs(source: SweepSource, folder: str) -> dict[str, tuple[list[dict], dict]]:
    """Return cell -> its logs and its configuration, as trackio reads them."""
    done = subprocess.run(
        [sys.executable, "-c", READER, source.plan.sweep_id],
        env={**os.environ, "TRACKIO_DIR": folder},
        capture_output=True,
        text=True,
        check=True,
    )
    records = json.loads(done.stdout.splitlines()[-1])
    runs = {name: (logs, config) for name, logs, config in records}
    assert len(runs) == len(records)
    return runs


def read_values(source: SweepSource, folder: str) -> exported_sweeps.Values:
    values: exported_sweeps.Values = {}
    for name, (logs, _) in read_runs(source, folder).items():
        points = [
            ((key, log["step"]), format_value(float(value)))
            for log in logs
            for key, value in log.items()
            if "/" in key
        ]
        values[name] = dict(points)
        assert len(values[name]) == len(points)
    return values


def test_the_storage_has_the_numbers_of_the_store(tmp_path: Path) -> None:
    """Also after a second export, a killed one, one more step and a run started afresh."""
    source, folder = exported_sweeps.make_source(tmp_path / "store"), str(tmp_path / "to")
    export_in_process("trackio", source, folder, kill=True)
    assert export_in_process("trackio", source, folder).count("new") >= 1
    assert read_values(source, folder) == expect_values(source)
    assert export_in_process("trackio", source, folder).count("unchanged") == 3
    assert read_values(source, folder) == expect_values(source)
    exported_sweeps.train_on(source, 2000)
    assert export_in_process("trackio", source, folder).splitlines().count("full/0 changed") == 1
    assert read_values(source, folder) == expect_values(source)
    exported_sweeps.rewrite_history(source)
    export_in_process("trackio", source, folder)
    assert read_values(source, folder) == expect_values(source)
    config = read_runs(source, folder)["full/0"][1]
    assert (config["arm"], config["seed"], config["status"]) == ("full", 0, "complete")
