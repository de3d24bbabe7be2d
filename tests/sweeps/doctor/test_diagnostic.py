"""Diagnostics are written as JSON and read again."""

from __future__ import annotations

from dataclasses import asdict

from sweeps.doctor.diagnostic import Diagnostic, ok, parse_diagnostic, problem, warning


def test_constructors_set_the_level() -> None:
    assert ok("c", "m") == Diagnostic(check="c", level="ok", message="m")
    assert (warning("c", "m", "f").level, problem("c", "m", "f").level) == ("warning", "problem")
    assert warning("c", "m", "f").fix == "f"


def test_diagnostics_come_back_from_json() -> None:
    diagnostic = problem("fsync", "no fsync in /mnt", "choose another store=")
    assert parse_diagnostic(asdict(diagnostic)) == diagnostic
