"""A retry runs the named cells of the stored plan, or all that failed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.plan.plan import build_plan, find_cell
from sweeps.claims import process, status
from sweeps.config import request
from sweeps.controller import retry
from sweeps.controller.controller import SweepController
from sweeps.monitor.display import Display
from sweeps.slurm import FOLLOW_UP_VARIABLE
from tests.helpers.command_line import Driver
from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.store import RetryPolicy, RunFolder, SubmissionIntent
from uniclip.store.json_io import to_json_bytes

SEEDS = (0, 2, 3)
OVERRIDES = ("arms=[full]", "train.steps=6", "launcher.max_workers=1")


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """A sweep of three seeds, two of which failed; its audit has passed."""
    driver = Driver(tmp_path / "store", *OVERRIDES)
    sweep_request = request.parse_request([*driver.words, f"seeds={list(SEEDS)}"])
    resolved_plan = build_plan(sweep_request.plan_request)
    SweepController(
        store=sweep_request.store,
        resolved_plan=resolved_plan,
        settings=sweep_request.settings,
        display=Display(),
    ).prepare()
    atomic_write(
        driver.store.get_sweep(resolved_plan.plan.sweep_id).audit_path,
        to_json_bytes({"checks": []}),
    )
    for seed in SEEDS[1:]:
        fail(get_run(driver, seed))
    return driver


def fail(run: RunFolder) -> None:
    attempt = run.claim_attempt(len(run.list_attempts()) + 1, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: broken picture")


def get_run(driver: Driver, seed: int) -> RunFolder:
    return driver.store.get_run(find_cell(driver.plan(), f"full/{seed}").run_id)


def states(driver: Driver) -> dict[int, str]:
    return {
        c.seed: status.inspect_run(driver.store.get_run(c.run_id), {}).status
        for c in driver.plan().cells
    }


def build(driver: Driver, *names: str, force: bool = False) -> SweepController:
    """The controller of a retry, for a command line without seeds."""
    return retry.build_retry(request.parse_request(list(driver.words)), names, force=force)


@pytest.mark.slow
def test_only_named_cells_are_run(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = driver.store.get_sweep(driver.plan().sweep_id).path / "plan.json"
    before = plan.read_bytes()
    output = driver.run("full/2", command="retry", status=0)
    assert "1 cells (1 runs); 1 to run" in output
    assert "note:" not in output
    assert "Of 3 cells: 1 pending, 1 failed" in output
    assert states(driver) == {0: "pending", 2: "complete", 3: "failed"}
    assert plan.read_bytes() == before
    assert "nothing to retry: the cells are complete" in driver.run(
        "full/2", command="retry", status=2
    )
    monkeypatch.setenv(FOLLOW_UP_VARIABLE, "token")
    assert "report:" in driver.run("full/2", command="retry"), "a follow-up writes the report"


@pytest.mark.slow
def test_without_names_the_stored_plan_is_run(driver: Driver) -> None:
    driver.run(command="retry")
    assert states(driver) == dict.fromkeys(SEEDS, "complete")
    assert len(list(driver.store.iter_runs())) == len(SEEDS), "no further seeds"


def test_the_policy_is_limited_to_the_named_cells(driver: Driver) -> None:
    two, three = get_run(driver, 2).id, get_run(driver, 3).id
    named = build(driver, "full/2")
    assert (named.policy, list(named.resolved_plan.specs)) == (
        RetryPolicy(retry_attempts=((two, 1),), only_runs=(two,)),
        [two],
    )
    assert [c.name for c in named.plan.cells] == ["full/2"]
    every = build(driver)
    assert set(every.policy.retry_attempts) == {(two, 1), (three, 1)}
    assert every.plan.seeds == SEEDS
    with pytest.raises(UserError, match="nothing to retry: the cells are pending"):
        build(driver, "full/0")
    with pytest.raises(UserError, match="unknown cell 'full/1'"):
        build(driver, "full/1")


def test_a_cancelled_cell_that_is_not_named_stays_cancelled(driver: Driver) -> None:
    sweep = driver.store.get_sweep(driver.plan().sweep_id)
    cancelled = {(get_run(driver, 0).id, 0)}
    sweep.record_cancelled(cancelled)
    build(driver, "full/2").prepare()
    assert sweep.read_cancelled() == cancelled


def test_a_follow_up_repeats_the_retries_and_adds_none(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sweep = get_run(driver, 2), driver.store.get_sweep(driver.plan().sweep_id)
    first = build(driver, "full/2")
    assert first.follow_up_argv[:3] == ("retry", "full/2", driver.words[0])
    intent = SubmissionIntent(
        token="t",
        kind="follow_up",
        array_tasks=((),),
        last_attempts={},
        submitter=process.make_claim_record({}),
        follow_up_argv=first.follow_up_argv,
        retry_policy=first.policy,
    )
    sweep.record_intent(intent)
    monkeypatch.setenv(FOLLOW_UP_VARIABLE, "t")

    def find_open_runs() -> list[str]:
        controller = build(driver, "full/2")
        controller.prepare()
        return list(controller.find_actions(controller.inspect_runs()).submit)

    assert find_open_runs() == [run.id], "Slurm has not accepted it yet"
    fail(run)
    assert find_open_runs() == [], "it failed again"


def test_execution_settings_that_do_not_apply_are_reported(
    driver: Driver, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*driver.words, "runtime.num_workers=1"]
    retry.build_retry(request.parse_request(overrides), ["full/2"], force=False)
    assert (
        "note: named cells are run and evaluated as their sweep's plan says"
        in capsys.readouterr().out
    )
