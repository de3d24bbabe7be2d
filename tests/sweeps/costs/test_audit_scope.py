"""An audit is valid for the training code and the device type that it was made with."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.config.schema import SweepConfig
from sweeps.controller.controller import SweepController
from sweeps.costs.audit_scope import AuditKey, compute_audit_key, has_audit, has_valid_audit
from sweeps.monitor.display import Display
from tests.helpers import ROOT
from tests.helpers.command_line import TINY, Driver
from tests.helpers.trivial_sweep import pass_audit, planned
from uniclip.identity import PACKAGES
from uniclip.io.atomic import atomic_write, read_jsonl
from uniclip.store import AuditCheck, AuditRecord, Store
from uniclip.store.json_io import to_json_bytes

ARMS = ("arms=[full,clip]", "seeds=1", "train.steps=20")


def test_audit_is_valid_for_its_code_and_device_type(tmp_path: Path) -> None:
    plan, folder = planned(1, 0.0).plan, Store(tmp_path).get_sweep("s")
    audit_key = compute_audit_key(plan)
    assert not has_audit(folder, audit_key)
    atomic_write(folder.audit_path, to_json_bytes({"checks": []}))
    assert not has_audit(folder, audit_key), "an audit without a training hash"
    atomic_write(
        folder.audit_path,
        to_json_bytes(
            AuditRecord(checks=(), training_hash=audit_key.training_hash, device_type="cpu")
        ),
    )
    assert has_valid_audit(folder, audit_key)
    assert not has_audit(folder, dataclasses.replace(audit_key, training_hash="0" * 16))
    assert not has_audit(folder, dataclasses.replace(audit_key, device="cuda:1"))
    failed_check = AuditCheck(arm="only", name="audit error", passed=False, detail="no picture")
    atomic_write(
        folder.audit_path,
        to_json_bytes(AuditRecord(checks=(failed_check,), training_hash="t", device_type="cuda")),
    )
    on_gpu = AuditKey(training_hash="t", device="cuda:1")
    assert (has_audit(folder, on_gpu), has_valid_audit(folder, on_gpu)) == (True, False)


def test_an_audit_is_valid_for_its_number_of_processes(tmp_path: Path) -> None:
    plan, folder = planned(1, 0.0).plan, Store(tmp_path).get_sweep("s")
    one, eight = compute_audit_key(plan, 1), compute_audit_key(plan, 8)
    audit = AuditRecord(checks=(), training_hash=one.training_hash, device_type="cpu", world_size=1)
    atomic_write(folder.audit_path, to_json_bytes(audit))
    assert (has_audit(folder, one), has_audit(folder, eight)) == (True, False)
    assert has_audit(folder, compute_audit_key(plan)), "of any number"
    older_audit = dataclasses.replace(audit, world_size=None)
    atomic_write(folder.audit_path, to_json_bytes(older_audit))
    assert has_audit(folder, eight), "the number of an older audit is not known"


@pytest.mark.soak
@pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="a minute: `make soak`")
def test_switch_that_breaks_after_the_audit_is_detected(tmp_path: Path) -> None:
    tree, store = tmp_path / "tree", tmp_path / "store"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package)
    shutil.copy(ROOT / "sweep.py", tree)

    def call(*words: str) -> str:
        command = [sys.executable, str(tree / "sweep.py"), *words, *TINY, "train.steps=4"]
        arms = ["arms=[full,no-awareness]", f"store={store}"]
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        completed = subprocess.run(
            [*command, *arms], env=environment, cwd=tmp_path, capture_output=True
        )
        return completed.stdout.decode()

    call("plan", "--probe")
    (sweep,) = Store(store).iter_sweeps()
    assert all(f.passed for f in sweep.read_audit_checks())
    code = tree / "uniclip/models/embedder.py"
    switch = 'mask_input=augmentation_input == "identity"'
    assert switch in code.read_text()
    code.write_text(code.read_text().replace(switch, "mask_input=False"))
    diagnostics = [
        f for f in json.loads(call("doctor", "--json")) if f["check"] == "manipulation check"
    ]
    assert {f["level"] for f in diagnostics[:-1]} == {"problem"}
    assert "no-awareness: awareness is off does not hold" in diagnostics[0]["message"]
    hashes = [p["training_hash"] for p in read_jsonl(sweep.probes_path)]
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]


def test_complete_sweep_keeps_its_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    store, resolved_plan = Store(tmp_path), planned(1, 0.0)
    folder = store.get_sweep(resolved_plan.plan.sweep_id)

    def run() -> bool:
        controller = SweepController(
            store=store, resolved_plan=resolved_plan, settings=SweepConfig(), display=Display()
        )
        return controller.run()

    pass_audit(store, resolved_plan.plan)
    assert run()
    atomic_write(folder.audit_path, to_json_bytes({"checks": []}))
    assert run()
    assert folder.audit_path.read_bytes() == to_json_bytes({"checks": []})


def test_limit_uses_measurements_of_the_requested_device_type(tmp_path: Path) -> None:
    """A probe on this machine, then the same sweep on a device that is not available."""
    driver = Driver(tmp_path / "store", *ARMS)
    assert "not measured" not in driver.run("--probe", command="plan")
    other_device = "runtime.device=cuda:99"
    diagnostics = driver.run(other_device, command="plan")
    assert "not measured for 2 arms" in diagnostics
    assert "GPU-hours (from" not in diagnostics
    diagnostics = driver.run(other_device, "max_gpu_hours=1", status=2)
    assert "runtime.device=cuda:99: not available" in diagnostics
    checks = driver.store.get_sweep(driver.plan().sweep_id).read_audit_checks()
    assert all(check.passed for check in checks), "the audit on the other device is kept"
