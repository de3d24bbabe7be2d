"""Doctor, plan --probe, max_gpu_hours: what is planted is found, and no cell runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablations.plan.plan import build_plan
from sweeps.config import request
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig
from sweeps.costs import limit
from sweeps.costs.audit_scope import compute_audit_key
from sweeps.doctor import doctor
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
    """A sweep that was probed, and nothing else."""
    driver = Driver(tmp_path_factory.mktemp("probed") / "store", *ARMS)
    said = driver.run("--probe", command="plan")
    assert "not measured" not in said
    return driver


def findings(driver: Driver, *words: str, status: int) -> dict[str, tuple[str, str]]:
    """Check -> level and words; a check that came more than once, by its worst."""
    said = json.loads(driver.run("--json", *words, command="doctor", status=status))
    order = ("ok", "warning", "problem")
    by_level = sorted(said, key=lambda f: order.index(f["level"]))
    return {f["check"]: (f["level"], f["message"]) for f in by_level}


def patient(folder: Path, *words: str) -> doctor.DoctorContext:
    asked = request.parse_request([*TINY, *ARMS, f"store={folder}", *words])
    planned = build_plan(asked.plan_request)
    config = planned.configs[planned.plan.reference]
    return doctor.DoctorContext(
        settings=asked.settings,
        config=config,
        store=asked.store,
        resolved_plan=planned,
        submit_test_job=False,
    )


def build_requirements(context: doctor.DoctorContext) -> JobRequirements:
    assert context.slurm_launcher is not None
    return doctor.build_requirements(context, context.slurm_launcher)


def test_a_probe_measures_and_runs_nothing(probed: Driver) -> None:
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


def test_a_sweep_over_its_budget_is_refused_before_its_first_cell(probed: Driver) -> None:
    said = probed.run("max_gpu_hours=0.000001", status=2)
    assert said.splitlines()[-1].startswith("sweep.py: max_gpu_hours=1e-06: 4 runs would take")
    assert probed.endings() == dict.fromkeys(probed.endings(), [])


def test_an_unmeasured_sweep_is_measured_before_it_is_refused(tmp_path: Path) -> None:
    arms, seeds, steps = ARMS
    driver = Driver(tmp_path / "store", arms, steps)
    assert "4 runs would take" in driver.run("max_gpu_hours=0.000001", seeds, status=2)
    assert driver.endings() == dict.fromkeys(driver.endings(), [])
    folder = driver.store.get_sweep(driver.plan().sweep_id)
    assert not folder.cost_estimates_path.exists(), "of no cell was anything foretold"
    said = driver.run("max_gpu_hours=0.000001", "seeds=1", status=2)
    assert "2 runs would take" in said, "fewer seeds are fewer"


def test_what_is_well_is_said_to_be(probed: Driver) -> None:
    found = findings(probed, status=0)
    assert found["manipulation check"][0] == "ok"
    assert found["runtime.device=cpu"][0] == "ok"
    level, said = found["disk space"]
    assert (level, "needed (4 runs)" in said) == ("ok", True)
    assert not list(probed.folder.glob(".scratch*"))


def test_what_is_wrong_is_found_and_the_rest_is_looked_at_all_the_same(probed: Driver) -> None:
    absent = probed.folder.parent / "absent"
    words = ("runtime.device=cuda:9", "benchmark=[scenes,cifar10]", f"data_root={absent}")
    found = findings(probed, *words, status=1)
    assert found["runtime.device=cuda:9"][0] == "problem"
    level, said = found["data sets"]
    assert (level, "cifar10" in said) == ("warning", True)
    assert found["fsync"][0] == "ok"


def test_missing_training_data_are_found(tmp_path: Path) -> None:
    words = ["ablation=components", "data=csv", f"data.path={tmp_path}/no.csv"]
    first = next(doctor.collect_diagnostics([*words, f"store={tmp_path}/store"]))
    assert (first.level, "no.csv" in first.message) == ("problem", True)


def test_where_the_plan_is_wrong_the_rest_is_looked_at_all_the_same(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", "arms=[nope]")
    found = findings(driver, status=1)
    assert found["plan and training data"][0] == "problem"
    assert "unknown arm 'nope'" in found["plan and training data"][1]
    assert {"runtime.device=cpu", "fsync", "disk space"} <= found.keys()
    assert list(tmp_path.iterdir()) == [], "nothing is left where nothing was"


def test_where_there_is_no_run_to_look_at_the_finding_stands_alone(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", "train.steps=-3")
    assert findings(driver, status=1).keys() == {"plan and training data"}
    assert "1 problems, 0 warnings, 0 ok" in driver.run(command="doctor", status=1)


def test_a_store_that_is_a_file_is_one_problem_among_the_findings(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    found = findings(Driver(tmp_path / "store", *ARMS), status=1)
    assert (found["store"][0], "cannot be written" in found["store"][1]) == ("problem", True)
    assert found["runtime.device=cpu"][0] == "ok"
    assert (tmp_path / "store").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError("the disk is gone"), UserError("x is damaged")])
def test_a_check_that_stumbles_is_a_problem_and_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def store_folder(ill: doctor.DoctorContext) -> Iterator[Diagnostic]:
        yield ok("store", "so far")
        raise error

    monkeypatch.setattr(doctor, "CHECKS", (store_folder, doctor.check_disk_space))
    first, second, third, *_ = doctor.collect_diagnostics([f"store={tmp_path}/store"])
    assert first.message == "so far"
    assert (second.check, second.level, second.message) == ("store folder", "problem", str(error))
    assert third.check == "disk space"


def test_a_switch_that_switches_nothing_is_found(tmp_path: Path) -> None:
    ill = patient(tmp_path)
    assert ill.resolved_plan is not None
    sweep = ill.store.get_sweep(ill.resolved_plan.plan.sweep_id)
    failed = AuditCheck(arm="clip", name="aware is off", passed=False, detail="x")
    audit_key = compute_audit_key(ill.resolved_plan.plan)
    audit = AuditRecord(
        checks=(failed, dataclasses.replace(failed, passed=True)),
        training_hash=audit_key.training_hash,
        device_type=audit_key.device_type,
    )
    atomic_write(sweep.audit_path, to_json_bytes(audit))
    first, second = doctor.check_audit(ill)
    assert (first.level, "clip: aware is off" in first.message) == ("problem", True)
    assert "1 of 2" in second.message


def test_switches_that_are_not_proven_are_told(tmp_path: Path) -> None:
    (found,) = doctor.check_audit(patient(tmp_path, "launcher=slurm"))
    assert (found.check, found.level, found.message) == (
        "manipulation check",
        "warning",
        "not run yet",
    )
    assert "plan --probe" in found.fix


def test_a_probe_that_fails_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcuda.so.1: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = doctor.check_audit(patient(tmp_path / "store"))
    assert (found.check, found.level) == ("manipulation check", "problem")
    assert found.message.endswith("ended without a result: ImportError: libcuda.so.1: no such file")


def test_a_published_set_of_other_numbers_or_damaged_is_found(tmp_path: Path) -> None:
    dataset_trees.cifar100(tmp_path)
    ill = dataclasses.replace(patient(tmp_path, f"data_root={tmp_path}"), resolved_plan=None)
    for damage, said in ((None, "train 6 (published: 50,000)"), (b"\x80\x02}q", "test")):
        if damage is not None:
            (tmp_path / "cifar-100-python/test").write_bytes(damage)
        first, last = doctor.check_evaluation_datasets(ill)
        assert (first.check, first.level) == ("data sets", "warning")
        assert first.message.startswith("cifar100: ")
        assert said in first.message
        assert f"data_root={tmp_path}" in first.fix
        assert last.level == "ok"


def test_a_set_without_training_pictures_is_told(tmp_path: Path) -> None:
    dataset_trees.imagenet(tmp_path)
    (tmp_path / "imagenet/train").rename(tmp_path / "elsewhere")
    ill = patient(tmp_path, f"data_root={tmp_path}", "benchmark=[scenes,imagenet]")
    found = {f.message: f for f in doctor.check_evaluation_datasets(ill)}
    lacking = found["imagenet: its linear probe will be n/a"]
    assert (lacking.check, lacking.level) == ("data sets", "warning")
    assert "imagenet/train" in lacking.fix


def test_a_disk_that_is_too_small_is_found(tmp_path: Path) -> None:
    ill = patient(tmp_path)
    assert ill.resolved_plan is not None
    sweep = ill.store.get_sweep(ill.resolved_plan.plan.sweep_id)
    (unknown, _) = doctor.check_disk_space(ill)
    assert (unknown.level, "not measured" in unknown.message) == ("ok", True)
    for arm in ("full", "clip"):
        times = {"seconds_per_step": 1, "setup_and_eval_seconds": 1}
        sizes = {"parameters": 1e15, "checkpoint_bytes": 1e15}
        append_jsonl(sweep.probes_path, {"arm": arm, "device": "cpu", **times, **sizes})
    (small, _) = doctor.check_disk_space(ill)
    assert (small.level, "GB needed (4 runs)" in small.message) == ("problem", True)


def test_a_store_that_cannot_be_made_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = doctor.check_store_folder(patient(tmp_path / "file" / "store"))
    assert (found.level, "cannot be written" in found.message) == ("problem", True)


def test_submit_is_for_clusters(probed: Driver) -> None:
    assert "launcher=slurm" in probed.run("--submit", command="doctor", status=2)


@pytest.mark.parametrize(
    ("launcher", "device", "gpus"),
    [
        (LocalLauncherConfig(), "cpu", 0),
        (LocalLauncherConfig(), "cuda", 1),
        (SlurmLauncherConfig(), "cpu", 0),
        (SlurmLauncherConfig(nodes=2, gpus_per_node=8), "cuda", 16),
        (SlurmLauncherConfig(nodes=2, gres="gpu:3"), "cuda", 6),
        (SlurmLauncherConfig(gres="gpu:a100:4"), "cuda", 4),
        (SlurmLauncherConfig(gres="gpu"), "cuda", 1),
        (SlurmLauncherConfig(gres="gpu:a100"), "cuda", 1),
        (SlurmLauncherConfig(gres="tmpfs:8G,gpu:2"), "cuda", 2),
        (SlurmLauncherConfig(gres="license:4"), "cpu", 0),
    ],
)
def test_gpus_of_a_run_are_counted(launcher: object, device: str, gpus: int) -> None:
    assert limit.count_gpus_per_run(launcher, device) == gpus


def test_a_cluster_is_asked_for_what_the_launcher_asks(tmp_path: Path) -> None:
    ill = patient(tmp_path, "launcher=slurm", "launcher.partition=gpu", "launcher.timeout_min=30")
    for arm in ("full", "clip"):
        assert ill.resolved_plan is not None
        probe = {"arm": arm, "device": "cpu", "seconds_per_step": 2.0, "setup_and_eval_seconds": 1}
        sweep = ill.store.get_sweep(ill.resolved_plan.plan.sweep_id)
        append_jsonl(sweep.probes_path, {**probe, "checkpoint_bytes": 5e8})
    need = build_requirements(ill)
    assert {"--partition=gpu", "--time=30", "--requeue"} <= set(need.sbatch_options)
    assert not any("hold" in option or "setup" in option for option in need.sbatch_options)
    assert (need.num_jobs, need.timeout_min, need.save_seconds) == (4, 30, 7.0)
    assert (need.signal_delay_s, need.gpu_mismatch) == (120, "")
    idle = patient(tmp_path, "launcher=slurm", "launcher.gpus_per_node=8")
    assert "8 GPUs per node" in build_requirements(idle).gpu_mismatch
    assert dataclasses.replace(ill, resolved_plan=None).list_open_runs() == []
