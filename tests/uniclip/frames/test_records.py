"""Records of runs in the form of frames: status and saved arrays."""

from __future__ import annotations

from pathlib import Path

from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.frames.records import describe_unit, read_status
from uniclip.store import RunStatus


def test_the_status_follows_from_the_files_of_a_run(tmp_path: Path) -> None:
    truth = Truth(seeds=(0,), diverged=(("clip", 0),), missing=(("none", 0), ("full-again", 0)))
    store, _ = fake_sweep.make(tmp_path, truth)
    fake_sweep.fail(store, fake_sweep.run_id("none", 0), seconds=2.0)

    def read(arm: str, *, is_evaluated: bool = True) -> RunStatus:
        run = store.get_run(fake_sweep.run_id(arm, 0))
        return read_status(run, run.read_outcome(), is_evaluated=is_evaluated)

    assert read("full") is RunStatus.COMPLETE
    assert read("full", is_evaluated=False) is RunStatus.NEEDS_EVALUATION
    assert read("clip") is RunStatus.DIVERGED
    assert read("none") is RunStatus.FAILED
    assert read("full-again") is RunStatus.PENDING
    fake_sweep.begin(store, fake_sweep.run_id("full-again", 0))
    assert read("full-again") is RunStatus.RUNNING


def test_units_are_those_of_the_stored_values() -> None:
    units = [describe_unit(kind) for kind in ("accuracy", "log_likelihood", "gap")]
    assert units == ["fraction", "nats", ""]
