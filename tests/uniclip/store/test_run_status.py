"""Statuses and end reasons are stored and printed as plain words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.store_records import make_claim_record
from uniclip.errors import UserError
from uniclip.store import EndReason, RunStatus, Store


def test_values_are_lower_case_words() -> None:
    for member in (*RunStatus, *EndReason):
        assert member.value == member.name.lower()
        assert f"{member}" == member.value
        assert json.loads(json.dumps(member)) == member.value


@pytest.mark.parametrize("reason", EndReason)
def test_an_end_reason_is_read_back_from_the_store(tmp_path: Path, reason: EndReason) -> None:
    attempt = Store(tmp_path).get_run("r").claim_attempt(1, make_claim_record())
    assert attempt is not None
    attempt.write_end("interrupted", reason=reason)
    exit_record = attempt.read_end()
    assert exit_record is not None
    assert exit_record.reason is reason


def test_an_unknown_end_reason_names_the_file_and_the_field(tmp_path: Path) -> None:
    attempt = Store(tmp_path).get_run("r").claim_attempt(1, make_claim_record())
    assert attempt is not None
    path = attempt.path / "end.json"
    path.write_text('{"kind": "interrupted", "time": 1.0, "reason": "tired"}')
    with pytest.raises(UserError, match=r"end\.json is damaged \(.*reason.*tired"):
        attempt.read_end()
