"""Provenance names the attempt behind a result, and files that exist."""

from __future__ import annotations

from pathlib import Path

from analysis.collect.provenance import read_provenance
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth


def test_the_files_of_a_run_are_those_that_exist(tmp_path: Path) -> None:
    store, _ = fake_sweep.make(tmp_path, Truth(seeds=(0,), missing=(("clip", 0),)))
    run = store.get_run(fake_sweep.run_id("full", 0))
    outcome = run.read_outcome()
    provenance = read_provenance(run, outcome)
    assert provenance is not None
    assert dict(provenance.files) == {
        "configuration": f"{run.id}/spec.json",
        "metrics": f"{run.id}/attempts/1/metrics.jsonl",
    }
    run.weights_path.write_bytes(b"")
    run.get_attempt(1).log_path.write_text("")
    again = read_provenance(run, outcome)
    assert again is not None
    assert {label for label, _ in again.files} == {"configuration", "log", "metrics", "weights"}
    assert all((store.root / "runs" / path).exists() for _, path in again.files)
    assert (again.claim.host, again.config, again.unreadable_images) == ("h", {"seed": 0}, 0)
    assert read_provenance(store.get_run("0" * 16), None) is None


def test_an_unfinished_run_has_its_last_attempt(tmp_path: Path) -> None:
    store, _ = fake_sweep.make(tmp_path, Truth(seeds=(0,), missing=(("clip", 0),)))
    run = store.get_run(fake_sweep.run_id("clip", 0))
    fake_sweep.fail(store, run.id, seconds=10.0, host="first")
    fake_sweep.begin(store, run.id, time=20.0, host="second")
    provenance = read_provenance(run, None)
    assert provenance is not None
    assert (provenance.claim.host, provenance.end_time) == ("second", None)
