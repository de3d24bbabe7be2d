"""Pausing the search for reference cycles."""

from __future__ import annotations

import gc

import pytest

from uniclip.io.garbage_collection import pause_garbage_collection


def test_it_is_paused_and_resumed_even_after_an_error() -> None:
    assert gc.isenabled()
    with pause_garbage_collection():
        with pytest.raises(KeyError):
            fail_in_a_block()
        assert not gc.isenabled(), "the outer block is not over"
    assert gc.isenabled()


def fail_in_a_block() -> None:
    with pause_garbage_collection():
        assert not gc.isenabled()
        raise KeyError


def test_it_stays_disabled_for_who_disabled_it() -> None:
    gc.disable()
    try:
        with pause_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_made_meanwhile_counts_as_old() -> None:
    with pause_garbage_collection():
        records = [[i] for i in range(20_000)]
    assert len(gc.get_objects(generation=0)) < len(records) / 10
    assert gc.get_freeze_count() == 0
