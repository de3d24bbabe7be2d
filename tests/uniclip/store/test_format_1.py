"""A store of format 1, as the first version wrote it, is read, reported and merged."""

from __future__ import annotations

from pathlib import Path

from analysis.collect.frame import collect_sweep_data
from sweeps.bundles.reader import check_bundle
from sweeps.bundles.verification import find_inconsistencies, open_bundle
from sweeps.claims.status import inspect_run
from sweeps.merging.merge import MergeSource, apply_merge, prepare_merge
from tests.helpers import ROOT
from uniclip.store import RunStatus, Store, format_version

BUNDLE = ROOT / "tests" / "fixtures" / "store_format_1.tar"
"""Two cells of a sweep of components on scenes, ten steps each; written once, never again."""
SCORES = {"full": 0.023438, "clip": 0.0625}


def test_every_record_of_format_1_is_read(tmp_path: Path) -> None:
    check_bundle(BUNDLE, unpack_to=tmp_path / "b").require_intact(BUNDLE)
    bundle = open_bundle(tmp_path / "b")
    assert format_version.parse((bundle.store.root / "format.json").read_bytes()) == 1
    assert list(find_inconsistencies(bundle)) == []
    store = Store(tmp_path / "store")
    sources = [MergeSource("first", bundle.store)]
    apply_merge(store, sources, prepare_merge(store, sources))
    evaluations = bundle.plan.required_evaluations()
    for cell in bundle.cells:
        run = store.get_run(cell.run_id)
        state = inspect_run(run, evaluations[cell.run_id])
        assert state.status in (RunStatus.COMPLETE, RunStatus.OUTDATED)
        claim = run.get_attempt(1).read_claim()
        assert claim is not None
        environment = store.read_environment(claim.environment)
        assert environment is not None
        assert environment.packages["torch"]
        assert run.read_history()[-1]
    frame = collect_sweep_data(store, bundle.plan.sweep_id).frame
    rows = frame[(frame["score"] == "retrieval.caption.r1") & frame["value"].notna()]
    assert dict(zip(rows["arm"], rows["value"].round(6))) == SCORES
