"""Claiming the next attempt of a run, and restarting a run.

Attempt n exists once `attempts/<n>.claim` is linked, which succeeds for exactly one process.
Attempt n + 1 may be claimed only when attempt n is known to have ended (`sweeps.claims.status`), or
when the user declared it dead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sweeps.claims import process
from sweeps.claims.environment import describe_environment
from sweeps.claims.status import TERMINAL_UNFINISHED, RunState
from uniclip.commands.invocation import SPEC_KIND
from uniclip.identity import compute_training_hash
from uniclip.store import AttemptFolder, ClaimRecord, RetryPolicy, RunFolder, RunStatus, Store


def may_claim(run_id: str, state: RunState, policy: RetryPolicy) -> bool:
    """Return whether the next attempt of a run may be claimed under a retry policy."""
    if policy.only_runs and run_id not in policy.only_runs:
        return False
    is_retry = (run_id, state.attempt) in policy.retry_attempts
    return (
        state.is_runnable
        or (is_retry and state.status in TERMINAL_UNFINISHED)
        or _is_forced(run_id, state, policy)
    )


def claim_run(
    store: Store,
    run: RunFolder,
    state: RunState,
    get_numerics: Callable[[], dict[str, Any]],
    *,
    policy: RetryPolicy,
    prepare_run: Callable[[RunFolder], None],
) -> AttemptFolder | None:
    """Claim the next attempt of a run.

    A partly trained run whose attempts used a different version of the training code is moved
    aside, and the run starts again with attempt 1; not so a run of a command, which has its own
    code.

    Args:
        store: the store of the run.
        run: folder of the run.
        state: the state that the decision is based on.
        get_numerics: returns the numerics class of this process; called only if there is an attempt
            to claim, since it imports torch.
        policy: attempts that are retried or declared dead.
        prepare_run: writes the spec of the run if its folder is new.

    Returns:
        The claimed attempt; None if the run may not be claimed or another process was faster.
    """
    if not may_claim(run.id, state, policy):
        return None
    claim_record = process.make_claim_record(
        get_numerics(),
        previous_end_kind=state.end_kind,
        previous_end_reason=state.end_reason,
        forced=_is_forced(run.id, state, policy),
        environment=_record_environment(store),
    )
    is_partly_trained = state.status in (RunStatus.INTERRUPTED, RunStatus.PAUSED)
    previous_hash = state.claim_record.training_hash if state.claim_record else None
    if (
        is_partly_trained
        and previous_hash is not None
        and previous_hash != compute_training_hash()
        and not _is_trained_by_command(run)
    ):
        # The process that gets the next attempt moves the run aside. Until then its claim carries
        # the hash of the old code, so that a successor also moves the run aside if this one dies.
        old_code_claim = replace(claim_record, training_hash=previous_hash)
        if _claim_next_attempt(run, state, old_code_claim) is None:
            return None
        store.supersede(run)
        state = RunState(status=RunStatus.PENDING)
    prepare_run(run)
    return _claim_next_attempt(run, state, claim_record)


def _is_trained_by_command(run: RunFolder) -> bool:
    try:
        return run.read_spec().get("kind") == SPEC_KIND
    except FileNotFoundError:
        return False  # it was never written, or another process is moving the run aside


def restart_run(store: Store, run: RunFolder, state: RunState) -> bool:
    """Move a run that has an outcome aside, so that it is trained again.

    The next attempt is claimed first, so only one of several processes moves the run.

    Returns:
        Whether this process moved the run; False if the outcome has changed since `state` was
        read, or another process moved it or is executing it.
    """
    attempt_numbers = run.list_attempts()
    if not attempt_numbers or run.read_outcome() != state.outcome:
        return False
    newest_state = RunState(
        status=RunStatus.NEEDS_EVALUATION,
        attempt=attempt_numbers[-1],
        claim_record=run.get_attempt(attempt_numbers[-1]).read_claim(),
    )
    if _claim_next_attempt(run, newest_state, process.make_claim_record({})) is None:
        return False
    store.supersede(run)
    return True


def _record_environment(store: Store) -> str:
    """Record the format of the store and the environment of this process; return its digest.

    A store whose root belongs to somebody else may refuse both: then the digest is "".
    """
    try:
        store.write_format_version()
        return store.record_environment(describe_environment())
    except PermissionError:
        return ""


def _is_forced(run_id: str, state: RunState, policy: RetryPolicy) -> bool:
    """Return whether the user declared dead an attempt that is not known to have ended."""
    return (run_id, state.attempt) in policy.force_attempts and state.status in (
        RunStatus.STALLED,
        RunStatus.RUNNING,
    )


def _claim_next_attempt(
    run: RunFolder, state: RunState, claim_record: ClaimRecord
) -> AttemptFolder | None:
    """Claim attempt n + 1 if attempt n is still the one in `state`, else return None."""
    try:
        attempt = run.claim_attempt(state.attempt + 1, claim_record)
    except (FileNotFoundError, FileExistsError):
        return None  # the run is being moved aside: its folder is gone, or a new one
    if attempt is not None and state.attempt:
        if run.get_attempt(state.attempt).read_claim() != state.claim_record:
            attempt.claim_path.unlink()  # the run was moved aside and started again
            return None
    return attempt
