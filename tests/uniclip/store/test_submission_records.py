"""The records of submissions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.claims import process
from uniclip.errors import UserError
from uniclip.store import RetryPolicy, Store, Submission, SubmissionIntent


def make_intent(token: str, **fields: object) -> SubmissionIntent:
    intent = SubmissionIntent(
        token=token,
        kind="run",
        array_tasks=(("a", "b"), ("c",)),
        last_attempts={"a": 1, "b": 0, "c": 2},
        submitter=process.make_claim_record({}),
        retry_policy=RetryPolicy(retry_attempts=(("a", 1),), only_runs=("a", "b", "c")),
    )
    return replace(intent, **fields)  # type: ignore[arg-type]


def test_submissions_are_read_back_unchanged(tmp_path: Path) -> None:
    sweep = Store(tmp_path).get_sweep("s")
    first = make_intent("1", sbatch_variables={"SBATCH_ACCOUNT": "lab"})
    second = make_intent("2", kind="follow_up", follow_up_argv=("run", "x=1"), automatic=True)
    assert all(sweep.record_intent(intent) for intent in (first, second))
    assert not sweep.record_intent(first), "a token is used once"
    accepted = Submission(token="1", job_id="17", cluster="c", time=1.5)
    refused = Submission(token="2", job_id=None, cluster="c", time=2.0, error="no account")
    for submission in (accepted, refused):
        sweep.record_result(submission)
    assert sweep.read_intents() == [first, second]
    assert [sweep.read_submission(token) for token in "123"] == [accepted, refused, None]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    sweep = Store(tmp_path).get_sweep("s")
    sweep.record_intent(make_intent("1"))
    (path,) = (p for p in sweep.path.rglob("*1*") if p.is_file())
    path.write_text("{}")
    with pytest.raises(UserError, match=path.name):
        sweep.read_intents()
