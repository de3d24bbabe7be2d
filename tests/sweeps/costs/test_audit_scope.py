"""An audit holds for the code and the kind of device that it was made with, and for no other."""

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
from sweeps.costs import probe
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


def test_an_audit_holds_for_its_code_and_its_kind_of_device(tmp_path: Path) -> None:
    plan, folder = planned(1, 0.0).plan, Store(tmp_path).get_sweep("s")
    here = compute_audit_key(plan)
    assert not has_audit(folder, here)
    atomic_write(folder.audit_path, to_json_bytes({"checks": []}))
    assert not has_audit(folder, here), "made before it was written down of what"
    atomic_write(
        folder.audit_path,
        to_json_bytes(AuditRecord(checks=(), training_hash=here.training_hash, device_type="cpu")),
    )
    assert has_valid_audit(folder, here)
    assert not has_audit(folder, dataclasses.replace(here, training_hash="0" * 16))
    assert not has_audit(folder, dataclasses.replace(here, device="cuda:1"))
    broken = AuditCheck(arm="only", name="audit error", passed=False, detail="no picture")
    atomic_write(
        folder.audit_path,
        to_json_bytes(AuditRecord(checks=(broken,), training_hash="t", device_type="cuda")),
    )
    on_gpu = AuditKey(training_hash="t", device="cuda:1")
    assert (has_audit(folder, on_gpu), has_valid_audit(folder, on_gpu)) == (True, False)


def test_a_switch_that_broke_after_the_audit_is_found(tmp_path: Path) -> None:
    tree, store = tmp_path / "tree", tmp_path / "store"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package)
    shutil.copy(ROOT / "sweep.py", tree)

    def call(*words: str) -> str:
        command = [sys.executable, str(tree / "sweep.py"), *words, *TINY, "train.steps=4"]
        arms = ["arms=[full,no-awareness]", f"store={store}"]
        own = {**os.environ, "PYTHONPATH": str(tree)}
        done = subprocess.run([*command, *arms], env=own, cwd=tmp_path, capture_output=True)
        return done.stdout.decode()

    call("plan", "--probe")
    (sweep,) = Store(store).iter_sweeps()
    assert all(f.passed for f in sweep.read_audit_checks())
    code = tree / "uniclip/models/embedder.py"
    switch = 'mask_input=augmentation_input == "identity"'
    assert switch in code.read_text()
    code.write_text(code.read_text().replace(switch, "mask_input=False"))
    said = [f for f in json.loads(call("doctor", "--json")) if f["check"] == "manipulation check"]
    assert {f["level"] for f in said[:-1]} == {"problem"}
    assert "no-awareness: awareness is off does not hold" in said[0]["message"]
    hashes = [p["training_hash"] for p in read_jsonl(sweep.probes_path)]
    assert hashes[0] == hashes[1] != hashes[2] == hashes[3]


def test_a_sweep_that_is_complete_keeps_the_audit_of_what_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    store, asked = Store(tmp_path), planned(1, 0.0)
    folder = store.get_sweep(asked.plan.sweep_id)

    def run() -> bool:
        conduct = SweepController(
            store=store, resolved_plan=asked, settings=SweepConfig(), display=Display()
        )
        return conduct.run()

    pass_audit(store, asked.plan)
    assert run()
    atomic_write(folder.audit_path, to_json_bytes({"checks": []}))
    assert run()
    assert folder.audit_path.read_bytes() == to_json_bytes({"checks": []})


def test_a_limit_is_held_on_what_the_asked_kind_of_device_takes(tmp_path: Path) -> None:
    """A trial on this machine, then the same sweep on a device that is not here."""
    driver = Driver(tmp_path / "store", *ARMS)
    assert "not measured" not in driver.run("--probe", command="plan")
    elsewhere = "runtime.device=cuda:99"
    said = driver.run(elsewhere, command="plan")
    assert "not measured for 2 arms" in said
    assert "GPU-hours (from" not in said
    said = driver.run(elsewhere, "max_gpu_hours=1", status=2)
    assert "2 arms could not be measured" in said
    (finding,) = driver.store.get_sweep(driver.plan().sweep_id).read_audit_checks()
    assert "runtime.device='cuda:99' is not available" in finding.detail, "it was tried there"


def test_a_probe_of_another_device_leaves_the_plan_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, store = planned(1, 0.0), Store(tmp_path)
    probe.write_specs_and_plan(store, asked)
    seen: list[str] = []

    def prove(store: Store, plan: object, meant: AuditKey) -> None:
        seen.append(meant.replace_plan_device(asked.plan).base_config["runtime"]["device"])

    monkeypatch.setattr(probe, "run_audit", prove)
    probe.main(str(tmp_path), asked.plan.sweep_id, "t", "cuda:1")
    written = store.get_sweep(asked.plan.sweep_id).read_plan()
    assert (seen, written) == (["cuda:1"], asked.plan)
