"""Claiming: one process gets an attempt, and the next one only after the last has ended."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.claims import claim as claims
from sweeps.claims import process
from sweeps.claims import status as statuses
from sweeps.claims.status import RunState, inspect_run
from uniclip.identity import compute_source_hash, compute_training_hash
from uniclip.io import atomic
from uniclip.store import (
    AttemptFolder,
    ClaimRecord,
    DatasetScores,
    ExitKind,
    Outcome,
    RetryPolicy,
    RunFolder,
    Score,
    Store,
    json_io,
)

RACERS = 8
EVALUATIONS = {"scenes": "abcd1234"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def run(store: Store) -> RunFolder:
    folder = store.get_run("0123456789abcdef")
    folder.write_spec({"config": {}})
    return folder


def claim_record(pid: int | None = None, **changes: Any) -> ClaimRecord:
    """The claim record of a live process."""
    pid = pid or os.getpid()
    record = dataclasses.replace(
        process.make_claim_record({}), pid=pid, start_ticks=process.read_start_time(pid) or 0
    )
    return dataclasses.replace(record, **changes)


DEAD: dict[str, Any] = {"start_ticks": 1}
"""No process of this boot started one tick after boot, so that process has exited."""


def attempt_by(run: RunFolder, record: ClaimRecord) -> AttemptFolder:
    """The next attempt, with this claim record."""
    attempt = run.claim_attempt(len(run.list_attempts()) + 1, record)
    assert attempt is not None
    return attempt


def inspect(run: RunFolder) -> RunState:
    return inspect_run(run, EVALUATIONS)


def claim(
    store: Store, run: RunFolder, state: RunState | None = None, **policy: Any
) -> AttemptFolder | None:
    return claims.claim_run(
        store,
        run,
        state or inspect(run),
        lambda: {"device": "cpu"},
        prepare_run=lambda folder: folder.write_spec({"config": {}}),
        policy=RetryPolicy(**policy),
    )


def claimed_number(attempt: AttemptFolder | None) -> int:
    """The number of an attempt that was claimed."""
    assert attempt is not None
    return attempt.number


def write_outcome(run: RunFolder, kind: Any = "trained", training: str | None = None) -> None:
    outcome = Outcome(
        kind=kind,
        step=9,
        attempt=1,
        source_hash="s",
        training_hash=training or compute_training_hash(),
        numerics_class={},
        weights_digest="00",
        best_step=9,
        cost={},
    )
    assert run.write_outcome(outcome)


def write_scores(run: RunFolder) -> None:
    score = Score(name="minimal.side", value=1, kind="accuracy", chance=0.5, num_samples=100)
    for name, hash_ in EVALUATIONS.items():
        scores = DatasetScores(
            dataset=name, evaluation_hash=hash_, protocol={}, weights_digest="00", scores=(score,)
        )
        atomic.write_once(run.scores_path(name, hash_), json_io.to_json_bytes(scores))


# ---- racing --------------------------------------------------------------------------------------


_barrier: Any = None


def _join_in(barrier: Any, training: str, source: str) -> None:
    """Initialize a process of the pool; passing the hashes saves computing them eight times."""
    global _barrier
    _barrier = barrier
    for module in (statuses, claims, process):
        vars(module)["compute_training_hash"] = lambda: training
    vars(process)["compute_source_hash"] = lambda: source


def _race(root: str, run_id: str) -> tuple[int, int | None]:
    store = Store(root)
    run = store.get_run(run_id)
    _barrier.wait()
    state = inspect_run(run, EVALUATIONS)
    _barrier.wait()
    attempt = claim(store, run, state)
    _barrier.wait()
    return os.getpid(), attempt.number if attempt else None


@pytest.fixture(scope="module")
def racers() -> Iterator[Any]:
    """Eight processes that wait for one another before they inspect a run and before they claim."""
    spawn = multiprocessing.get_context("spawn")
    arguments = (spawn.Barrier(RACERS, timeout=60), compute_training_hash(), compute_source_hash())
    with spawn.Pool(RACERS, _join_in, arguments) as pool:
        yield pool


def race(racers: Any, run: RunFolder) -> list[tuple[int, int]]:
    """(pid, attempt) of the processes that claimed, of eight that tried at the same time."""
    task = (str(run.path.parent.parent), run.id)
    results = racers.starmap_async(_race, [task] * RACERS, chunksize=1).get(timeout=120)
    assert len({pid for pid, _ in results}) == RACERS
    return [(pid, number) for pid, number in results if number is not None]


def test_of_eight_processes_one_claims_a_new_run(store: Store, racers: Any) -> None:
    run = store.get_run("fedcba9876543210")
    winners = race(racers, run)
    assert len(winners) == 1
    assert run.list_attempts() == [1]
    record = run.get_attempt(1).read_claim()
    assert record is not None
    assert record.pid == winners[0][0]
    assert run.read_spec() == {"config": {}}


def test_of_eight_processes_one_resumes_an_interrupted_run(run: RunFolder, racers: Any) -> None:
    attempt_by(run, claim_record(**DEAD))
    winners = race(racers, run)
    assert [number for _, number in winners] == [2]
    assert run.list_attempts() == [1, 2]


@pytest.mark.parametrize("again", range(3))
def test_of_eight_processes_one_moves_aside_a_run_of_other_code(
    store: Store, run: RunFolder, racers: Any, again: int
) -> None:
    """The others have inspected the old run; none may move the new one aside or supersede it."""
    attempt_by(run, claim_record(training_hash="other code", **DEAD))
    winners = race(racers, run)
    assert [number for _, number in winners] == [1]
    assert len(os.listdir(store.root / "superseded")) == 1
    record = run.get_attempt(1).read_claim()
    assert record is not None
    assert (record.pid, record.training_hash) == (winners[0][0], compute_training_hash())
    assert run.list_attempts() == [1]


def test_a_run_that_is_moved_aside_meanwhile_is_not_claimed(
    store: Store, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process is faster; its new folder is not there yet."""
    attempt_by(run, claim_record(training_hash="other code", **DEAD))
    state = inspect(run)
    store.supersede(run)
    monkeypatch.setattr(RunFolder, "has_spec", lambda self: True)  # a moment ago
    assert claim(store, run, state) is None


