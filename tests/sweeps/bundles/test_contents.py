"""What stands in a bundle, and what does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from sweeps.bundles.contents import README, collect_contents
from tests.helpers.copy_verdicts import make_verdicts
from tests.helpers.fake_sweep import EVALUATION, Truth
from tests.helpers.fake_tuned_sweep import build_tuned_plan
from tests.helpers.labs import make_lab
from tests.sweeps.bundles.conftest import Lab
from uniclip.evaluate.checks.copy_search import write_verdicts
from uniclip.io.atomic import append_jsonl
from uniclip.store import CellPrices, Store
from uniclip.store.copy_searches import get_copies_path


def test_weights_are_packed_on_request_only(tmp_path: Path) -> None:
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    run = store.get_run(plan.cells[0].run_id)
    run.weights_path.write_bytes(b"weights")
    name = f"store/runs/{run.id}/weights.safetensors"
    assert name not in collect_contents(store, plan, with_weights=False).paths
    assert collect_contents(store, plan, with_weights=True).paths[name] == run.weights_path


def test_links_and_logs_stay_at_home(tmp_path: Path) -> None:
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    run = store.get_run(plan.cells[0].run_id)
    run.config_path.symlink_to("/etc/passwd")
    run.get_attempt(1).log_path.write_text("a path of this machine")
    names = collect_contents(store, plan, with_weights=False).paths
    assert not [name for name in names if name.endswith(("/log", "config.yaml"))]


def test_what_is_packed_is_a_store(lab: Lab) -> None:
    contents = collect_contents(lab.store, lab.plan, with_weights=False)
    folders = {name.split("/")[1] for name in contents.paths if name.startswith("store/")}
    assert folders == {"runs", "sweeps", "reports"}
    assert "store/format.json" in contents.generated
    assert "sha256sum --check" in README
    assert isinstance(lab.store, Store)


def test_the_last_heartbeat_is_packed(tmp_path: Path) -> None:
    """Of an attempt that was killed without an exit record, it alone says how long it ran."""
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    attempt = store.get_run(plan.cells[0].run_id).get_attempt(1)
    attempt.heartbeat_path.write_text("{}")
    name = f"store/{attempt.heartbeat_path.relative_to(store.root)}"
    assert name in collect_contents(store, plan, with_weights=False).paths


def test_the_prices_of_adaptive_seeds_are_packed(tmp_path: Path) -> None:
    """With other prices the sweep would buy other cells."""
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    store.get_sweep(plan.sweep_id).fix_cell_prices(CellPrices(gpu_hours={"full": 1.0}))
    names = collect_contents(store, plan, with_weights=False).paths
    assert f"store/sweeps/{plan.sweep_id}/cell_prices.json" in names


def test_default_runs_of_a_tuned_sweep_are_packed_like_its_own(tmp_path: Path) -> None:
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    tuned_plan = replace(build_tuned_plan(plan), cells=())
    runs = [store.get_run(cell.run_id) for cell in plan.cells]
    runs[0].get_attempt(1).events_path.write_text("{}")
    (runs[1].path / "outcome.json").unlink()
    names = collect_contents(store, tuned_plan, with_weights=False).paths
    assert f"store/runs/{runs[0].id}/attempts/1/events.jsonl" in names
    assert f"store/runs/{runs[0].id}/spec.json" in names
    assert not [name for name in names if runs[1].id in name], "it is not finished"


def test_origins_of_other_sweeps_stay_at_home(tmp_path: Path) -> None:
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    for run in (plan.cells[0].run_id, "0123456789abcdef"):
        append_jsonl(store.origins_path, {"run": run, "origin": "x"})
    contents = collect_contents(store, plan, with_weights=False)
    (line,) = contents.generated["store/origins.jsonl"].splitlines()
    assert json.loads(line)["run"] == plan.cells[0].run_id
    assert "store/origins.jsonl" not in contents.paths


def test_plans_of_other_sweeps_stay_at_home(tmp_path: Path) -> None:
    """The review of the report compares them, and they are nobody else's business."""
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    other = replace(plan, sweep_id=f"{plan.ablation}-quick-00000000")
    store.get_sweep(other.sweep_id).write_plan(other)
    names = collect_contents(store, plan, with_weights=False).paths
    assert f"store/sweeps/{plan.sweep_id}/plan.json" in names
    assert not [name for name in names if other.sweep_id in name]


def test_searches_for_copies_that_the_report_shows_are_packed(tmp_path: Path) -> None:
    store, plan = make_lab(tmp_path / "store", Truth(seeds=(0,)))
    run = store.get_run(plan.cells[0].run_id)
    write_verdicts(run, "openmoji", EVALUATION, make_verdicts(10))
    paths = collect_contents(store, plan, with_weights=False).paths
    assert get_copies_path(run, "openmoji", EVALUATION) in paths.values()
