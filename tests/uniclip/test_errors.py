"""Errors for the user are one line that suggests what to do."""

from __future__ import annotations

from uniclip.errors import (
    UserError,
    describe_error,
    make_not_evaluated_error,
    make_unknown_name_error,
)


def test_an_unknown_name_is_answered_with_the_nearest_or_with_all() -> None:
    near = make_unknown_name_error("method", "clp", ["clip", "slip", "unicl"])
    assert str(near).startswith("unknown method 'clp': did you mean ")
    assert "clip" in str(near)
    far = make_unknown_name_error("method", 3, ["slip", "clip"])
    assert str(far) == "unknown method '3': choose from clip, slip"


def test_data_sets_that_were_not_evaluated_are_named_with_their_reasons() -> None:
    error = make_not_evaluated_error({"a": "no file", "b": "no label"})
    assert str(error) == "not evaluated: a, b (no file; no label)"


def test_of_a_long_message_both_ends_are_kept() -> None:
    error = UserError(f"the start\n{'middle ' * 99} the end")
    assert describe_error(error, 9, 7) == "UserError: the start ... the end"
    assert describe_error(error, 3, 0) == "UserError: the ... "
    assert describe_error(UserError("short"), 3, 2) == "UserError: short"
    assert len(describe_error(error)) == len("UserError: ") + 180 + len(" ... ") + 120
