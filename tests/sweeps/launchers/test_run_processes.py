"""A run that two processes of this machine train: the bits of two processes, also after kills."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from sweeps.config.request import parse_request
from sweeps.costs import probe
from sweeps.costs.audit_run import run_audit
from sweeps.costs.audit_scope import compute_audit_key, has_valid_audit
from sweeps.launchers.worker import WorkerJob
from tests.helpers.command_line import TIMEOUT_SECONDS, Driver, kill, wait_until
from tests.helpers.distributed_training import run_in_processes, run_rank
from tests.helpers.trivial_sweep import pass_audit
from uniclip import distributed
from uniclip import run as run_module
from uniclip.identity import config_from_spec
from uniclip.io.atomic import read_jsonl
from uniclip.store import Outcome, RetryPolicy, Store
from uniclip.training.trainer import TrainResult

WORDS = ("arms=[clip]", "seeds=1", "train.steps=20", "train.num_threads=1")
TOGETHER = ("launcher.tasks_per_node=2", "launcher.max_workers=1")


def read_outcome(store: Store) -> Outcome:
    """Return the outcome of the only run of a store."""
    (run,) = store.iter_runs()
    outcome = run.read_outcome()
    assert outcome is not None
    return outcome


def is_training(store: Store, number: int) -> bool:
    """Return whether an attempt of the only run has taken a step."""
    (run,) = [*store.iter_runs()] or [None]
    heartbeat = run and run.get_attempt(number).read_heartbeat()
    return heartbeat is not None and heartbeat.phase == "training" and heartbeat.step > 0


def work(job: Callable[[], None]) -> None:
    """Do a job in a process that was forked from that of the tests."""
    torch.set_num_threads(1)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # not those of pytest
    job()


def run_forked(job: Callable[[], None]) -> int | None:
    """Do a job in a new process, which imports nothing again; return its exit status."""
    process = get_context("fork").Process(target=work, args=(job,))
    process.start()
    process.join(TIMEOUT_SECONDS)
    return process.exitcode


def kill_while_training(
    driver: Driver, sweep: subprocess.Popen[str], attempt: int, is_rank_zero: bool
) -> None:
    """Kill one of the two processes of an attempt, and wait until neither is left."""
    wait_until(lambda: sweep.poll() is not None or is_training(driver.store, attempt))
    (rank_zero,) = map(psutil.Process, driver.workers())
    (other,) = rank_zero.children()
    kill([rank_zero.pid if is_rank_zero else other.pid])
    psutil.wait_procs([rank_zero, other], timeout=TIMEOUT_SECONDS)
    assert not rank_zero.is_running()
    assert not other.is_running()


def audit_and_count(counts: SimpleQueue[int], *arguments: Any) -> None:
    """Make an audit, and report how many processes make it together."""
    run_audit(*arguments)
    counts.put(distributed.get_process_group().world_size)


@pytest.fixture(scope="module")
def expected_digest(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """The digest of the weights of two processes that a test starts itself, without a sweep."""
    folder = tmp_path_factory.mktemp("direct")
    driver = Driver(folder / "plan", *WORDS)
    resolved = parse_request([*driver.words, *TOGETHER]).build_plan()
    plan, (spec,) = resolved.plan, resolved.specs.values()
    config = config_from_spec(spec, plan.run_only_values("clip"))
    run_in_processes(2, run_rank, folder / "store", config)
    return read_outcome(Store(folder / "store")).weights_digest


def run_worker(driver: Driver) -> int | None:
    """Plan the sweep, and run a worker of two processes; return its exit status."""
    resolved, store = parse_request([*driver.words, *TOGETHER]).build_plan(), driver.store
    probe.write_specs_and_plan(store, resolved)
    pass_audit(store, resolved.plan)
    job = WorkerJob(
        store_root=str(store.root),
        sweep_id=resolved.plan.sweep_id,
        policy=RetryPolicy(),
        num_processes=2,
    )
    return run_forked(job)


def test_a_worker_of_two_processes_trains_as_two_processes_do(
    tmp_path: Path, expected_digest: str | None
) -> None:
    driver = Driver(tmp_path / "store", *WORDS)
    assert run_worker(driver) == 0
    outcome = read_outcome(driver.store)
    assert outcome.weights_digest == expected_digest
    assert outcome.numerics_class["world_size"] == 2
    assert [*driver.endings().values()] == [["trained"]]


def test_an_error_of_one_process_is_the_error_of_the_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_model = run_module.train_model

    def train_unless_rank_one(*arguments: Any, **keywords: Any) -> TrainResult:
        if os.environ["RANK"] == "1":
            raise ValueError("no memory here")
        return train_model(*arguments, **keywords)

    monkeypatch.setattr(run_module, "train_model", train_unless_rank_one)
    driver = Driver(tmp_path / "store", *WORDS)
    assert run_worker(driver) == 1
    (run,) = driver.store.iter_runs()
    attempt = run.get_attempt(1)
    attempt_end = attempt.read_end()
    assert attempt_end is not None
    expected = "RuntimeError: the process of rank 1 ended: ValueError: no memory here"
    assert (attempt_end.kind, attempt_end.error) == ("failed", expected)
    assert "in train_unless_rank_one" in attempt.log_path.read_text(), "its traceback, too"


def test_two_processes_measure_the_arms_together(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", *WORDS)
    resolved = parse_request([*driver.words, *TOGETHER]).build_plan()
    probe.write_specs_and_plan(driver.store, resolved)
    folder, key = driver.store.get_sweep(resolved.plan.sweep_id), compute_audit_key(resolved.plan)
    words = (str(driver.folder), folder.id, key.training_hash, key.device)
    counts = get_context("fork").SimpleQueue()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "run_audit", partial(audit_and_count, counts))
        assert run_forked(partial(probe.main, *words, "2")) == 0
    assert [counts.get(), counts.get()] == [2, 2]
    assert has_valid_audit(folder, key)
    assert not has_valid_audit(folder, replace(key, world_size=1))
    (record,) = read_jsonl(folder.probes_path)
    assert (record["arm"], record["world_size"]) == ("clip", 2)


@pytest.mark.slow
@pytest.mark.soak
def test_kills_of_either_process_change_nothing(
    tmp_path: Path, expected_digest: str | None
) -> None:
    driver = Driver(tmp_path / "store", *WORDS)
    sweep = driver.start(*TOGETHER)
    kill_while_training(driver, sweep, attempt=1, is_rank_zero=False)
    kill_while_training(driver, sweep, attempt=2, is_rank_zero=True)
    output, _ = sweep.communicate(timeout=TIMEOUT_SECONDS)
    assert sweep.returncode == 0, output
    assert "3 of 3 checks passed" in output, "the processes make the audit together"
    (kinds,) = driver.endings().values()
    assert kinds == ["no exit record", "no exit record", "trained"]
    assert read_outcome(driver.store).weights_digest == expected_digest
    wait_until(lambda: not driver.everything())