# ---- who may claim -------------------------------------------------------------------------


def test_a_run_without_attempts_is_pending(store: Store) -> None:
    state = inspect(store.get_run("0" * 16))
    assert (state.status, state.attempt, state.is_runnable) == ("pending", 0, True)


def test_a_live_process_keeps_its_run(
    store: Store, run: RunFolder, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_by(run, claim_record(child.pid, time=0.0))
    monkeypatch.setattr(statuses, "HEARTBEAT_TIMEOUT_SECONDS", 0.0)
    assert inspect(run).status == "running", "its heartbeat's age proves nothing while it lives"
    assert not inspect(run).is_runnable
    assert claim(store, run) is None
    child.send_signal(signal.SIGSTOP)
    assert inspect(run).status == "running"
    assert run.list_attempts() == [1]


@pytest.mark.parametrize("changes", [{}, DEAD, {"host": "elsewhere", "machine_id": "x"}])
def test_the_exit_record_is_read_if_an_attempt_seems_dead(
    store: Store, run: RunFolder, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died, or paused, between its exit record and the heartbeat that repeats it:
    a failure must not be taken for a death, after which it would run again."""
    attempt = attempt_by(run, claim_record(**changes))
    attempt.write_heartbeat(step=3, total_steps=9, steps_per_second=1.0, phase="training")
    monkeypatch.setattr(AttemptFolder, "_copy_end_to_heartbeat", lambda *_: None)
    attempt.write_end("failed", "ValueError: x")
    if changes is not DEAD:
        assert inspect_run(run, EVALUATIONS, trust_heartbeat=True).status == "running"
        monkeypatch.setattr(statuses, "HEARTBEAT_TIMEOUT_SECONDS", -1.0)
    for trust_heartbeat in (True, False):
        state = inspect_run(run, EVALUATIONS, trust_heartbeat=trust_heartbeat)
        assert (state.status, state.reason) == ("failed", "ValueError: x")
    assert claim(store, run) is None


@pytest.mark.parametrize("exit_kind", [None, "trained"])
@pytest.mark.parametrize("is_alive", [True, False])
def test_a_heartbeat_of_another_process_decides_nothing(
    store: Store, run: RunFolder, is_alive: bool, exit_kind: ExitKind | None
) -> None:
    """A stopped process overwrote the heartbeat of its successor, or a file was copied."""
    first_attempt = attempt_by(run, claim_record(**({} if not is_alive else DEAD)))
    first_attempt.write_heartbeat(step=3, total_steps=9, steps_per_second=1.0, phase="training")
    if exit_kind is not None:
        first_attempt.write_end(exit_kind)
        (first_attempt.path / "end.json").unlink()
    run.get_attempt(1).claim_path.write_bytes(
        json_io.to_json_bytes(claim_record(**({} if is_alive else DEAD)))
    )
    assert inspect(run).status == ("running" if is_alive else "interrupted")
    assert (claim(store, run) is None) == is_alive


def test_a_heartbeat_from_the_future_is_not_recent(run: RunFolder) -> None:
    attempt = attempt_by(run, claim_record(host="elsewhere", machine_id="x", time=0.0))
    attempt.write_heartbeat(step=3, total_steps=9, steps_per_second=1.0, phase="training")
    heartbeat = attempt.read_heartbeat()
    assert heartbeat is not None
    later_heartbeat = dataclasses.replace(heartbeat, time=time.time() + 86_400)
    atomic.atomic_write(attempt.path / "heartbeat", json_io.to_json_bytes(later_heartbeat))
    attempt.claim_path.write_bytes(json_io.to_json_bytes(claim_record(**DEAD)))
    assert inspect_run(run, EVALUATIONS, trust_heartbeat=True).status == "interrupted"


def test_a_killed_process_loses_its_run(
    store: Store, run: RunFolder, child: subprocess.Popen[bytes]
) -> None:
    attempt_by(run, claim_record(child.pid)).write_heartbeat(
        step=3, total_steps=9, steps_per_second=1.0, phase="training"
    )
    assert claim(store, run) is None
    child.send_signal(signal.SIGKILL)
    deadline = time.time() + 10
    while inspect(run).status == "running" and time.time() < deadline:
        time.sleep(0.01)
    state = inspect(run)  # the process is a zombie
    assert (state.status, state.reason) == (
        "interrupted",
        "last attempt: process ended without an exit record",
    )
    child.wait()
    assert inspect(run).status == "interrupted"
    attempt = claim(store, run)
    assert attempt is not None
    assert attempt.number == 2
    assert inspect(run).status == "running"


def test_a_run_on_another_host_stalls_and_needs_force(
    store: Store, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = attempt_by(run, claim_record(host="another-host"))
    assert inspect(run).status == "running"
    assert claim(store, run) is None
    monkeypatch.setattr(statuses, "HEARTBEAT_TIMEOUT_SECONDS", 0.2)
    time.sleep(0.3)
    state = inspect(run)
    assert state.status == "stalled"
    assert "another-host" in state.reason
    assert not state.is_runnable
    assert claim(store, run) is None
    assert claim(store, run, retry_attempts=((run.id, 1),)) is None
    assert claim(store, run, force_attempts=((run.id, 2),)) is None
    assert claim(store, run, force_attempts=(("another run", 1),)) is None
    first.write_heartbeat(step=1, total_steps=9, steps_per_second=1.0, phase="training")
    assert inspect(run).status == "running", "a sign of life"
    time.sleep(0.3)
    second = claim(store, run, force_attempts=((run.id, 1),))
    assert second is not None
    record = second.read_claim()
    assert record is not None
    assert record.forced
    assert first.is_superseded()
    assert not second.is_superseded()
    assert claim(store, run, force_attempts=((run.id, 1),)) is None, (
        "attempt 2 was not declared dead"
    )


def test_a_forced_claim_supersedes_a_live_attempt(
    store: Store, run: RunFolder, child: subprocess.Popen[bytes]
) -> None:
    first = attempt_by(run, claim_record(child.pid))
    second = claim(store, run, force_attempts=((run.id, 1),))
    assert second is not None
    assert second.number == 2
    assert first.is_superseded()


def test_a_reused_pid_does_not_keep_a_run(
    store: Store, run: RunFolder, child: subprocess.Popen[bytes]
) -> None:
    start = process.read_start_time(child.pid)
    assert start is not None
    attempt_by(run, claim_record(child.pid, start_ticks=start - 1))
    assert inspect(run).status == "interrupted"
    assert claim(store, run) is not None


@pytest.mark.parametrize("kind", ["interrupted", "superseded", "evaluated", "trained"])
def test_an_exit_record_proves_the_end_on_any_host(
    store: Store, run: RunFolder, kind: ExitKind
) -> None:
    attempt_by(run, claim_record(host="another-host")).write_end(kind)
    assert inspect(run).status == "interrupted"
    assert claimed_number(claim(store, run)) == 2


def test_a_failed_run_needs_a_retry(store: Store, run: RunFolder) -> None:
    attempt_by(run, claim_record()).write_end("failed", "ValueError: broken picture")
    state = inspect(run)
    assert (state.status, state.reason) == ("failed", "ValueError: broken picture")
    assert not state.is_runnable
    assert claim(store, run) is None
    assert claim(store, run, force_attempts=((run.id, 1),)) is None
    assert claim(store, run, retry_attempts=((run.id, 2),)) is None
    assert claimed_number(claim(store, run, retry_attempts=((run.id, 1),))) == 2
    run.get_attempt(2).write_end("failed", "again")
    assert claim(store, run, retry_attempts=((run.id, 1),)) is None, "one retry for each request"


def test_a_paused_run_needs_a_retry(store: Store, run: RunFolder) -> None:
    attempt_by(run, claim_record()).write_end("paused")
    assert inspect(run).status == "paused"
    assert claim(store, run) is None
    assert claimed_number(claim(store, run, retry_attempts=((run.id, 1),))) == 2
    run.get_attempt(2).write_end("paused")
    assert claim(store, run, retry_attempts=((run.id, 1),)) is None


def test_a_paused_run_of_other_code_starts_again(store: Store, run: RunFolder) -> None:
    attempt_by(run, claim_record(training_hash="other")).write_end("paused")
    assert claimed_number(claim(store, run, retry_attempts=((run.id, 1),))) == 1
    assert (store.root / "superseded" / f"{run.id}.1").is_dir()


def test_five_silent_deaths_are_a_failure(store: Store, run: RunFolder) -> None:
    for _ in range(statuses.MAX_SILENT_DEATHS - 1):
        attempt_by(run, claim_record(**DEAD))
        assert inspect(run).status == "interrupted"
    attempt_by(run, claim_record(**DEAD))
    state = inspect(run)
    assert state.status == "failed"
    assert "5 times" in state.reason
    assert claim(store, run) is None
    assert claimed_number(claim(store, run, retry_attempts=((run.id, 5),))) == 6


@pytest.mark.parametrize("progress", ["checkpoint", "word"])
def test_deaths_are_counted_since_the_last_progress(run: RunFolder, progress: str) -> None:
    for number in range(1, statuses.MAX_SILENT_DEATHS + 1):
        attempt = attempt_by(run, claim_record(**DEAD))
        if number == 2:
            if progress == "word":
                attempt.write_end("interrupted")
            else:
                attempt.checkpoints_path.mkdir()
                (attempt.checkpoints_path / "10.safetensors").write_text("")
    assert inspect(run).status == "interrupted"


# ---- after an outcome ----------------------------------------------------------------------------


def test_an_outcome_needs_evaluation_to_be_complete(store: Store, run: RunFolder) -> None:
    attempt_by(run, claim_record()).write_end("trained")
    write_outcome(run)
    state = inspect(run)
    assert (state.status, state.is_runnable) == ("needs_evaluation", True)
    write_scores(run)
    assert inspect(run).status == "complete"
    assert claim(store, run) is None
    later_heartbeat = {**EVALUATIONS, "openmoji": "00000000"}
    assert inspect_run(run, later_heartbeat).status == "needs_evaluation", (
        "a data set that arrives later"
    )
    assert inspect_run(run, {"scenes": "ffffffff"}).status == "needs_evaluation", "another protocol"


def test_a_running_evaluation_is_not_claimed(store: Store, run: RunFolder) -> None:
    write_outcome(run)
    attempt_by(run, claim_record())
    assert inspect(run).status == "running"
    assert claim(store, run) is None


def test_diverged_is_final(store: Store, run: RunFolder) -> None:
    attempt_by(run, claim_record()).write_end("diverged")
    write_outcome(run, "diverged")
    assert inspect(run).status == "diverged"
    assert claim(store, run) is None
    assert claim(store, run, retry_attempts=((run.id, 1),), force_attempts=((run.id, 1),)) is None


def test_an_outcome_of_other_code_is_outdated_and_stays(store: Store, run: RunFolder) -> None:
    attempt_by(run, claim_record(training_hash="other code")).write_end("trained")
    write_outcome(run, training="other code")
    state = inspect(run)
    assert (state.status, state.is_outdated) == ("needs_evaluation", True)
    write_scores(run)
    state = inspect(run)
    assert (state.status, state.is_outdated, state.is_runnable) == ("outdated", True, False)
    assert claim(store, run) is None
    assert not (store.root / "superseded").exists()


def test_a_partly_trained_run_of_other_code_starts_again(store: Store, run: RunFolder) -> None:
    old = attempt_by(run, claim_record(training_hash="other code"))
    old.write_end("interrupted")
    old.checkpoints_path.mkdir()
    (old.checkpoints_path / "10.safetensors").write_text("half a run")
    attempt = claim(store, run)
    assert attempt is not None
    assert attempt.number == 1
    assert run.list_attempts() == [1]
    assert not attempt.checkpoints_path.exists()
    (superseded,) = (store.root / "superseded").iterdir()
    assert (superseded / "attempts" / "1" / "checkpoint" / "10.safetensors").exists()
    assert run.read_spec() == {"config": {}}


def test_killed_between_claiming_and_moving_a_run_aside(
    store: Store, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process must not continue a run of other code with this code."""
    attempt_by(run, claim_record(training_hash="other code")).write_end("interrupted")

    def killed(self: Store, moved: RunFolder) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "supersede", killed)
        with pytest.raises(KeyboardInterrupt):
            claim(store, run)
    newest = run.get_attempt(run.list_attempts()[-1])
    newest.write_end("interrupted")
    attempt = claim(store, run)
    assert attempt is not None
    assert attempt.number == 1
    assert (store.root / "superseded").is_dir()


def test_a_run_that_was_restarted_since_it_was_inspected_is_not_claimed(
    store: Store, run: RunFolder
) -> None:
    attempt_by(run, claim_record(**DEAD))
    seen_state = inspect(run)
    store.supersede(run)
    new_attempt = attempt_by(run, claim_record())
    assert claim(store, run, seen_state) is None
    assert run.list_attempts() == [1]
    assert not new_attempt.is_superseded()


@pytest.mark.parametrize("kind", ["pending", "interrupted", "needs_evaluation"])
def test_open_statuses_are_runnable(kind: Any) -> None:
    assert RunState(status=kind).is_runnable


@pytest.mark.parametrize(
    "kind", ["running", "stalled", "failed", "paused", "outdated", "diverged", "complete"]
)
def test_other_statuses_are_not_runnable(kind: Any) -> None:
    assert not RunState(status=kind).is_runnable


def test_numerics_are_computed_only_for_a_claim(store: Store, run: RunFolder) -> None:
    """The numerics class needs torch."""
    attempt_by(run, claim_record())

    def fail() -> dict[str, Any]:
        raise AssertionError("called")

    assert (
        claims.claim_run(
            store, run, inspect(run), fail, policy=RetryPolicy(), prepare_run=lambda r: None
        )
        is None
    )
