"""The status of a run by how its newest attempt ended, the limits on ends, and the files read."""

from __future__ import annotations

import dataclasses
import os
import sys
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from sweeps.claims import process, status
from sweeps.claims.status import (
    END_RULES,
    EXTERNAL_INTERRUPTIONS,
    MAX_ATTEMPTS_WITHOUT_PROGRESS,
    MAX_EVALUATIONS_WITHOUT_SCORES,
    MAX_REQUEUES,
    MAX_SILENT_DEATHS,
    AttemptEnding,
    RunState,
)
from sweeps.slurm import Liveness
from tests.helpers.other_user import open_to_other_users, run_as_other_user
from uniclip.identity import compute_training_hash
from uniclip.io.atomic import write_once
from uniclip.store import (
    AttemptFolder,
    ClaimRecord,
    EndReason,
    ExitKind,
    Outcome,
    RunFolder,
    RunStatus,
    Store,
)

EVALUATIONS = {f"set{i}": "abcd1234" for i in range(14)}
EXITED: dict[str, Any] = {"start_ticks": 1}
"""No process of this boot started one tick after boot, so that process has exited."""
MANY_ATTEMPTS = 60
RESTARTS = (EndReason.REQUEUED, EndReason.RESTARTED)
LIMITED_ENDS = tuple(e for e, rule in END_RULES.items() if rule.max_attempts is not None)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = Store(tmp_path / "store").get_run("0123456789abcdef")
    folder.write_spec({"config": {}})
    return folder


def attempt_of(run: RunFolder, **changes: Any) -> AttemptFolder:
    """The next attempt, by a live process of this machine, in a job."""
    claim_record = dataclasses.replace(
        process.make_claim_record({}), job_id="7", cluster="near", **changes
    )
    attempt = run.claim_attempt(len(run.list_attempts()) + 1, claim_record)
    assert attempt is not None
    return attempt


def state_after(
    run: RunFolder,
    reasons: list[EndReason],
    *,
    writes_exit_record: bool = False,
    saves: Callable[[int], bool] = bool,
) -> RunState:
    """The state after attempts on another host that were interrupted, one after another.

    Args:
        run: folder of the run.
        reasons: why each attempt was interrupted.
        writes_exit_record: whether each attempt states the reason itself; else Slurm does.
        saves: whether the attempt of a number left a checkpoint (the default: each did).
    """
    previous: EndReason | None = None
    for number, reason in enumerate(reasons, start=1):
        attempt = attempt_of(run, host="elsewhere", previous_end_reason=previous)
        if saves(number):
            save(attempt)
        if writes_exit_record:
            attempt.write_end("interrupted", reason=reason)
        previous = reason
    return status.inspect_run(run, EVALUATIONS, lambda claim_record: reasons[-1])


def save(attempt: AttemptFolder) -> None:
    attempt.checkpoints_path.mkdir()
    (attempt.checkpoints_path / f"{attempt.number}.safetensors").write_text("")


def no_checkpoint(number: int) -> bool:
    return False


# ---- the table of ends ---------------------------------------------------------------------------

