"""Doctor, `plan --probe` and max_gpu_hours report problems, and run no cell."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablations.plan.plan import build_plan
from sweeps.config import request
from sweeps.costs.audit_scope import compute_audit_key
from sweeps.doctor import checks, doctor
from sweeps.doctor import context as context_module
from sweeps.doctor.context import DoctorContext
from sweeps.doctor.diagnostic import Diagnostic, ok
from sweeps.doctor.slurm_cluster import JobRequirements
from tests.helpers import dataset_trees
from tests.helpers.command_line import TINY, Driver
from uniclip.errors import UserError
from uniclip.io.atomic import append_jsonl, atomic_write, read_jsonl
from uniclip.store import AuditCheck, AuditRecord
from uniclip.store.json_io import to_json_bytes

ARMS = ("arms=[full,clip]", "seeds=2", "train.steps=20")


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


def build_context(folder: Path, *words: str) -> DoctorContext:
    sweep_request = request.parse_request([*TINY, *ARMS, f"store={folder}", *words])
    resolved_plan = build_plan(sweep_request.plan_request)
    config = resolved_plan.configs[resolved_plan.plan.reference]
    return DoctorContext(
        settings=sweep_request.settings,
        config=config,
        store=sweep_request.store,
        resolved_plan=resolved_plan,
        submit_test_job=False,
    )


def build_requirements(context: DoctorContext) -> JobRequirements:
    assert context.slurm_launcher is not None
    return context_module.build_requirements(context, context.slurm_launcher)


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


def test_failed_manipulation_check_is_a_problem(tmp_path: Path) -> None:
    context = build_context(tmp_path)
    assert context.resolved_plan is not None
    sweep = context.store.get_sweep(context.resolved_plan.plan.sweep_id)
    failed = AuditCheck(arm="clip", name="aware is off", passed=False, detail="x")
    audit_key = compute_audit_key(context.resolved_plan.plan)
    audit = AuditRecord(
        checks=(failed, dataclasses.replace(failed, passed=True)),
        training_hash=audit_key.training_hash,
        device_type=audit_key.device_type,
    )
    atomic_write(sweep.audit_path, to_json_bytes(audit))
    first, second = checks.check_audit(context)
    assert (first.level, "clip: aware is off" in first.message) == ("problem", True)
    assert "1 of 2" in second.message


def test_missing_audit_on_a_cluster_is_a_warning(tmp_path: Path) -> None:
    (diagnostics,) = checks.check_audit(build_context(tmp_path, "launcher=slurm"))
    assert (diagnostics.check, diagnostics.level, diagnostics.message) == (
        "manipulation check",
        "warning",
        "not run yet",
    )
    assert "plan --probe" in diagnostics.fix


def test_failed_probe_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcuda.so.1: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (diagnostics,) = checks.check_audit(build_context(tmp_path / "store"))
    assert (diagnostics.check, diagnostics.level) == ("manipulation check", "problem")
    assert diagnostics.message.endswith(
        "ended without a result: ImportError: libcuda.so.1: no such file"
    )


def test_data_set_with_unexpected_counts_or_corrupt_is_a_warning(tmp_path: Path) -> None:
    dataset_trees.cifar100(tmp_path)
    context = dataclasses.replace(
        build_context(tmp_path, f"data_root={tmp_path}"), resolved_plan=None
    )
    for damage, text in ((None, "train 6 (published: 50,000)"), (b"\x80\x02}q", "test")):
        if damage is not None:
            (tmp_path / "cifar-100-python/test").write_bytes(damage)
        first, last = checks.check_evaluation_datasets(context)
        assert (first.check, first.level) == ("data sets", "warning")
        assert first.message.startswith("cifar100: ")
        assert text in first.message
        assert f"data_root={tmp_path}" in first.fix
        assert last.level == "ok"


def test_data_set_without_training_images_is_a_warning(tmp_path: Path) -> None:
    dataset_trees.imagenet(tmp_path)
    (tmp_path / "imagenet/train").rename(tmp_path / "elsewhere")
    context = build_context(tmp_path, f"data_root={tmp_path}", "benchmark=[scenes,imagenet]")
    diagnostics = {f.message: f for f in checks.check_evaluation_datasets(context)}
    diagnostic = diagnostics["imagenet: its linear probe will be n/a"]
    assert (diagnostic.check, diagnostic.level) == ("data sets", "warning")
    assert "imagenet/train" in diagnostic.fix


def test_too_small_disk_is_a_problem(tmp_path: Path) -> None:
    context = build_context(tmp_path)
    assert context.resolved_plan is not None
    sweep = context.store.get_sweep(context.resolved_plan.plan.sweep_id)
    (unmeasured, _) = checks.check_disk_space(context)
    assert (unmeasured.level, "not measured" in unmeasured.message) == ("ok", True)
    for arm in ("full", "clip"):
        times = {"seconds_per_step": 1, "setup_and_eval_seconds": 1}
        sizes = {"parameters": 1e15, "checkpoint_bytes": 1e15}
        append_jsonl(sweep.probes_path, {"arm": arm, "device": "cpu", **times, **sizes})
    (too_small, _) = checks.check_disk_space(context)
    assert (too_small.level, "GB needed (4 runs)" in too_small.message) == ("problem", True)


def test_store_that_cannot_be_created_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (diagnostics,) = checks.check_store_folder(build_context(tmp_path / "file" / "store"))
    assert (diagnostics.level, "cannot be written" in diagnostics.message) == ("problem", True)


def test_submit_requires_a_cluster(probed: Driver) -> None:
    assert "launcher=slurm" in probed.run("--submit", command="doctor", status=2)


def test_requirements_follow_the_launcher(tmp_path: Path) -> None:
    context = build_context(
        tmp_path, "launcher=slurm", "launcher.partition=gpu", "launcher.timeout_min=30"
    )
    for arm in ("full", "clip"):
        assert context.resolved_plan is not None
        probe = {"arm": arm, "device": "cpu", "seconds_per_step": 2.0, "setup_and_eval_seconds": 1}
        sweep = context.store.get_sweep(context.resolved_plan.plan.sweep_id)
        append_jsonl(sweep.probes_path, {**probe, "checkpoint_bytes": 5e8})
    requirements = build_requirements(context)
    assert {"--partition=gpu", "--time=30", "--requeue"} <= set(requirements.sbatch_options)
    assert not any("hold" in option or "setup" in option for option in requirements.sbatch_options)
    assert (requirements.num_jobs, requirements.timeout_min, requirements.save_seconds) == (
        4,
        30,
        7.0,
    )
    assert (requirements.signal_delay_s, requirements.gpu_mismatch) == (120, "")
    idle_context = build_context(tmp_path, "launcher=slurm", "launcher.gpus_per_node=8")
    assert "8 GPUs per node" in build_requirements(idle_context).gpu_mismatch
    assert dataclasses.replace(context, resolved_plan=None).list_open_runs() == []
