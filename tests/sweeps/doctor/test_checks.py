"""Each check of the doctor reports what it finds, with a way to mend it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sweeps.claims import process
from sweeps.costs.audit_scope import compute_audit_key
from sweeps.doctor import checks
from sweeps.doctor.context import DoctorContext
from tests.helpers import dataset_trees
from tests.helpers.doctor_context import build_context
from uniclip.io.atomic import append_jsonl, atomic_write
from uniclip.store import AuditCheck, AuditRecord
from uniclip.store.json_io import to_json_bytes


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


def write_audit(context: DoctorContext, world_size: int | None) -> None:
    """Store a passed audit of the planned arms, by so many processes."""
    assert context.resolved_plan is not None
    plan = context.resolved_plan.plan
    audit_key = compute_audit_key(plan)
    audit = AuditRecord(
        checks=(),
        training_hash=audit_key.training_hash,
        device_type=audit_key.device_type,
        world_size=world_size,
    )
    atomic_write(context.store.get_sweep(plan.sweep_id).audit_path, to_json_bytes(audit))


@pytest.mark.parametrize(("recorded", "num_probes"), [(1, 1), (2, 0), (None, 0)])
def test_the_processes_of_a_run_measure_the_arms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: int | None, num_probes: int
) -> None:
    context = build_context(tmp_path, "launcher.tasks_per_node=2")
    started = list[str]()
    write_audit(context, recorded)

    def end_without_audit(module: str, *arguments: str) -> tuple[str, str]:
        started.append(arguments[-1])
        return "", "it was killed"

    monkeypatch.setattr(process, "run_in_subprocess", end_without_audit)
    (diagnostic,) = checks.check_audit(context)
    assert started == ["2"] * num_probes
    assert diagnostic.level == ("problem" if num_probes else "ok")


@pytest.mark.parametrize(("recorded", "level"), [(4, "warning"), (8, "ok")])
def test_an_audit_on_a_cluster_is_that_of_all_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: int, level: str
) -> None:
    words = ("launcher=slurm", "launcher.nodes=2", "launcher.tasks_per_node=4")
    context = build_context(tmp_path, *words)
    write_audit(context, recorded)
    monkeypatch.setattr(process, "run_in_subprocess", lambda *a: pytest.fail("a probe here"))
    (diagnostic,) = checks.check_audit(context)
    assert diagnostic.level == level


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