TABLE: dict[AttemptEnding, tuple[RunStatus, int | None, int | None, int | None]] = {
    EndReason.PREEMPTED: (RunStatus.INTERRUPTED, None, None, 20),
    EndReason.TIMEOUT: (RunStatus.INTERRUPTED, None, None, 20),
    EndReason.CANCELLED: (RunStatus.INTERRUPTED, None, None, 20),
    EndReason.REQUEUED: (RunStatus.INTERRUPTED, None, 10, 20),
    EndReason.RESTARTED: (RunStatus.INTERRUPTED, None, 10, 20),
    EndReason.OUT_OF_MEMORY: (RunStatus.INTERRUPTED, 2, None, None),
    EndReason.NODE_FAIL: (RunStatus.INTERRUPTED, 4, None, None),
    EndReason.DISK_FULL: (RunStatus.INTERRUPTED, 4, None, None),
    EndReason.DIED: (RunStatus.INTERRUPTED, None, 5, None),
    EndReason.STOPPED: (RunStatus.INTERRUPTED, None, None, 20),
    EndReason.DATA_CHANGED: (RunStatus.FAILED, None, None, None),
    "failed": (RunStatus.FAILED, None, None, None),
    "paused": (RunStatus.PAUSED, None, None, None),
    "trained": (RunStatus.INTERRUPTED, None, None, None),
    "evaluated": (RunStatus.INTERRUPTED, None, None, None),
    "diverged": (RunStatus.INTERRUPTED, None, None, None),
    "superseded": (RunStatus.INTERRUPTED, None, None, None),
}
"""Status, then limits: all such attempts, without an exit record, without progress."""
EXIT_KINDS = [ending for ending in TABLE if not isinstance(ending, EndReason)]


def test_every_end_has_a_rule() -> None:
    exit_kinds = set(typing.get_args(ExitKind)) - {"interrupted"}
    assert set(END_RULES) == set(TABLE) == {*EndReason, *exit_kinds}


@pytest.mark.parametrize("ending", TABLE)
def test_each_rule_has_its_limits(ending: AttemptEnding) -> None:
    rule = END_RULES[ending]
    limits = (rule.max_attempts, rule.max_without_exit_record, rule.max_without_progress)
    assert (rule.status, *limits) == TABLE[ending]


@pytest.mark.parametrize("reason", [r for r in EndReason if r is not EndReason.DATA_CHANGED])
def test_an_interruption_leads_to_its_status(run: RunFolder, reason: EndReason) -> None:
    attempt_of(run, host="elsewhere").write_end("interrupted", reason=reason)
    state = status.inspect_run(run, EVALUATIONS)
    assert (state.status, state.end_kind, state.end_reason) == (
        TABLE[reason][0],
        "interrupted",
        reason,
    )
    assert state.reason == f"last attempt: {reason.description}"


@pytest.mark.parametrize("kind", EXIT_KINDS)
def test_an_exit_kind_leads_to_its_status(run: RunFolder, kind: ExitKind) -> None:
    attempt_of(run, host="elsewhere").write_end(kind)
    state = status.inspect_run(run, EVALUATIONS)
    assert (state.status, state.end_kind, state.end_reason) == (TABLE[kind][0], kind, None)


@pytest.mark.parametrize("kind", EXIT_KINDS)
def test_after_an_outcome_only_a_failure_needs_a_retry(run: RunFolder, kind: ExitKind) -> None:
    publish_outcome(run)
    attempt_of(run, host="elsewhere").write_end(kind)
    expected = RunStatus.FAILED if kind == "failed" else RunStatus.NEEDS_EVALUATION
    assert status.inspect_run(run, EVALUATIONS).status is expected


# ---- how an attempt ended ------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [*EXTERNAL_INTERRUPTIONS, EndReason.NODE_FAIL])
def test_slurm_proves_the_end_of_an_attempt_on_another_host(
    run: RunFolder, reason: EndReason
) -> None:
    state = state_after(run, [reason])
    assert (state.status, state.end_reason, state.reason) == (
        RunStatus.INTERRUPTED,
        reason,
        f"last attempt: {reason.description}",
    )


