"""`doctor`: one line a check, or JSON, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from sweeps.cli.commands import doctor as doctor_command
from tests.helpers.command_line import execute
from uniclip.store import Plan


def replace_diagnostics(monkeypatch: pytest.MonkeyPatch, *levels: str) -> None:
    """Let the checks have these results."""

    def collect_diagnostics(
        overrides: list[str], *, submit_test_job: bool, stored_plan: Plan | None
    ) -> Iterator[doctor_command.Diagnostic]:
        assert (overrides, submit_test_job, stored_plan) == (["launcher=slurm"], True, None)
        for level in levels:
            fix = "free space" if level == "problem" else ""
            yield doctor_command.Diagnostic(
                check="disk space",
                level=level,  # type: ignore[arg-type]
                message=f"[{level}] 1 GB",
                fix=fix,
            )

    monkeypatch.setattr(doctor_command, "collect_diagnostics", collect_diagnostics)


def test_each_check_is_one_line_and_the_levels_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_diagnostics(monkeypatch, "ok", "problem", "ok")
    assert execute("doctor", "launcher=slurm", "--submit") == doctor_command.EXIT_PROBLEMS
    assert capsys.readouterr().out.splitlines() == [
        "ok       disk space: [ok] 1 GB",
        "problem  disk space: [problem] 1 GB; fix: free space",
        "ok       disk space: [ok] 1 GB",
        "1 problems, 0 warnings, 2 ok",
    ]


def test_records_are_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_diagnostics(monkeypatch, "ok", "warning")
    assert execute("doctor", "launcher=slurm", "--submit", "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["level"] for record in records] == ["ok", "warning"]
    assert records[0]["check"] == "disk space"
