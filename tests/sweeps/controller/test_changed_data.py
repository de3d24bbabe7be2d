"""A sweep whose data change under it ends, and goes on when they are back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sweeps.claims import process
from sweeps.claims.status import RunState, inspect_runs
from sweeps.config.request import parse_request
from sweeps.controller.changed_data import ChangedDataGuard, describe_changed_data
from sweeps.controller.reconcile import add_retries
from sweeps.controller.retry import build_retry
from sweeps.launchers.attempt_execution import StopFlag
from sweeps.launchers.worker import Worker
from tests.helpers.csv_data import write_csv
from tests.helpers.labs import edit_json
from tests.helpers.plans import plan_from_words
from tests.helpers.shards import write_shards
from uniclip.errors import UserError
from uniclip.identity import ROOT
from uniclip.store import EndReason, Plan, RetryPolicy, RunFolder, RunStatus, Store

WORDS = (
    "ablation=methods",
    "arms=[clip]",
    "budget=smoke",
    "seeds=2",
    "data=csv",
    "train.steps=2",
    "train.batch_size=8",
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table of 40 images."""
    return write_table(tmp_path)


def write_table(folder: Path) -> Path:
    """Write 40 images and their table, whose path is returned."""
    folder.mkdir(exist_ok=True)
    for i in range(40):
        Image.new("RGB", (32, 32), (i * 6, 10, 0)).save(folder / f"{i}.png")
    write_csv(
        folder,
        [(f"{i}.png", f"image {i}", "a") for i in range(40)],
        ("picture", "caption", "kind"),
    )
    return folder / "data.csv"


def test_workers_refuse_changed_data_and_continue_when_they_are_back(
    table: Path, tmp_path: Path
) -> None:
    original = table.read_bytes()
    resolved = plan_from_words(*WORDS, f"data.path={table}")
    store, plan = Store(tmp_path / "store"), resolved.plan
    for run_id, spec in resolved.specs.items():
        store.get_run(run_id).write_spec(spec)
    first, second = plan.required_evaluations()
    assert describe_changed_data(store, plan) is None
    guard = ChangedDataGuard(store=store)
    states = inspect_runs(store, plan.required_evaluations())
    assert not guard.is_on_hold(plan, states)

    table.write_bytes(original.replace(b"image 1", b"image 7"))
    worker = Worker(store=store, plan=plan, stop=StopFlag())
    assert worker.claim_and_execute(first) == "failed"
    assert worker.claim_and_execute(second) is None  # one refusal is enough
    run = store.get_run(first)
    end = run.get_attempt(1).read_end()
    assert end is not None
    assert end.reason is EndReason.DATA_CHANGED
    assert "data.csv has changed since the plan (index); run again" in str(end.error)
    assert not run.weights_path.exists()
    states = inspect_runs(store, plan.required_evaluations())
    assert states[first].status == RunStatus.FAILED
    with pytest.raises(UserError, match=r"has changed since the plan .* \(0 of 2 runs had ended"):
        guard.is_on_hold(plan, states)
    running = {**states, second: RunState(status=RunStatus.RUNNING)}
    assert guard.is_on_hold(plan, running), "a run that is being executed ends first"
    assert plan_from_words(*WORDS, f"data.path={table}").plan.sweep_id != plan.sweep_id

    table.write_bytes(original)
    assert not guard.is_on_hold(plan, states)
    assert plan_from_words(*WORDS, f"data.path={table}").plan.sweep_id == plan.sweep_id
    policy = add_retries(RetryPolicy(), states, lambda state: False)
    assert policy.retry_attempts == ((first, 1),)
    policy_of_follow_up = add_retries(
        RetryPolicy(), states, lambda state: False, continues_refused=False
    )
    assert policy_of_follow_up == RetryPolicy(), "it would submit the run for ever"
    worker = Worker(store=store, plan=plan, stop=StopFlag(), policy=policy)
    assert worker.claim_and_execute(first) == "trained"


