"""A worker: what it claims, and what it leaves behind."""

from __future__ import annotations

import errno
import time

import pytest

from sweeps.launchers import worker as workers
from sweeps.launchers.attempt_execution import StopFlag
from sweeps.launchers.worker import Worker, WorkerJob
from tests.helpers.trivial_sweep import planned
from uniclip.store import ExitKind, RetryPolicy, RunFolder, Store


def test_a_run_that_is_no_longer_in_the_plan_is_not_claimed(store: Store) -> None:
    worker = Worker(store=store, plan=planned(1, 0.0).plan, stop=StopFlag())
    assert worker.claim_and_execute("0123456789abcdef") is None


def test_each_claimed_run_is_announced_before_it_is_executed(store: Store) -> None:
    plan, claimed = planned(2, 0.0).plan, list[str]()
    worker = Worker(store=store, plan=plan, stop=StopFlag(), on_claim=claimed.append)
    for cell in (*plan.cells, *plan.cells):
        worker.claim_and_execute(cell.run_id)
    assert claimed == [cell.run_id for cell in plan.cells]


@pytest.mark.parametrize("only_one", [True, False])
def test_a_job_executes_the_runs_of_its_policy(
    store: Store, only_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StopFlag, "install_signal_handlers", lambda self: None)
    runs = [cell.run_id for cell in planned(2, 0.0).plan.cells]
    policy = RetryPolicy(only_runs=(runs[1],) if only_one else ())
    sweep_id = planned(2, 0.0).plan.sweep_id
    WorkerJob(store_root=str(store.root), sweep_id=sweep_id, policy=policy)()
    finished = [run for run in runs if store.get_run(run).read_outcome() is not None]
    assert finished == (runs[1:] if only_one else runs)


def test_a_worker_waits_for_space_after_the_disk_was_full(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = list[float]()
    monkeypatch.setattr(workers, "DISK_FULL_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(time, "sleep", waits.append)
    plan = planned(1, 0.0).plan
    worker = Worker(store=store, plan=plan, stop=StopFlag())

    def fill(*arguments: object) -> ExitKind:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker.executor, "execute", fill)
    assert worker.claim_and_execute(plan.cells[0].run_id) == "interrupted"
    assert waits


def test_a_run_that_is_moved_aside_while_it_is_claimed_is_left_to_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(1, 0.0).plan
    worker, run = Worker(store=store, plan=plan, stop=StopFlag()), plan.cells[0].run_id

    def lose(folder: RunFolder, *arguments: object) -> None:
        store.supersede(folder)
        folder.read_spec()

    monkeypatch.setattr(worker.executor, "resolve_numerics_class", lose)
    assert worker.claim_and_execute(run) is None

    def miss(*arguments: object) -> None:
        open("nowhere")

    store.get_run(run).write_spec(planned(1, 0.0).specs[run])
    monkeypatch.setattr(worker.executor, "resolve_numerics_class", miss)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        worker.claim_and_execute(run)
