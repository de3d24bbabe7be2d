"""Doctor, `plan --probe` and max_gpu_hours report problems, and run no cell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.doctor import checks, doctor
from sweeps.doctor.context import DoctorContext
from sweeps.doctor.diagnostic import Diagnostic, ok
from tests.helpers.command_line import Driver
from tests.helpers.doctor_context import ARMS
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """A sweep that was probed and not run."""
    driver = Driver(tmp_path_factory.mktemp("probed") / "store", *ARMS)
    text = driver.run("--probe", command="plan")
    assert "not measured" not in text
    return driver


def read_diagnostics(driver: Driver, *words: str, status: int) -> dict[str, tuple[str, str]]:
    """Return check -> level and message; the worst one of a check with several."""
    text = json.loads(driver.run("--json", *words, command="doctor", status=status))
    order = ("ok", "warning", "problem")
    by_level = sorted(text, key=lambda f: order.index(f["level"]))
    return {f["check"]: (f["level"], f["message"]) for f in by_level}


def test_probe_measures_and_runs_no_cell(probed: Driver) -> None:
    assert probed.endings() == dict.fromkeys(probed.endings(), [])
    probes = read_jsonl(probed.store.get_sweep(probed.plan().sweep_id).probes_path)
    assert {p["arm"] for p in probes} == {"full", "clip"}
    for probe in probes:
        fastest, slowest = probe["step_seconds_range"]
        assert 0 < fastest <= probe["seconds_per_step"] <= slowest
        assert probe["checkpoint_bytes"] > 8 * probe["parameters"], "weights and moments"
        assert probe["peak_memory_bytes"] > 1e8, "torch is in it"
    (cell, *_) = json.loads(probed.run("--json", command="plan"))
    price = cell["cost_estimate"]
    assert 0 < price["low"] <= price["seconds"] <= price["high"]
    assert price["source"] == "probe"


def test_sweep_above_the_limit_is_refused_before_its_first_cell(probed: Driver) -> None:
    text = probed.run("max_gpu_hours=0.000001", status=2)
    assert text.splitlines()[-1].startswith("sweep.py: max_gpu_hours=1e-06: 4 runs would take")
    assert probed.endings() == dict.fromkeys(probed.endings(), [])


def test_unmeasured_sweep_is_measured_before_it_is_refused(tmp_path: Path) -> None:
    arms, seeds, steps = ARMS
    driver = Driver(tmp_path / "store", arms, steps)
    assert "4 runs would take" in driver.run("max_gpu_hours=0.000001", seeds, status=2)
    assert driver.endings() == dict.fromkeys(driver.endings(), [])
    folder = driver.store.get_sweep(driver.plan().sweep_id)
    assert not folder.cost_estimates_path.exists(), "no estimate was recorded"
    text = driver.run("max_gpu_hours=0.000001", "seeds=1", status=2)
    assert "2 runs would take" in text, "fewer seeds, fewer runs"


def test_passed_checks_are_reported(probed: Driver) -> None:
    diagnostics = read_diagnostics(probed, status=0)
    assert diagnostics["manipulation check"][0] == "ok"
    assert diagnostics["runtime.device=cpu"][0] == "ok"
    level, text = diagnostics["disk space"]
    assert (level, "needed (4 runs)" in text) == ("ok", True)
    assert not list(probed.folder.glob(".scratch*"))


def test_problems_do_not_prevent_other_checks(probed: Driver) -> None:
    missing_folder = probed.folder.parent / "absent"
    words = ("runtime.device=cuda:9", "benchmark=[scenes,cifar10]", f"data_root={missing_folder}")
    diagnostics = read_diagnostics(probed, *words, status=1)
    assert diagnostics["runtime.device=cuda:9"][0] == "problem"
    level, text = diagnostics["data sets"]
    assert (level, "cifar10" in text) == ("warning", True)
    assert diagnostics["fsync"][0] == "ok"


def test_missing_training_data_are_reported(tmp_path: Path) -> None:
    words = ["ablation=components", "data=csv", f"data.path={tmp_path}/no.csv"]
    first = next(doctor.collect_diagnostics([*words, f"store={tmp_path}/store"]))
    assert (first.level, "no.csv" in first.message) == ("problem", True)


def test_invalid_plan_does_not_prevent_other_checks(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", "arms=[nope]")
    diagnostics = read_diagnostics(driver, status=1)
    assert diagnostics["plan and training data"][0] == "problem"
    assert "unknown arm 'nope'" in diagnostics["plan and training data"][1]
    assert {"runtime.device=cpu", "fsync", "disk space"} <= diagnostics.keys()
    assert list(tmp_path.iterdir()) == [], "no folder is left behind"


def test_invalid_configuration_is_the_only_diagnostic(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", "train.steps=-3")
    assert read_diagnostics(driver, status=1).keys() == {"plan and training data"}
    assert "1 problems, 0 warnings, 0 ok" in driver.run(command="doctor", status=1)


def test_store_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    diagnostics = read_diagnostics(Driver(tmp_path / "store", *ARMS), status=1)
    assert (diagnostics["store"][0], "cannot be written" in diagnostics["store"][1]) == (
        "problem",
        True,
    )
    assert diagnostics["runtime.device=cpu"][0] == "ok"
    assert (tmp_path / "store").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError("the disk is gone"), UserError("x is damaged")])
def test_error_in_a_check_is_a_problem_and_the_next_check_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def store_folder(context: DoctorContext) -> Iterator[Diagnostic]:
        yield ok("store", "so far")
        raise error

    monkeypatch.setattr(doctor, "CHECKS", (store_folder, checks.check_disk_space))
    first, second, third, *_ = doctor.collect_diagnostics([f"store={tmp_path}/store"])
    assert first.message == "so far"
    assert (second.check, second.level, second.message) == ("store folder", "problem", str(error))
    assert third.check == "disk space"


def test_submit_requires_a_cluster(probed: Driver) -> None:
    assert "launcher=slurm" in probed.run("--submit", command="doctor", status=2)
