"""A controller and its store: what it keeps, restarts, retries and refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ablations.plan.plan import ResolvedPlan
from sweeps.claims import process, status
from sweeps.config.schema import SweepConfig
from sweeps.controller.controller import SweepController
from sweeps.launchers.attempt_execution import StopFlag
from sweeps.launchers.worker import Worker
from sweeps.monitor.display import Display
from tests.helpers import trivial_cell
from tests.helpers.trivial_sweep import planned
from uniclip.errors import UserError
from uniclip.identity import compute_training_hash
from uniclip.io.atomic import atomic_write, write_once
from uniclip.store import (
    AuditCheck,
    AuditRecord,
    EndReason,
    ExitKind,
    RetryPolicy,
    RunFolder,
    Store,
    SubmissionIntent,
)
from uniclip.store.json_io import to_json_bytes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def make_controller(store: Store, resolved_plan: ResolvedPlan, **settings: Any) -> SweepController:
    return SweepController(
        store=store,
        resolved_plan=resolved_plan,
        settings=SweepConfig(**settings),
        display=Display(),
    )


def statuses(store: Store, resolved_plan: ResolvedPlan) -> list[str]:
    required = resolved_plan.plan.required_evaluations().items()
    return [
        status.inspect_run(store.get_run(run), evaluations).status for run, evaluations in required
    ]


def submitted_runs(controller: SweepController) -> list[str]:
    return list(controller.find_actions(controller.inspect_runs()).submit)


def write_trained_run(
    store: Store, resolved_plan: ResolvedPlan, run_id: str, exit_kind: ExitKind = "trained"
) -> RunFolder:
    """A run with an outcome and no scores, whose attempt ended in a given way."""
    run = store.get_run(run_id)
    run.write_spec(resolved_plan.specs[run_id])
    attempt = run.claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    trivial_cell.execute(run, {}, attempt, {}, lambda: False)
    write_once(run.weights_path, b"weights")
    attempt.write_end(exit_kind, reason=EndReason.PREEMPTED if exit_kind == "interrupted" else None)
    return run


@pytest.mark.parametrize(
    ("exit_kind", "retry", "state"),
    [
        ("trained", "none", "needs_evaluation"),
        ("interrupted", "none", "needs_evaluation"),
        ("failed", "failed", "failed"),
    ],
)
def test_a_run_that_only_lacks_scores_keeps_its_weights(
    store: Store, exit_kind: ExitKind, retry: Any, state: str
) -> None:
    resolved_plan = planned(1, 0.0)
    (run_id,) = resolved_plan.specs
    run = write_trained_run(store, resolved_plan, run_id, exit_kind)
    assert statuses(store, resolved_plan) == [state]
    controller = make_controller(store, resolved_plan, retry=retry)
    controller.prepare()
    assert statuses(store, resolved_plan) == [state]
    assert submitted_runs(controller) == [run_id]
    assert run.weights_path.read_bytes() == b"weights"
    assert not (store.root / "superseded").exists()


@pytest.mark.parametrize("settings", [{"outdated": "rerun"}, {"retry": "diverged"}, {}])
def test_an_outcome_is_moved_aside_if_the_settings_say_so(store: Store, settings: Any) -> None:
    resolved_plan = planned(2, 0.0)
    outdated, diverged = (
        write_trained_run(store, resolved_plan, run_id) for run_id in resolved_plan.specs
    )
    all_changes: list[dict[str, Any]] = [{"training_hash": "other"}, {"kind": "diverged"}]
    for run, changes in zip((outdated, diverged), all_changes):
        outcome = run.read_outcome()
        assert outcome is not None
        (run.path / "outcome.json").unlink()
        run.write_outcome(dataclasses.replace(outcome, **changes))
    make_controller(store, resolved_plan, **settings).prepare()
    restarted = {"outdated": outdated, "retry": diverged}
    for key, run in restarted.items():
        assert (run.read_outcome() is None) == (key in settings)


def test_retries_include_seeds_that_the_sweep_has_already(store: Store) -> None:
    many, few = planned(5, 0.0), planned(2, 0.0)
    make_controller(store, many).prepare()
    exit_kind = many.plan.cells[-1].run_id
    attempt = store.get_run(exit_kind).claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: x")
    controller = make_controller(store, few, retry="failed")
    controller.prepare()
    assert controller.plan.seeds == (0, 1, 4), "seeds that never started are dropped"
    assert controller.policy.retry_attempts == ((exit_kind, 1),)


def test_submitted_seeds_are_kept(store: Store) -> None:
    many, few = planned(4, 0.0), planned(2, 0.0)
    make_controller(store, many).prepare()
    array_task = (many.plan.cells[2].run_id,)
    intent = SubmissionIntent(
        token="t",
        kind="run",
        array_tasks=(array_task,),
        last_attempts={},
        submitter=process.make_claim_record({}),
    )
    assert store.get_sweep(many.plan.sweep_id).record_intent(intent)
    controller = make_controller(store, few)
    controller.prepare()
    assert controller.plan.seeds == (0, 1, 2)


def test_exceeding_the_limit_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No result is moved aside, and no cell is added to the plan."""
    few, many = planned(1, 0.0), planned(5, 0.0)
    finished = write_trained_run(store, few, next(iter(few.specs)))
    make_controller(store, few).prepare()
    audit = AuditRecord(checks=(), training_hash=compute_training_hash(), device_type="cpu")
    atomic_write(store.get_sweep(few.plan.sweep_id).audit_path, to_json_bytes(audit))
    monkeypatch.setattr(status, "compute_training_hash", lambda: "other code")
    for resolved_plan in (few, many):
        controller = make_controller(store, resolved_plan, outdated="rerun", max_gpu_hours=1e-9)
        with pytest.raises(UserError, match="max_gpu_hours=1e-09: . runs would take about"):
            controller.prepare()
        assert finished.read_outcome() is not None
        stored_plan = store.get_sweep(few.plan.sweep_id).read_plan()
        assert stored_plan is not None
        assert stored_plan.seeds == few.plan.seeds
    make_controller(store, few, outdated="rerun", max_gpu_hours=1.0).prepare()
    assert finished.read_outcome() is None