def test_slurm_reports_a_death_life_or_nothing(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_of(run, host="elsewhere")

    def inspect(ending: EndReason | Liveness) -> tuple[RunStatus, EndReason | None, str]:
        state = status.inspect_run(run, EVALUATIONS, lambda claim_record: ending)
        return state.status, state.end_reason, state.reason

    died = ("interrupted", "died", "last attempt: process ended without an exit record")
    assert inspect(EndReason.DIED) == died
    for liveness in Liveness:
        assert inspect(liveness) == ("running", None, "job 7 on elsewhere")
    monkeypatch.setattr(status, "HEARTBEAT_TIMEOUT_SECONDS", -1.0)
    assert inspect(Liveness.ALIVE) == ("running", None, "job 7 on elsewhere")
    assert inspect(Liveness.UNKNOWN)[:2] == ("stalled", None)


@pytest.mark.parametrize(
    ("looked_up", "reason"),
    [
        (EndReason.PREEMPTED, EndReason.PREEMPTED),
        (Liveness.ALIVE, EndReason.DIED),
        (Liveness.UNKNOWN, EndReason.DIED),
        (EndReason.DIED, EndReason.DIED),
    ],
)
def test_slurm_states_why_a_process_has_exited(
    run: RunFolder, looked_up: EndReason | Liveness, reason: EndReason
) -> None:
    attempt_of(run, **EXITED)
    state = status.inspect_run(run, EVALUATIONS, lambda claim_record: looked_up)
    assert state.end_reason == reason


@pytest.mark.parametrize("case", ["alive here", "exit record", "no job"])
def test_slurm_is_queried_only_if_it_may_know_more(run: RunFolder, case: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "alive here": {},
        "exit record": {"host": "x"},
        "no job": {"host": "x", "job_id": ""},
    }
    record = dataclasses.replace(process.make_claim_record({}), **{"job_id": "7", **changes[case]})
    attempt = run.claim_attempt(1, record)
    assert attempt is not None
    if case == "exit record":
        attempt.write_end("interrupted", reason=EndReason.TIMEOUT)

    def fail(claim_record: ClaimRecord) -> EndReason:
        raise AssertionError("queried")

    statuses = {"alive here": "running", "exit record": "interrupted", "no job": "running"}
    assert status.inspect_run(run, EVALUATIONS, fail).status == statuses[case]


# ---- limits on ends ------------------------------------------------------------------------------


@pytest.mark.parametrize("writes_exit_record", [True, False])
@pytest.mark.parametrize("reason", LIMITED_ENDS)
def test_a_limited_end_counts_whether_or_not_a_checkpoint_was_written(
    run: RunFolder, reason: EndReason, writes_exit_record: bool
) -> None:
    limit = END_RULES[reason].max_attempts
    assert limit is not None
    reasons = [EndReason.PREEMPTED, *[reason] * (limit - 1)]
    state = state_after(run, reasons, writes_exit_record=writes_exit_record)
    assert state.status == "interrupted"
    attempt_of(run, host="elsewhere", previous_end_reason=reason)
    state = status.inspect_run(run, EVALUATIONS, lambda claim_record: reason)
    assert (state.status, state.reason) == ("failed", f"{reason.description}, {limit} times")


@pytest.mark.parametrize("reason", EXTERNAL_INTERRUPTIONS)
def test_external_interruptions_are_unlimited_while_training_progresses(
    run: RunFolder, reason: EndReason
) -> None:
    assert state_after(run, [reason] * MANY_ATTEMPTS).status == "interrupted"


@pytest.mark.parametrize("reason", EXTERNAL_INTERRUPTIONS)
@pytest.mark.parametrize(
    ("attempts", "kind"),
    [(MAX_ATTEMPTS_WITHOUT_PROGRESS - 1, "interrupted"), (MAX_ATTEMPTS_WITHOUT_PROGRESS, "failed")],
)
def test_attempts_that_never_reach_a_checkpoint_are_limited(
    run: RunFolder, reason: EndReason, attempts: int, kind: str
) -> None:
    state = state_after(run, [reason] * attempts, writes_exit_record=True, saves=no_checkpoint)
    assert (state.status, "did not reach" in state.reason) == (kind, kind == "failed")


@pytest.mark.parametrize("reason", RESTARTS)
@pytest.mark.parametrize(
    ("attempts", "kind"), [(MAX_REQUEUES - 1, "interrupted"), (MAX_REQUEUES, "failed")]
)
def test_restarts_without_an_exit_record_are_limited(
    run: RunFolder, reason: EndReason, attempts: int, kind: str
) -> None:
    """Slurm reports nothing else when a node fails under a job that it may requeue."""
    state = state_after(run, [reason] * attempts, saves=no_checkpoint)
    assert (state.status, f"started again {MAX_REQUEUES} times" in state.reason) == (
        kind,
        kind == "failed",
    )


@pytest.mark.parametrize("reason", RESTARTS)
def test_restarts_are_counted_from_the_last_checkpoint_on(
    run: RunFolder, reason: EndReason
) -> None:
    assert state_after(run, [reason] * MAX_REQUEUES, saves=lambda n: n == 1).status == "interrupted"
    attempt_of(run, host="elsewhere", previous_end_reason=reason)
    assert status.inspect_run(run, EVALUATIONS, lambda claim_record: reason).status == "failed"


def test_an_exit_record_distinguishes_a_preemption_from_a_node_failure(run: RunFolder) -> None:
    for number in range(MAX_REQUEUES - 1):
        attempt = attempt_of(run, host="elsewhere")
        if number == 3:
            attempt.write_end("interrupted", reason=EndReason.PREEMPTED)
    attempt_of(run, host="elsewhere")
    assert (
        status.inspect_run(run, EVALUATIONS, lambda claim_record: EndReason.RESTARTED).status
        == "interrupted"
    )


def test_a_death_after_preemptions_is_one_death(run: RunFolder) -> None:
    state_after(
        run,
        [EndReason.PREEMPTED] * (MAX_SILENT_DEATHS - 1),
        writes_exit_record=True,
        saves=no_checkpoint,
    )
    attempt_of(run, **EXITED)
    assert status.inspect_run(run, EVALUATIONS).status == "interrupted"
    for _ in range(MAX_SILENT_DEATHS - 1):
        attempt_of(run, **EXITED)
    state = status.inspect_run(run, EVALUATIONS)
    assert (state.status, f"died {MAX_SILENT_DEATHS} times" in state.reason) == ("failed", True)


def test_an_outcome_is_progress_though_its_checkpoints_are_gone(run: RunFolder) -> None:
    state_after(
        run,
        [EndReason.PREEMPTED] * MAX_ATTEMPTS_WITHOUT_PROGRESS,
        writes_exit_record=True,
        saves=no_checkpoint,
    )
    publish_outcome(run, MAX_ATTEMPTS_WITHOUT_PROGRESS)
    attempt_of(run, host="elsewhere", previous_end_reason=EndReason.PREEMPTED).write_end(
        "interrupted", reason=EndReason.PREEMPTED
    )
    assert status.inspect_run(run, EVALUATIONS).status == "needs_evaluation"


@pytest.mark.parametrize(("last", "kind"), [(1, "failed"), (2, "needs_evaluation")])
def test_scores_are_progress(run: RunFolder, last: int, kind: str) -> None:
    """Attempts that evaluate; `last`: the attempt that wrote the newest scores."""
    publish_outcome(run, attempt=0)
    for number in range(1, MAX_REQUEUES + 2):
        attempt = attempt_of(run, host="elsewhere")
        os.utime(attempt.claim_path, (number, number))
    path = run.scores_path("set0", EVALUATIONS["set0"])
    write_once(path, b"{}")
    os.utime(path, (last + 0.5, last + 0.5))
    assert (
        status.inspect_run(run, EVALUATIONS, lambda claim_record: EndReason.RESTARTED).status
        == kind
    )


def test_evaluations_that_leave_scores_missing_are_limited(run: RunFolder) -> None:
    """Each attempt ends as evaluated, and the required scores never appear."""
    publish_outcome(run)
    statuses = []
    for _ in range(MAX_EVALUATIONS_WITHOUT_SCORES + 1):
        attempt_of(run).write_end("evaluated")
        state = status.inspect_run(run, EVALUATIONS)
        statuses.append(state.status)
    allowed = [RunStatus.NEEDS_EVALUATION] * MAX_EVALUATIONS_WITHOUT_SCORES
    assert statuses == [*allowed, RunStatus.FAILED], "attempt 1 trained"
    assert state.reason == "evaluated 3 times, and required scores are still missing"
    write_once(run.path / "scores/other@1.json", b"{}")
    assert status.inspect_run(run, EVALUATIONS).status == RunStatus.NEEDS_EVALUATION


def test_a_run_that_cannot_be_read_has_a_status_of_its_own(run: RunFolder) -> None:
    open_to_other_users(run.path)
    run.path.chmod(0o700)

    def act_as_other_user() -> None:
        state = status.inspect_run(run, EVALUATIONS)
        assert (state.status, state.is_runnable) == (RunStatus.UNREADABLE, False)
        assert state.reason == f"{run.path} belongs to root (drwx------)"

    run_as_other_user(act_as_other_user)


# ---- files that are read -----------------------------------------------------------------------


def publish_outcome(run: RunFolder, attempt: int = 1) -> None:
    outcome = Outcome(
        kind="trained",
        step=9,
        attempt=attempt,
        training_hash=compute_training_hash(),
        source_hash="s",
        numerics_class={},
        weights_digest="00",
        best_step=9,
        cost={},
    )
    assert run.write_outcome(outcome)


_counting: list[Counter[str]] = []


@cache
def _listen() -> None:
    """Install the hook; it cannot be removed again."""
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _counting and event in ("open", "os.listdir", "os.scandir"):
        _counting[-1][_where(arguments[0])] += 1


def _where(path: object) -> str:
    return "proc" if str(path).startswith("/proc") else "store"


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the files that are opened, looked up or listed, in the store and in /proc."""
    _listen()
    real, calls = os.stat, Counter[str]()

    def stat(path: Any, **more: Any) -> os.stat_result:
        calls[_where(path)] += 1
        return real(path, **more)

    _counting.append(calls)
    try:
        with mock.patch("os.stat", stat):
            yield calls
    finally:
        _counting.pop()


@pytest.mark.parametrize(
    ("kind", "trust_heartbeat", "store", "proc"),
    [
        ("pending", True, 2, 0),
        ("complete", True, 2, 0),
        ("running", True, 3, 1),
        ("interrupted", True, 3, 0),
        ("dead", True, 5, 2),
        ("running", False, 5, 1),
        ("interrupted", False, 5, 0),
        ("dead", False, 5, 1),
    ],
)
def test_inspecting_a_run_reads_no_file_twice(
    run: RunFolder, kind: str, trust_heartbeat: bool, store: int, proc: int
) -> None:
    """Two files are looked up for a run that is pending, or complete on fourteen data sets; three
    where an attempt is running or left an exit record: whether there is an outcome, which attempt
    is the newest, and its heartbeat, which repeats the rest. The end of an attempt is proven by its
    claim and its missing exit record, which are read in that case. /proc is read for processes of
    this machine only."""
    if kind == "complete":
        publish_outcome(run)
        for name, hash_ in EVALUATIONS.items():
            write_once(run.scores_path(name, hash_), b"{}")
    elif kind != "pending":
        for _ in range(MAX_SILENT_DEATHS - 1):
            attempt = attempt_of(run, **(EXITED if kind == "dead" else {}))
            attempt.write_heartbeat(step=1, total_steps=9, steps_per_second=1.0, phase="training")
        if kind == "interrupted":
            attempt.write_end("interrupted", reason=EndReason.PREEMPTED)
    status.inspect_run(run, EVALUATIONS)  # fills caches
    with counted() as calls:
        state = status.inspect_run(run, EVALUATIONS, trust_heartbeat=trust_heartbeat)
    assert state.status == ("interrupted" if kind == "dead" else kind)
    assert (calls["store"], calls["proc"]) == (store, proc)
