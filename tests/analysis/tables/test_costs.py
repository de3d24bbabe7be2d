"""Costs: predicted and measured, and the cost of interruptions."""

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

PREDICTED_SECONDS, WALL_SECONDS, WASTED_SECONDS = 40.0, 50.0, 12.0


@pytest.fixture
def swept(tmp_path: Path) -> tuple[Store, str]:
    """A sweep of which every run took 50 s on two GPUs; full/1 was preempted once before."""
    store, sweep = fake_sweep.make(tmp_path, fake_sweep.Truth())
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    for cell in plan.cells:
        attempt = store.get_run(cell.run_id).get_attempt(1)
        claim_record = attempt.read_claim()
        assert claim_record is not None
        write_once(
            attempt.path / "end.json",
            to_json_bytes({"kind": "trained", "time": claim_record.time + WALL_SECONDS}),
        )
        estimate = {"seconds": PREDICTED_SECONDS, "low": 30.0, "high": 49.0, "source": "probe"}
        append_jsonl(
            store.get_sweep(sweep).cost_estimates_path,
            {"run": cell.run_id, "gpus_per_run": 2, "time": 0.0, **estimate},
        )
    _add_preempted_attempt(store, fake_sweep.run_id("full", 1))
    return store, sweep


def _add_preempted_attempt(store: Store, run_id: str) -> None:
    """Make the run's one attempt its second, after one that lost all it did."""
    run = store.get_run(run_id)
    first, outcome = run.get_attempt(1), run.read_outcome()
    claim_record = first.read_claim()
    assert claim_record is not None
    assert outcome is not None
    later: ClaimRecord = dataclasses.replace(claim_record, previous_end_reason=EndReason.PREEMPTED)
    second = run.claim_attempt(2, later)
    assert second is not None
    second.metrics_path.write_bytes(first.metrics_path.read_bytes())
    spent = outcome.cost["seconds_per_step"] * outcome.step
    append_jsonl(
        second.metrics_path, {"phase": "cost", "step": outcome.step, "attempt_seconds": spent}
    )
    write_once(
        second.path / "end.json",
        to_json_bytes({"kind": "trained", "time": claim_record.time + WALL_SECONDS}),
    )
    ended = {
        "kind": "interrupted",
        "time": claim_record.time + WASTED_SECONDS,
        "reason": "preempted",
    }
    (first.path / "end.json").write_bytes(to_json_bytes(ended))
    (run.path / "outcome.json").write_bytes(to_json_bytes(dataclasses.replace(outcome, attempt=2)))


def read_costs(text: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(r["arm"], r["seed"]): r for r in csv.DictReader(io.StringIO(text))}


def test_predicted_and_measured_costs_of_each_run(swept: tuple[Store, str]) -> None:
    records = read_costs(costs.build_cost_report(collect_sweep_data(*swept)).csv)
    plain, preempted = records["full", "0"], records["full", "1"]
    assert float(plain["wall_seconds"]) == WALL_SECONDS
    assert float(plain["predicted_seconds"]) == PREDICTED_SECONDS
    assert float(plain["gpu_hours"]) == pytest.approx(2 * WALL_SECONDS / 3600)
    assert float(plain["predicted_gpu_hours"]) == pytest.approx(2 * PREDICTED_SECONDS / 3600)
    assert float(plain["wasted_seconds"]) == 0
    assert (preempted["num_attempts"], preempted["ended_preempted"]) == ("2", "1")
    assert float(preempted["wasted_seconds"]) == pytest.approx(WASTED_SECONDS)
    assert float(preempted["wall_seconds"]) == pytest.approx(WALL_SECONDS + WASTED_SECONDS)


def test_the_table_compares_them_and_reports_the_cost_of_preemption(
    swept: tuple[Store, str],
) -> None:
    sweep_data = collect_sweep_data(*swept)
    runs = len(sweep_data.cells)
    prediction, interruptions = costs.build_cost_report(sweep_data).table.notes[-2:]
    assert prediction.startswith(
        f"Predicted for {runs} runs: {runs * PREDICTED_SECONDS / 60:.0f} min"
    )
    assert f"0 of {runs} runs are within their predicted range" in prediction
    assert "GPU-hours" in prediction
    assert interruptions.startswith("Interruptions and failures (1 preempted) cost 12 s of")


def test_a_failed_run_is_counted_as_wasted_and_not_as_a_measurement(
    swept: tuple[Store, str],
) -> None:
    store, sweep = swept
    run = store.get_run(fake_sweep.run_id("clip", 0))
    before = costs.build_cost_report(collect_sweep_data(*swept))
    (run.path / "outcome.json").unlink()
    (run.get_attempt(1).path / "end.json").unlink()
    failed = {"kind": "failed", "time": 1000 * WALL_SECONDS, "error": "ValueError: broken"}
    write_once(run.get_attempt(1).path / "end.json", to_json_bytes(failed))
    after = costs.build_cost_report(collect_sweep_data(*swept))
    row = read_costs(after.csv)["clip", "0"]
    assert (row["status"], row["ended_failed"], row["steps"]) == ("failed", "1", "")
    assert float(row["wall_seconds"]) == float(row["wasted_seconds"]) == 1000 * WALL_SECONDS
    assert float(row["gpu_hours"]) == pytest.approx(2 * 1000 * WALL_SECONDS / 3600)
    assert after.table.rows == before.table.rows, "medians are of runs with an outcome"
    prediction, interruptions = after.table.notes[-2:]
    assert prediction.startswith(f"Predicted for {len(collect_sweep_data(*swept).cells) - 1} runs:")
    assert "(1 failed, 1 preempted) cost 13.9 h of" in interruptions
    fake_sweep.fail(store, run.id, seconds=WALL_SECONDS)
    again = read_costs(costs.build_cost_report(collect_sweep_data(*swept)).csv)["clip", "0"]
    assert float(again["wasted_seconds"]) == 1001 * WALL_SECONDS


def test_without_predictions_nothing_is_compared(tmp_path: Path) -> None:
    records = costs.build_cost_report(
        collect_sweep_data(*fake_sweep.make(tmp_path, fake_sweep.Truth()))
    )
    assert "predicted" not in records.csv
    assert not any("Predicted" in note for note in records.table.notes)
