"""The runs of a rung: what counts as their result, and the audit that they share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ablations.plan.plan import ResolvedPlan, build_plan
from ablations.plan.tuned_arms import build_trial_plan
from sweeps.claims import process
from sweeps.config.request import parse_request
from sweeps.tuning import rung
from sweeps.tuning.definition import TrialResult
from sweeps.tuning.rung import RungTarget
from uniclip.errors import UserError
from uniclip.identity import compute_training_hash
from uniclip.io.atomic import append_jsonl, atomic_write, read_jsonl
from uniclip.store import AuditRecord, Outcome, RunFolder, Store
from uniclip.store.json_io import to_json_bytes

OVERRIDES = ["ablation=components", "data=scenes", "budget=smoke", "arms=[full,clip]"]
MIDDLE, END = RungTarget(step=3, total_steps=9), RungTarget(step=9, total_steps=9)


@pytest.fixture(scope="module")
def resolved_plan() -> ResolvedPlan:
    return build_plan(parse_request(OVERRIDES).plan_request)


def write_run(folder: Path, validations: dict[int, float], *, ended: bool = True) -> RunFolder:
    """Write a run with one attempt that logged these validation scores."""
    run = Store(folder).get_run("a" * 16)
    attempt = run.claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    for step, score in validations.items():
        append_jsonl(
            attempt.metrics_path, {"phase": "validation", "step": step, "score": score, "time": 1.0}
        )
    if ended:
        attempt.write_end("paused")
    return run


def write_outcome(run: RunFolder, **changes: Any) -> None:
    outcome = Outcome(
        kind="trained",
        step=9,
        attempt=1,
        training_hash=compute_training_hash(),
        source_hash="s",
        numerics_class={},
        weights_digest="00",
        best_step=9,
        cost={},
    )
    run.write_outcome(replace(outcome, **changes))


def test_a_paused_run_has_a_result_at_the_rung_it_reached(tmp_path: Path) -> None:
    run = write_run(tmp_path, {3: 0.5})
    assert rung.read_result(run, MIDDLE) == TrialResult(score=0.5, steps=3)
    assert rung.read_result(run, replace(MIDDLE, step=6)) is None
    assert rung.read_result(run, END) is None, "without an outcome it is not trained to the end"


def test_a_run_that_is_executed_has_no_result_yet(tmp_path: Path) -> None:
    run = write_run(tmp_path, {3: 0.5}, ended=False)
    assert rung.read_result(run, MIDDLE) is None


def test_later_results_of_a_run_are_ignored(tmp_path: Path) -> None:
    run = write_run(tmp_path, {3: 0.5, 9: 0.75})
    write_outcome(run)
    assert rung.read_result(run, MIDDLE) == TrialResult(score=0.5, steps=3)
    assert rung.read_result(run, END) == TrialResult(score=0.75, steps=9)
    with pytest.raises(UserError, match="has no validation at step 6: move it away"):
        rung.read_result(run, replace(MIDDLE, step=6))


def test_a_diverged_run_has_the_lowest_score_from_its_last_step_on(tmp_path: Path) -> None:
    run = write_run(tmp_path, {3: 0.5})
    write_outcome(run, kind="diverged", step=4, weights_digest=None)
    assert rung.read_result(run, MIDDLE) == TrialResult(score=0.5, steps=3)
    assert rung.read_result(run, END) == TrialResult(score=0.0, steps=4, n_diverged=1)


def test_trials_use_the_audit_and_the_probes_of_their_arms(
    resolved_plan: ResolvedPlan, tmp_path: Path
) -> None:
    store, plan = Store(tmp_path), resolved_plan.plan
    values = {"full": {0: {"train.learning_rate": 0.01}, 1: {"train.learning_rate": 0.02}}}
    trial_plan = build_trial_plan(
        resolved_plan, values, sweep="t", seeds=(1000,), stop_fraction=1.0
    ).plan
    rung.reuse_audit(store, plan, trial_plan)
    source, target = store.get_sweep(plan.sweep_id), store.get_sweep("t")
    assert not target.audit_path.exists(), "the arms are not audited yet"
    audit = AuditRecord(checks=(), training_hash=compute_training_hash(), device_type="cpu")
    atomic_write(source.audit_path, to_json_bytes(audit))
    append_jsonl(source.probes_path, {"arm": "full", "device": "cpu", "seconds_per_step": 2.0})
    for _ in range(2):
        rung.reuse_audit(store, plan, trial_plan)
        assert target.audit_path.read_bytes() == source.audit_path.read_bytes()
        probes = read_jsonl(target.probes_path)
        assert [(p["arm"], p["seconds_per_step"]) for p in probes] == [("full#0", 2), ("full#1", 2)]


@pytest.mark.parametrize("stop_fraction", [1.0, 1 / 3])
def test_the_target_of_a_rung_is_a_validation_step(
    stop_fraction: float, resolved_plan: ResolvedPlan
) -> None:
    trial_plan = build_trial_plan(
        resolved_plan, {"full": {0: {}}}, sweep="t", seeds=(5, 6), stop_fraction=stop_fraction
    )
    train = resolved_plan.configs["full"].train
    targets = rung._compute_targets(trial_plan)
    assert len(targets) == 2
    for target in targets.values():
        assert target.total_steps == train.steps
        assert target.step % train.validate_every == 0
        assert (
            stop_fraction * train.steps
            <= target.step
            < stop_fraction * train.steps + (train.validate_every)
        )
