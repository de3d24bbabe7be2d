"""The records of a run are immutable values with keyword fields."""

from __future__ import annotations

import dataclasses

import pytest

from tests.helpers.store_records import make_claim_record, make_outcome
from uniclip.config.binding import bind, to_builtins
from uniclip.store import AttemptEnd, EndReason, run_records


@pytest.mark.parametrize(
    "record", [make_claim_record(uid=3), make_outcome()], ids=["claim", "outcome"]
)
def test_records_are_equal_by_value_and_frozen(record: object) -> None:
    assert bind(type(record), to_builtins(record)) == record
    field = dataclasses.fields(record)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, field, "other")


def test_every_record_is_a_frozen_dataclass_with_keyword_fields() -> None:
    classes = [c for c in vars(run_records).values() if dataclasses.is_dataclass(c)]
    assert len(classes) == 7
    for cls in classes:
        assert all(field.kw_only for field in dataclasses.fields(cls))


def test_an_exit_record_may_state_a_reason() -> None:
    exit_record = AttemptEnd(kind="interrupted", time=1.0, reason=EndReason.TIMEOUT)
    assert to_builtins(exit_record)["reason"] == "timeout"
    assert bind(AttemptEnd, to_builtins(exit_record)) == exit_record
