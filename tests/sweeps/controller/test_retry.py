"""A retry: of the plan that stands, of what was named and of nothing else."""

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
WORDS = ("arms=[full]", "train.steps=6", "launcher.max_workers=1")


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """A sweep of three seeds, two of which failed; its arms count as proven."""
    made = Driver(tmp_path / "store", *WORDS)
    asked = request.parse_request([*made.words, f"seeds={list(SEEDS)}"])
    planned = build_plan(asked.plan_request)
    SweepController(
        store=asked.store, resolved_plan=planned, settings=asked.settings, display=Display()
    ).prepare()
    atomic_write(
        made.store.get_sweep(planned.plan.sweep_id).audit_path, to_json_bytes({"checks": []})
    )
    for seed in SEEDS[1:]:
        fail(run_of(made, seed))
    return made


def fail(run: RunFolder) -> None:
    attempt = run.claim_attempt(len(run.list_attempts()) + 1, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: broken picture")


def run_of(driver: Driver, seed: int) -> RunFolder:
    return driver.store.get_run(find_cell(driver.plan(), f"full/{seed}").run_id)


def states(driver: Driver) -> dict[int, str]:
    return {
        c.seed: status.inspect_run(driver.store.get_run(c.run_id), {}).status
        for c in driver.plan().cells
    }


def asked_for(driver: Driver, *names: str, force: bool = False) -> SweepController:
    """Who conducts it; the command line says nothing of seeds."""
    return retry.build_retry(request.parse_request(list(driver.words)), names, force=force)


def test_what_was_named_is_run_and_nothing_else(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = driver.store.get_sweep(driver.plan().sweep_id).path / "plan.json"
    before = plan.read_bytes()
    said = driver.run("full/2", command="retry", status=0)
    assert "1 cells (1 runs); 1 to run" in said
    assert "note:" not in said
    assert "Of 3 cells: 1 not run yet, 1 failed" in said
    assert states(driver) == {0: "pending", 2: "complete", 3: "failed"}
    assert plan.read_bytes() == before
    assert "nothing to retry: the cells are complete" in driver.run(
        "full/2", command="retry", status=2
    )
    monkeypatch.setenv(FOLLOW_UP_VARIABLE, "token")
    assert "report:" in driver.run("full/2", command="retry"), "who follows up reports"


def test_without_names_the_plan_that_stands_is_run(driver: Driver) -> None:
    driver.run(command="retry")
    assert states(driver) == dict.fromkeys(SEEDS, "complete")
    assert len(list(driver.store.iter_runs())) == len(SEEDS), "no seed that the sweep never had"


def test_what_is_wished_is_of_the_cells_that_were_named(driver: Driver) -> None:
    two, three = run_of(driver, 2).id, run_of(driver, 3).id
    named = asked_for(driver, "full/2")
    assert (named.policy, list(named.resolved_plan.specs)) == (
        RetryPolicy(retry_attempts=((two, 1),), only_runs=(two,)),
        [two],
    )
    assert [c.name for c in named.plan.cells] == ["full/2"]
    every = asked_for(driver)
    assert set(every.policy.retry_attempts) == {(two, 1), (three, 1)}
    assert every.plan.seeds == SEEDS
    with pytest.raises(UserError, match="nothing to retry: the cells are pending"):
        asked_for(driver, "full/0")
    with pytest.raises(UserError, match="unknown cell 'full/1'"):
        asked_for(driver, "full/1")


def test_a_cancelled_cell_that_nobody_named_stays_so(driver: Driver) -> None:
    sweep = driver.store.get_sweep(driver.plan().sweep_id)
    noted = {(run_of(driver, 0).id, 0)}
    sweep.record_cancelled(noted)
    asked_for(driver, "full/2").prepare()
    assert sweep.read_cancelled() == noted


def test_who_follows_up_knows_what_was_asked_and_asks_for_no_more(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sweep = run_of(driver, 2), driver.store.get_sweep(driver.plan().sweep_id)
    first = asked_for(driver, "full/2")
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

    def opened() -> list[str]:
        follower = asked_for(driver, "full/2")
        follower.prepare()
        return list(follower.find_actions(follower.inspect_runs()).submit)

    assert opened() == [run.id], "the queue did not take it yet"
    fail(run)
    assert opened() == [], "it failed again"


def test_how_named_cells_are_run_is_not_changed_unsaid(
    driver: Driver, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*driver.words, "runtime.num_workers=1"]
    retry.build_retry(request.parse_request(words), ["full/2"], force=False)
    assert (
        "note: named cells are run and evaluated as their sweep's plan says"
        in capsys.readouterr().out
    )
