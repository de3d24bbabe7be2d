"""`make bench` runs, and all forms of a loss have the same value. No test of what it measures."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import pytest
import torch

from tests.helpers import ROOT

FORMS = {"dense", "streamed", "checkpoint"}


@pytest.fixture
def benchmark():
    """A module of the benchmarks by its name."""
    return lambda name: importlib.import_module(f"tests.benchmarks.{name}")


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.benchmarks", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_all_forms_of_an_objective_have_the_same_loss_and_gradient(tmp_path):
    result = bench("objectives", "--quick", "--out", str(tmp_path))
    assert result.returncode == 0, result.stderr[-500:]
    assert (tmp_path / "objectives.md").read_text() in result.stdout
    rows = json.loads((tmp_path / "objectives.json").read_text())["rows"]
    groups = {}
    for row in rows:
        groups.setdefault((row["objective"], row["tau"], row["N"]), []).append(row)
    assert len(groups) == 2 * 8  # two sizes; seven objectives, MP-NCE at two temperatures
    for (objective, _, _), group in groups.items():
        forms = {row["form"] for row in group}
        if objective == "siglip":  # nothing in it could be recomputed from a checkpoint
            assert forms == {*FORMS, "open_clip"} - {"checkpoint"}
        else:
            assert forms == FORMS | ({"open_clip"} if objective == "clip" else set())
        for row in group:
            assert row["loss"] == pytest.approx(group[0]["loss"], rel=1e-4)
            assert row["gradient"] == pytest.approx(group[0]["gradient"], rel=1e-3)
            assert row["s"] > 0
            assert row["share of floor"] > 0


def test_an_unknown_subject_is_named():
    result = bench("speed")
    assert result.returncode == 2
    assert "no subject 'speed'; there are views, objectives" in result.stderr


def test_an_unknown_objective_is_named(benchmark, tmp_path):
    options = benchmark("table").Options(tmp_path, objectives=("mpnce",))
    with pytest.raises(SystemExit, match="nothing is called 'mpnce'; there are mp_nce"):
        benchmark("objectives").run(options)


def test_the_floor_counts_the_pairs_that_are_compared(benchmark):
    case = benchmark("forms").Case
    assert case("mp_nce", "dense", 10, 0.07, width=2).floor == 4 * 30**2 * 2
    # Each of the three pairs of slots meets in 10 * 10; CLIP has one such pair.
    assert case("multi_view_info_nce", "dense", 10, 0.07, width=2).floor == 3 * 8 * 100 * 2
    assert case("clip", "dense", 10, 0.07, width=2).floor == 8 * 100 * 2


def test_a_case_measured_in_a_subprocess_has_the_same_loss(benchmark, monkeypatch):
    case = benchmark("forms").Case("mp_nce", "streamed", 16, 0.07, width=8, chunk=10)
    objectives = benchmark("objectives")
    row = objectives.measure_in_subprocess(case)
    expected = objectives.measure_case(case, objectives.QUICK)
    assert list(row) == list(expected)
    assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    monkeypatch.setattr(sys, "executable", "false")
    assert objectives.measure_in_subprocess(case)["failed"] == "no error message"


def test_extra_memory_is_that_of_the_step_alone(benchmark):
    run_once = benchmark("measure").run_once
    existing = torch.ones(2**24)  # 64 MiB, allocated before the step
    _, extra = run_once(lambda: existing.mul(2).sum())
    assert 60 < extra < 100
    assert run_once(lambda: existing.sum())[1] < 30


def test_orders_of_an_epoch_are_measured_side_by_side(benchmark, tmp_path):
    rows = benchmark("epoch_order").run(benchmark("table").Options(tmp_path, quick=True)).rows
    assert [row["order"].split(":")[0] for row in rows] == [
        "uniclip",
        "uniclip",
        "numpy",
        "torch.randperm",
    ]
    assert all(row["4096 samples, CPU ms"] > 0 for row in rows)


@pytest.mark.slow
def test_plan_and_start_are_measured_on_an_index_without_pictures(benchmark, tmp_path):
    rows = benchmark("index_scale").run(benchmark("table").Options(tmp_path, quick=True)).rows
    assert [row["what"].split(":")[0] for row in rows] == [
        "plan, first",
        "plan",
        "start and ten batches, first",
        "start and ten batches",
    ]
    assert all(row["CPU s"] > 0 and row["peak of both, GiB"] > 0 for row in rows)


@pytest.mark.soak
@pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="a minute: `make soak`")
def test_a_large_table_is_read_planned_and_opened(benchmark, tmp_path):
    rows = benchmark("table_scale").run(benchmark("table").Options(tmp_path, quick=True)).rows
    assert [row["what"].split(":")[0] for row in rows] == [
        "the imports alone",
        "reading the table, once",
        "plan, first",
        "plan",
        "start and ten batches",
        "a forked worker after ten batches",
    ]
    assert all(row["CPU s"] > 0 and row["peak of both, GiB"] > 0 for row in rows[:-1])


def test_the_front_door_is_measured_over_cells_of_every_state(benchmark, tmp_path):
    rows = list(benchmark("overhead").measure_front_door(tmp_path, 22, 11))
    assert [row["at most"] for row in rows] == [3.0, 2.0, 3.0, 3, 3, 4, 3]
    assert {row.get("seconds", 1.0) > 0 for row in rows} == {True}
    operations = {row["what"].split()[-2]: row["file operations"] for row in rows[3:]}
    assert set(operations) == {"pending", "complete", "running", "interrupted"}
    # The last loss of a running cell is read from its metrics.
    operations["running"] -= 1
    assert max(operations.values()) < 3.2, "three a cell, and one for the plan"


def test_two_checkouts_are_measured_side_by_side(benchmark, tmp_path):
    front_door = benchmark("front_door")
    commands = front_door.write_stores(ROOT, tmp_path / "stores", (11, 11, 1))
    assert list(commands) == ["status of 11 cells", "plan of 11 cells", "report of 11 cells"]
    both = {"uniclip": ROOT, "baseline": ROOT}
    status = commands["status of 11 cells"]
    row = front_door.measure("status", dict.fromkeys(both, status), both, rounds=1)
    assert row["baseline / uniclip"] == row["baseline, seconds"] / row["uniclip, seconds"] > 0
