"""The bill: what was foretold, what was paid, and what interruptions cost."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import pytest

from analysis.collect.frame import collect_sweep_data
from analysis.tables import costs
from tests.helpers import fake_sweep
from uniclip.io.atomic import append_jsonl, write_once
from uniclip.store import ClaimRecord, EndReason, Store
from uniclip.store.json_io import to_json_bytes

FORETOLD, TOOK, LOST = 40.0, 50.0, 12.0


@pytest.fixture
def swept(tmp_path: Path) -> tuple[Store, str]:
    """A sweep of which every run took 50 s on two GPUs; full/1 was preempted once before."""
    store, sweep = fake_sweep.make(tmp_path, fake_sweep.Truth())
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    for cell in plan.cells:
        attempt = store.get_run(cell.run_id).get_attempt(1)
        owner = attempt.read_claim()
        assert owner is not None
        write_once(
            attempt.path / "ended.json",
            to_json_bytes({"kind": "trained", "time": owner.time + TOOK}),
        )
        price = {"seconds": FORETOLD, "low": 30.0, "high": 49.0, "source": "probe"}
        append_jsonl(
            store.get_sweep(sweep).cost_estimates_path,
            {"run": cell.run_id, "gpus_per_run": 2, "time": 0.0, **price},
        )
    _preempted(store, fake_sweep.run_id("full", 1))
    return store, sweep


def _preempted(store: Store, run_id: str) -> None:
    """Make the run's one attempt its second, after one that lost all it did."""
    run = store.get_run(run_id)
    first, outcome = run.get_attempt(1), run.read_outcome()
    owner = first.read_claim()
    assert owner is not None
    assert outcome is not None
    later: ClaimRecord = dataclasses.replace(owner, previous_end_reason=EndReason.PREEMPTED)
    second = run.claim_attempt(2, later)
    assert second is not None
    second.metrics_path.write_bytes(first.metrics_path.read_bytes())
    spent = outcome.cost["seconds_per_step"] * outcome.step
    append_jsonl(second.metrics_path, {"phase": "cost", "step": outcome.step, "attempt_seconds": spent})
    write_once(
        second.path / "ended.json", to_json_bytes({"kind": "trained", "time": owner.time + TOOK})
    )
    ended = {"kind": "interrupted", "time": owner.time + LOST, "reason": "preempted"}
    (first.path / "ended.json").write_bytes(to_json_bytes(ended))
    (run.path / "outcome.json").write_bytes(to_json_bytes(dataclasses.replace(outcome, attempt=2)))


def rows(text: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(r["arm"], r["seed"]): r for r in csv.DictReader(io.StringIO(text))}


def test_the_bill_sets_prediction_beside_what_was_paid(swept: tuple[Store, str]) -> None:
    bill = rows(costs.build_cost_report(collect_sweep_data(*swept)).csv)
    plain, preempted = bill["full", "0"], bill["full", "1"]
    assert float(plain["wall_seconds"]) == TOOK
    assert float(plain["predicted_seconds"]) == FORETOLD
    assert float(plain["gpu_hours"]) == pytest.approx(2 * TOOK / 3600)
    assert float(plain["predicted_gpu_hours"]) == pytest.approx(2 * FORETOLD / 3600)
    assert float(plain["lost_seconds"]) == 0
    assert (preempted["attempts"], preempted["ended_preempted"]) == ("2", "1")
    assert float(preempted["lost_seconds"]) == pytest.approx(LOST)
    assert float(preempted["wall_seconds"]) == pytest.approx(TOOK + LOST)


def test_the_page_compares_them_and_says_what_preemption_cost(swept: tuple[Store, str]) -> None:
    gathered = collect_sweep_data(*swept)
    runs = len(gathered.cells)
    told, lost = costs.build_cost_report(gathered).table.notes[-2:]
    assert told.startswith(f"Foretold for {runs} runs: {runs * FORETOLD / 60:.0f} min")
    assert f"0 of {runs} runs lie within their interval" in told
    assert "GPU-hours" in told
    assert lost.startswith("Preemption and other interruptions (1 preempted) cost 12 s of")


def test_what_failed_is_billed_and_lost_and_no_measure_of_a_run(swept: tuple[Store, str]) -> None:
    store, sweep = swept
    run = store.get_run(fake_sweep.run_id("clip", 0))
    before = costs.build_cost_report(collect_sweep_data(*swept))
    (run.path / "outcome.json").unlink()
    (run.get_attempt(1).path / "ended.json").unlink()
    failed = {"kind": "failed", "time": 1000 * TOOK, "error": "ValueError: broken"}
    write_once(run.get_attempt(1).path / "ended.json", to_json_bytes(failed))
    after = costs.build_cost_report(collect_sweep_data(*swept))
    row = rows(after.csv)["clip", "0"]
    assert (row["state"], row["ended_failed"], row["steps"]) == ("failed", "1", "")
    assert float(row["wall_seconds"]) == float(row["lost_seconds"]) == 1000 * TOOK
    assert float(row["gpu_hours"]) == pytest.approx(2 * 1000 * TOOK / 3600)
    assert after.table.rows == before.table.rows, "medians are of runs with an outcome"
    told, lost = after.table.notes[-2:]
    assert told.startswith(f"Foretold for {len(collect_sweep_data(*swept).cells) - 1} runs:")
    assert "(1 failed, 1 preempted) cost 13.9 h of" in lost
    fake_sweep.fail(store, run.id, seconds=TOOK)
    again = rows(costs.build_cost_report(collect_sweep_data(*swept)).csv)["clip", "0"]
    assert float(again["lost_seconds"]) == 1001 * TOOK


def test_where_nothing_was_foretold_nothing_is_compared(tmp_path: Path) -> None:
    bill = costs.build_cost_report(
        collect_sweep_data(*fake_sweep.make(tmp_path, fake_sweep.Truth()))
    )
    assert "predicted" not in bill.csv
    assert not any("Foretold" in note for note in bill.table.notes)
