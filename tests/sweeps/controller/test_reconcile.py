"""The decisions of a controller, by tables of states."""

from __future__ import annotations

import pytest

from sweeps.claims.status import RunState
from sweeps.controller.reconcile import Actions, add_retries, merge_policies, reconcile
from uniclip.store import RetryPolicy, RunStatus

RUN, OTHER = "run", "other"


def state(status: RunStatus, attempt: int = 1) -> RunState:
    return RunState(status=status, attempt=attempt)


@pytest.mark.parametrize(
    ("status", "policy", "submits"),
    [
        (RunStatus.PENDING, RetryPolicy(), True),
        (RunStatus.INTERRUPTED, RetryPolicy(), True),
        (RunStatus.NEEDS_EVALUATION, RetryPolicy(), True),
        (RunStatus.RUNNING, RetryPolicy(), False),
        (RunStatus.STALLED, RetryPolicy(), False),
        (RunStatus.PAUSED, RetryPolicy(), False),
        (RunStatus.FAILED, RetryPolicy(), False),
        (RunStatus.DIVERGED, RetryPolicy(), False),
        (RunStatus.OUTDATED, RetryPolicy(), False),
        (RunStatus.COMPLETE, RetryPolicy(), False),
        (RunStatus.FAILED, RetryPolicy(retry_attempts=((RUN, 1),)), True),
        (RunStatus.PAUSED, RetryPolicy(retry_attempts=((RUN, 1),)), True),
        (RunStatus.FAILED, RetryPolicy(retry_attempts=((RUN, 2),)), False),
        (RunStatus.FAILED, RetryPolicy(retry_attempts=((OTHER, 1),)), False),
        (RunStatus.STALLED, RetryPolicy(retry_attempts=((RUN, 1),)), False),
        (RunStatus.DIVERGED, RetryPolicy(retry_attempts=((RUN, 1),)), False),
        (RunStatus.STALLED, RetryPolicy(force_attempts=((RUN, 1),)), True),
        (RunStatus.RUNNING, RetryPolicy(force_attempts=((RUN, 1),)), True),
        (RunStatus.RUNNING, RetryPolicy(force_attempts=((RUN, 2),)), False),
        (RunStatus.FAILED, RetryPolicy(force_attempts=((RUN, 1),)), False),
        (RunStatus.COMPLETE, RetryPolicy(force_attempts=((RUN, 1),)), False),
        (RunStatus.PENDING, RetryPolicy(only_runs=(OTHER,)), False),
        (RunStatus.PENDING, RetryPolicy(only_runs=(RUN,)), True),
    ],
)
def test_what_is_submitted(status: RunStatus, policy: RetryPolicy, submits: bool) -> None:
    actions = reconcile({RUN: state(status)}, policy)
    assert actions == Actions(
        submit=(RUN,) if submits else (), any_running=status is RunStatus.RUNNING
    )


@pytest.mark.parametrize(
    ("status", "cancelled", "policy", "submits"),
    [
        (RunStatus.INTERRUPTED, (RUN, 1), RetryPolicy(), False),
        (RunStatus.INTERRUPTED, (RUN, 0), RetryPolicy(), True),
        (RunStatus.INTERRUPTED, (OTHER, 1), RetryPolicy(), True),
        (RunStatus.FAILED, (RUN, 1), RetryPolicy(retry_attempts=((RUN, 1),)), True),
        (RunStatus.STALLED, (RUN, 1), RetryPolicy(force_attempts=((RUN, 1),)), True),
    ],
)
def test_a_cancelled_attempt_waits_unless_it_is_retried(
    status: RunStatus, cancelled: tuple[str, int], policy: RetryPolicy, submits: bool
) -> None:
    actions = reconcile({RUN: state(status)}, policy, cancelled_attempts={cancelled})
    assert actions.submit == ((RUN,) if submits else ())


def test_restarted_runs_are_submitted_in_the_order_of_the_plan() -> None:
    statuses = {
        "a": RunStatus.DIVERGED,
        "b": RunStatus.PENDING,
        "c": RunStatus.COMPLETE,
        "d": RunStatus.OUTDATED,
    }
    actions = reconcile(
        {run: state(status) for run, status in statuses.items()},
        RetryPolicy(),
        cancelled_attempts={("a", 1)},
        should_restart=lambda s: s.status in (RunStatus.DIVERGED, RunStatus.OUTDATED),
    )
    assert actions == Actions(restart=("a", "d"), submit=("a", "b", "d"))


@pytest.mark.parametrize(
    ("statuses", "finished"),
    [
        ([], True),
        ([RunStatus.COMPLETE, RunStatus.FAILED, RunStatus.STALLED, RunStatus.DIVERGED], True),
        ([RunStatus.COMPLETE, RunStatus.RUNNING], False),
        ([RunStatus.COMPLETE, RunStatus.PENDING], False),
    ],
)
def test_when_nothing_is_left_to_do(statuses: list[RunStatus], finished: bool) -> None:
    states = {str(i): state(status) for i, status in enumerate(statuses)}
    assert reconcile(states, RetryPolicy()).is_finished == finished


def test_the_settings_add_retries_of_unfinished_runs_only() -> None:
    states = {str(status): state(status, attempt=3) for status in RunStatus}
    policy = add_retries(RetryPolicy(retry_attempts=(("x", 1),)), states, lambda s: True)
    assert policy.retry_attempts == (("x", 1), ("paused", 3), ("failed", 3))
    assert add_retries(RetryPolicy(), states, lambda s: False) == RetryPolicy()


def test_a_recorded_policy_is_added_but_keeps_the_selected_runs() -> None:
    merged = merge_policies(
        RetryPolicy(retry_attempts=(("a", 1),), only_runs=("a",)),
        RetryPolicy(retry_attempts=(("b", 1),), force_attempts=(("c", 2),), only_runs=("b",)),
    )
    assert merged == RetryPolicy(
        retry_attempts=(("a", 1), ("b", 1)), force_attempts=(("c", 2),), only_runs=("a",)
    )
