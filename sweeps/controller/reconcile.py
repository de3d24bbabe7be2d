"""What a controller does next, decided from the states of the runs alone.

These functions read and write nothing, so that every decision can be tested by a table of states.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from sweeps.claims.claim import may_claim
from sweeps.claims.status import TERMINAL_UNFINISHED, RunState
from uniclip.store import RetryPolicy, RunStatus


@dataclass(frozen=True, kw_only=True)
class Actions:
    """What is to be done for the runs of a plan."""

    restart: tuple[str, ...] = ()
    """Runs whose result is moved aside, so that they are trained again."""
    submit: tuple[str, ...] = ()
    """Runs that workers should execute, restarted ones included, in the order of the plan."""
    any_running: bool = False
    """Whether a worker executes one of the runs now."""

    def without(self, runs: Collection[str]) -> Actions:
        """Return the actions for all runs but these."""
        return replace(
            self,
            restart=tuple(run for run in self.restart if run not in runs),
            submit=tuple(run for run in self.submit if run not in runs),
        )

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing to execute and nothing to wait for, as the store shows it."""
        return not self.submit and not self.any_running


def reconcile(
    states: Mapping[str, RunState],
    policy: RetryPolicy,
    *,
    cancelled_attempts: Collection[tuple[str, int]] = (),
    should_restart: Callable[[RunState], bool] = lambda state: False,
) -> Actions:
    """Return what is to be done for runs in these states.

    Args:
        states: run id -> state, in the order of the plan.
        policy: attempts that the user retries or declares dead.
        cancelled_attempts: (run id, attempt number) that the user cancelled; such a run is not
            executed unless the policy names the attempt.
        should_restart: whether the settings ask for a run in this state to be trained again.
    """
    restart = tuple(run for run, state in states.items() if should_restart(state))
    submit = []
    for run, state in states.items():
        is_cancelled = state.is_runnable and (run, state.attempt) in cancelled_attempts
        if run in restart or (may_claim(run, state, policy) and not is_cancelled):
            submit.append(run)
    return Actions(
        restart=restart,
        submit=tuple(submit),
        any_running=any(state.status == RunStatus.RUNNING for state in states.values()),
    )


def add_retries(
    policy: RetryPolicy,
    states: Mapping[str, RunState],
    should_run: Callable[[RunState], bool],
    *,
    continues_refused: bool = True,
) -> RetryPolicy:
    """Return the policy with the unfinished runs added that the settings ask to continue.

    Args:
        policy: attempts that are retried already.
        states: run id -> state.
        should_run: whether the settings ask for a run in this state to be continued.
        continues_refused: whether runs that refused changed data are continued too: that a plan
            holds them means that the data are as they were, where it was made.
    """
    retry_attempts = tuple(
        (run, state.attempt)
        for run, state in states.items()
        if state.status in TERMINAL_UNFINISHED
        and (should_run(state) or (continues_refused and state.is_data_changed))
    )
    return replace(policy, retry_attempts=(*policy.retry_attempts, *retry_attempts))


def merge_policies(policy: RetryPolicy, recorded: RetryPolicy) -> RetryPolicy:
    """Return the policy with the attempts added that a recorded one retries or declares dead."""
    return replace(
        policy,
        retry_attempts=(*policy.retry_attempts, *recorded.retry_attempts),
        force_attempts=(*policy.force_attempts, *recorded.force_attempts),
    )