def test_two_controllers_that_plan_at_once_keep_all_cells(store: Store) -> None:
    """The second controller read the plan before the first wrote it, and wrote its own later."""
    first_plan, second_plan = planned(2, 0.0), planned(3, 0.0)
    second_plan = dataclasses.replace(
        second_plan,
        plan=dataclasses.replace(second_plan.plan, seeds=(2,), cells=second_plan.plan.cells[2:]),
    )
    folder = store.get_sweep(first_plan.plan.sweep_id)
    controller = make_controller(store, first_plan)
    controller.prepare()
    controller._ensure_plan_current()
    make_controller(store, second_plan)._sweep_folder.write_plan(second_plan.plan)
    store.get_run(second_plan.plan.cells[0].run_id).write_spec(
        second_plan.specs[second_plan.plan.cells[0].run_id]
    )
    assert (
        store.get_run(second_plan.plan.cells[0].run_id).claim_attempt(
            1, process.make_claim_record({})
        )
        is not None
    )
    controller._ensure_plan_current()
    stored_plan = folder.read_plan()
    assert stored_plan is not None
    assert stored_plan.seeds == (0, 1, 2)
    written = folder.get_plan_version()
    controller._ensure_plan_current()
    assert folder.get_plan_version() == written


def test_cancelled_cells_wait_for_a_command_of_the_user(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved_plan = planned(3, 0.0)
    controller = make_controller(store, resolved_plan)
    controller.prepare()
    first, *others = resolved_plan.specs
    store.get_sweep(resolved_plan.plan.sweep_id).record_cancelled([(first, 0)])
    assert submitted_runs(controller) == others
    monkeypatch.setenv("UNICLIP_FOLLOW_UP_TOKEN", "token")
    follow_up = make_controller(store, resolved_plan)
    follow_up.prepare()
    assert submitted_runs(follow_up) == others
    monkeypatch.delenv("UNICLIP_FOLLOW_UP_TOKEN")
    person = make_controller(store, resolved_plan)
    person.prepare()
    assert submitted_runs(person) == [first, *others]


def test_a_failure_that_only_slurm_reports_is_retried(store: Store) -> None:
    """There is no exit record; Slurm reports that both attempts were out of memory."""
    resolved_plan = planned(1, 0.0)
    (run_id,) = resolved_plan.specs
    make_controller(store, resolved_plan).prepare()
    for number in (1, 2):
        reason = EndReason.OUT_OF_MEMORY if number > 1 else None
        remote_claim = dataclasses.replace(
            process.make_claim_record({}, previous_end_reason=reason), host="far", job_id="7"
        )
        assert store.get_run(run_id).claim_attempt(number, remote_claim) is not None
    controller = make_controller(store, resolved_plan, retry="failed")
    controller.job_end_lookup = lambda claim_record: EndReason.OUT_OF_MEMORY  # type: ignore[misc]
    controller.prepare()
    assert controller.policy.retry_attempts == ((run_id, 2),)
    assert submitted_runs(controller) == [run_id]


def test_a_follow_up_repeats_the_retries_of_the_user(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm accepted only a part of the retries."""
    resolved_plan = planned(2, 0.0)
    make_controller(store, resolved_plan).prepare()
    for run_id in resolved_plan.specs:
        attempt = store.get_run(run_id).claim_attempt(1, process.make_claim_record({}))
        assert attempt is not None
        attempt.write_end("failed", "ValueError: x")
    retry_attempts = tuple((run_id, 1) for run_id in resolved_plan.specs)
    claim_record = process.make_claim_record({})
    intent = SubmissionIntent(
        token="t",
        kind="follow_up",
        array_tasks=((),),
        last_attempts={},
        submitter=claim_record,
        retry_policy=RetryPolicy(retry_attempts=retry_attempts),
    )
    assert store.get_sweep(resolved_plan.plan.sweep_id).record_intent(intent)
    monkeypatch.setenv("UNICLIP_FOLLOW_UP_TOKEN", "t")
    follow_up = make_controller(store, resolved_plan)
    follow_up.prepare()
    assert submitted_runs(follow_up) == list(resolved_plan.specs)


def test_a_failed_audit_is_repeated_by_a_command_of_the_user(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved_plan = planned(1, 0.0)
    make_controller(store, resolved_plan).prepare()
    audit = store.get_sweep(resolved_plan.plan.sweep_id).audit_path
    failed_check = AuditCheck(arm="only", name="audit error", passed=False, detail="no picture")
    atomic_write(audit, to_json_bytes(AuditRecord(checks=(failed_check,))))
    with monkeypatch.context() as patch:
        patch.setenv("UNICLIP_FOLLOW_UP_TOKEN", "t")
        make_controller(store, resolved_plan).prepare()
        assert audit.exists(), "cells are run nevertheless"
    make_controller(store, resolved_plan).prepare()
    assert not audit.exists()
    atomic_write(audit, to_json_bytes(AuditRecord(checks=())))
    make_controller(store, resolved_plan).prepare()
    assert audit.exists()


def test_a_run_that_is_no_longer_in_the_plan_is_not_claimed(store: Store) -> None:
    resolved_plan = planned(1, 0.0)
    worker = Worker(store=store, plan=resolved_plan.plan, stop=StopFlag())
    assert worker.claim_and_execute("0123456789abcdef") is None
