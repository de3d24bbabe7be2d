"""What stands in a bundle, and what does not."""

from __future__ import annotations

from pathlib import Path

from sweeps.bundles.contents import README, collect_contents
from tests.helpers.fake_sweep import Truth
from tests.helpers.labs import make_lab
from tests.sweeps.bundles.conftest import Lab
from uniclip.store import Store


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