def write_planned_shards(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Write two shards; return one of them, and the words that plan a sweep of them."""
    write_shards(folder / "shards", 60, 2)
    fractions = ("data.validation_fraction=0.2", "data.test_fraction=0.2")
    path = f"data.path={folder / 'shards'}"
    words = (*WORDS[:4], "data=webdataset", path, "data.image_size=16", *fractions, *WORDS[5:])
    return folder / "shards" / "00001.tar", words


def plan_run_on_shards(folder: Path) -> tuple[Path, Store, Plan, RunFolder]:
    """Return a shard, and store, plan and first run of a sweep of shards; no run is executed."""
    shard, words = write_planned_shards(folder)
    resolved = plan_from_words(*words)
    store = Store(folder / "store")
    run_id, spec = next(iter(resolved.specs.items()))
    run = store.get_run(run_id)
    run.write_spec(spec)
    return shard, store, resolved.plan, run


def test_shards_rewritten_at_their_size_are_refused(tmp_path: Path) -> None:
    """Their fingerprint is the planned one; what the first run recorded is not."""
    shard, words = write_planned_shards(tmp_path)
    resolved = plan_from_words(*words)
    store, plan = Store(tmp_path / "store"), resolved.plan
    for run_id, spec in resolved.specs.items():
        store.get_run(run_id).write_spec(spec)
    first, second = plan.required_evaluations()
    assert Worker(store=store, plan=plan, stop=StopFlag()).claim_and_execute(first) == "trained"
    outcome_path = store.get_run(first).path / "outcome.json"
    recorded = outcome_path.read_bytes()
    assert len(json.loads(recorded)["data_content"]) == 1
    guard = ChangedDataGuard(store=store)
    assert not guard.is_on_hold(plan, inspect_runs(store, plan.required_evaluations()))

    original, times = shard.read_bytes(), shard.stat()
    shard.write_bytes(original.replace(b"red", b"sad"))
    assert plan_from_words(*words).plan.sweep_id == plan.sweep_id
    worker = Worker(store=store, plan=plan, stop=StopFlag())
    assert worker.claim_and_execute(second) == "failed"
    assert worker.has_refused_data
    end = store.get_run(second).get_attempt(1).read_end()
    assert end is not None
    assert end.reason is EndReason.DATA_CHANGED
    assert "holds other samples than earlier runs were trained on" in str(end.error)
    states = inspect_runs(store, plan.required_evaluations())
    with pytest.raises(
        UserError, match=r"other samples .* data\.verify=true, .* \(1 of 2 runs had"
    ):
        guard.is_on_hold(plan, states)
    verified = plan_from_words(*words, "data.verify=true").plan
    assert not set(verified.required_evaluations()) & {first, second}

    edit_json(outcome_path, data_content={})  # of a version without the record
    assert describe_changed_data(store, plan) is None
    outcome_path.write_bytes(recorded)
    assert describe_changed_data(store, plan) is not None
    shard.write_bytes(original)
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert describe_changed_data(store, plan) is None
    policy = add_retries(RetryPolicy(), states, lambda state: False)
    worker = Worker(store=store, plan=plan, stop=StopFlag(), policy=policy)
    assert worker.claim_and_execute(second) == "trained"


def test_shards_that_change_while_a_run_is_interrupted_are_refused(tmp_path: Path) -> None:
    shard, store, plan, run = plan_run_on_shards(tmp_path)
    stop = StopFlag()
    stop.requested = True
    assert Worker(store=store, plan=plan, stop=stop).claim_and_execute(run.id) == "interrupted"
    assert [*run.get_attempt(1).checkpoints_path.glob("*.safetensors")]
    original = shard.read_bytes()
    shard.write_bytes(original.replace(b"red", b"sad"))
    assert Worker(store=store, plan=plan, stop=StopFlag()).claim_and_execute(run.id) == "failed"
    end = run.get_attempt(2).read_end()
    assert end is not None
    assert end.reason is EndReason.DATA_CHANGED


def test_a_trained_run_is_not_evaluated_on_other_shards(tmp_path: Path) -> None:
    shard, store, plan, run = plan_run_on_shards(tmp_path)
    assert Worker(store=store, plan=plan, stop=StopFlag()).claim_and_execute(run.id) == "trained"
    for path in run.list_score_paths():
        path.unlink()
    shard.write_bytes(shard.read_bytes().replace(b"red", b"sad"))
    Worker(store=store, plan=plan, stop=StopFlag()).claim_and_execute(run.id)
    end = run.get_attempt(2).read_end()
    assert end is not None
    assert "other samples" in str(end.error)
    assert not run.list_score_paths()


def test_a_plan_of_another_executor_and_one_without_specs_have_no_data(
    table: Path, tmp_path: Path
) -> None:
    plan = plan_from_words(*WORDS, f"data.path={table}").plan
    store = Store(tmp_path / "store")
    table.unlink()
    assert describe_changed_data(store, plan) is None
    assert (
        describe_changed_data(store, replace(plan, executor="tests.helpers.trivial_cell")) is None
    )


def test_a_table_that_is_moved_has_the_same_runs(table: Path, tmp_path: Path) -> None:
    plan = plan_from_words(*WORDS, f"data.path={table}").plan
    (tmp_path / "link").symlink_to(table.parent)
    for path in (
        f"{table.parent}//data.csv",
        f"{tmp_path}/link/link/data.csv",
        os.path.relpath(table),
    ):
        other = plan_from_words(*WORDS, f"data.path={path}").plan
        assert (other.sweep_id, other.cells) == (plan.sweep_id, plan.cells), path
    text = table.read_text()
    (table.parent / "other.csv").write_text(text + "0.png,one more,a\n")
    other = plan_from_words(*WORDS, f"data.path={table.parent}/other.csv").plan
    assert other.sweep_id != plan.sweep_id
    assert not set(other.cells) & set(plan.cells)


def test_a_named_cell_is_retried_where_the_data_are_now(table: Path, tmp_path: Path) -> None:
    resolved = plan_from_words(*WORDS, f"data.path={table}")
    store, run_id = Store(tmp_path / "store"), resolved.plan.cells[0].run_id
    store.get_sweep(resolved.plan.sweep_id).write_plan(resolved.plan)
    for run, spec in resolved.specs.items():
        store.get_run(run).write_spec(spec)
    attempt = store.get_run(run_id).claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: broken")
    table.unlink()
    new_table = write_table(tmp_path / "moved")
    words = [*WORDS, f"data.path={new_table}", f"store={store.root}"]
    controller = build_retry(parse_request(words), ["clip/0"], force=False)
    stored_plan = store.get_sweep(resolved.plan.sweep_id).read_plan()
    assert stored_plan is not None
    assert stored_plan.cells == resolved.plan.cells
    assert describe_changed_data(store, stored_plan) is None
    worker = Worker(store=store, plan=stored_plan, stop=StopFlag(), policy=controller.policy)
    assert worker.claim_and_execute(run_id) == "trained"


@pytest.mark.slow
def test_a_sweep_whose_data_change_ends_with_one_line(table: Path, tmp_path: Path) -> None:
    """The whole command: the table changes while the second of many runs is open."""
    words = [*WORDS, f"data.path={table}", f"store={tmp_path / 'store'}", "launcher.max_workers=1"]
    words[3] = "seeds=40"
    original = table.read_bytes()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = subprocess.Popen(
        [sys.executable, str(ROOT / "sweep.py"), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not list(tmp_path.glob("store/runs/*/outcome.json")) and command.poll() is None:
        time.sleep(0.05)
    table.write_bytes(original.replace(b"image 1", b"image 7"))
    output, _ = command.communicate()
    assert command.returncode == 2, output
    assert "data.csv has changed since the plan (index); run again" in output.splitlines()[-1]
    ends = [path.read_text() for path in tmp_path.glob("store/runs/*/attempts/*/end.json")]
    # the run that is open, and the next one if that run had been evaluated
    assert 1 <= sum("data_changed" in end for end in ends) <= 2
