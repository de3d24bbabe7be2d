"""The price of fine-tuning: in training steps before anything is measured, then in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.costs import fine_tuning
from sweeps.costs.estimate import estimate_costs
from tests.sweeps.costs.test_estimate import PROBE, add_attempt, outcome
from uniclip.commands.definition import EXECUTOR
from uniclip.io import atomic
from uniclip.store import Arm, Cell, DatasetScores, Plan, PrimaryMetric, RunFolder, Store
from uniclip.store.json_io import to_json_bytes

RECIPE = {"epochs": 2, "min_steps": 1, "learning_rates": [1e-3], "num_validations": 1}
DTD_SAMPLES = 30 * 128 + round((1_880 + 1_880) / 3)
"""2 passes over 1,880 images in batches of 128, one validation and the test."""
BATCH_SIZE = 64


@pytest.fixture
def plan() -> Plan:
    arms = tuple(
        Arm(name=name, label="", role="crossed", levels={}, config_diff=diff)
        for name, diff in (("full", {}), ("plain", {"model.embed_dim": 8}))
    )
    protocol = {"name": "mine", "fine_tuning": RECIPE}
    return Plan(
        sweep_id="s", ablation="a", title="t", budget="quick", data="scenes", design="crossed",
        arms=arms, reference="full", components=(), contrasts=(),
        primary_metric=PrimaryMetric(dataset="scenes", metric="x"), seeds=(0,),
        cells=tuple(Cell(arm=a.name, seed=0, run_id=a.name.ljust(16, "0")) for a in arms),
        evaluation_hashes={"full": {"dtd": "1", "dtd_finetune": "2"}, "plain": {"dtd": "1"}},
        missing_datasets={},
        base_config={
            "train": {"steps": 100, "batch_size": BATCH_SIZE},
            "runtime": {"device": "cpu", "protocol": protocol},
        },
    )  # fmt: skip


def write_scores(run: RunFolder) -> None:
    """Write the scores of a run that was fine-tuned."""
    scores = DatasetScores(
        dataset="dtd_finetune", evaluation_hash="2", protocol={}, weights_digest="", scores=()
    )
    atomic.write_once(run.scores_path("dtd_finetune", "2"), to_json_bytes(scores))


def test_steps_of_training_that_cost_as_much(plan: Plan) -> None:
    full, plain = plan.arms
    assert fine_tuning.list_fine_tuning(plan, full) == {"dtd_finetune": "2"}
    steps = DTD_SAMPLES / BATCH_SIZE
    assert fine_tuning.count_pending_steps(plan, full) == steps
    assert fine_tuning.count_pending_steps(plan, plain) == 0
    larger = replace(full, config_diff={"train.batch_size": 2 * BATCH_SIZE})
    assert fine_tuning.count_pending_steps(plan, larger) == steps / 2


def test_a_protocol_of_one_arm_prices_that_arm(plan: Plan) -> None:
    base_config = {**plan.base_config, "runtime": {"device": "cpu", "protocol": "slip2021"}}
    named = replace(plan, base_config=base_config)
    diff = {"runtime.protocol.name": "mine"}
    diff |= {f"runtime.protocol.fine_tuning.{key}": value for key, value in RECIPE.items()}
    arm = replace(plan.arms[0], config_diff=diff)
    assert fine_tuning.count_pending_steps(named, arm) == DTD_SAMPLES / BATCH_SIZE
    assert fine_tuning.count_pending_steps(named, plan.arms[0]) > 10 * DTD_SAMPLES / BATCH_SIZE


def test_a_line_tells_the_price_while_a_run_is_to_be_fine_tuned(tmp_path: Path, plan: Plan) -> None:
    store, full, plain = Store(tmp_path), *(cell.run_id for cell in plan.cells)
    line = "fine-tuning on 1 data set costs a run about as much as 80 training steps (it has 100)"
    assert list(fine_tuning.describe_fine_tuning(store, plan, {full, plain})) == [line]
    other = replace(plan, reference="plain")
    assert list(fine_tuning.describe_fine_tuning(store, other, {full, plain})) == [line]
    for runs in ({plain}, set()):
        assert not list(fine_tuning.describe_fine_tuning(store, plan, runs))
    write_scores(store.get_run(full))
    assert not list(fine_tuning.describe_fine_tuning(store, plan, {full, plain}))


def test_runs_of_a_program_have_no_price_of_it_before_one_had_it(
    tmp_path: Path, plan: Plan
) -> None:
    """The program has steps, and no batch size that we know."""
    base_config = {**plan.base_config, "train": {"steps": 100}}
    program = replace(plan, base_config=base_config, executor=EXECUTOR)
    assert fine_tuning.count_pending_steps(program, program.arms[0]) == 0
    runs = {cell.run_id for cell in plan.cells}
    (line,) = fine_tuning.describe_fine_tuning(Store(tmp_path), program, runs)
    assert line == (
        f"fine-tuning on 1 data set, {DTD_SAMPLES:,} samples a run: in no estimate before a run "
        "had it"
    )


def test_a_probe_prices_it_at_the_time_of_training_samples(tmp_path: Path, plan: Plan) -> None:
    store = Store(tmp_path)
    for arm in ("full", "plain"):
        record = {**PROBE, "arm": arm, "seconds_per_step": 2.0}
        atomic.append_jsonl(store.get_sweep("s").probes_path, record)
    costs = estimate_costs(store, plan)
    assert costs["plain"].seconds == 200
    assert costs["full"].seconds == pytest.approx(200 + 2 * DTD_SAMPLES / BATCH_SIZE)


def test_past_runs_that_were_not_fine_tuned_are_priced_with_it(tmp_path: Path, plan: Plan) -> None:
    store = Store(tmp_path)
    run = store.get_run(plan.cells[0].run_id)
    run.write_spec({"format": 1})
    add_attempt(run, 40.0, "trained")
    missing_seconds = outcome(1, "cpu").cost["seconds_per_step"] * DTD_SAMPLES / BATCH_SIZE
    assert estimate_costs(store, plan)["full"].seconds == pytest.approx(40 + missing_seconds)
    write_scores(run)
    assert estimate_costs(store, plan)["full"].seconds == pytest.approx(40)
