"""`report`: what is printed, and the exit status for planted effects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.report import build
from analysis.results.planted_effects import CheckStatus
from sweeps.cli.commands import report as report_command
from tests.helpers.command_line import execute, write_finished_cell
from tests.sweeps.cli import OVERRIDES
from uniclip.store import Plan, Store


@dataclass(frozen=True)
class Check:
    """The result of checking one planted effect."""

    status: str
    description: str = "awareness helps"
    detail: str = "0.1"


@pytest.mark.parametrize(
    ("results", "exit_status"),
    [
        ((), 0),
        ((Check("confirmed"), Check("not checked")), 0),
        ((Check("confirmed"), Check("not confirmed")), 1),
    ],
)
def test_the_report_prints_its_summary_and_the_planted_effects(
    results: tuple[Check, ...],
    exit_status: int,
    work_folder: Path,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_finished_cell(Store(work_folder / "store"), plan)
    calls: list[tuple[str, bool]] = []

    def build_report(store: Store, sweep_id: str, *, force: bool) -> Any:
        calls.append((sweep_id, force))
        return SimpleNamespace(
            summary=["a summary"],
            folder=Path("r"),
            rebuilt=force,
            planted_results=results,
            notes=["report.ipynb was edited"],
        )

    monkeypatch.setattr(build, "build_report", build_report)
    assert execute("report", *OVERRIDES, "--force") == exit_status
    assert calls == [(plan.sweep_id, True)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["a summary", "note: report.ipynb was edited"]
    assert lines[2] == "report: r/report.html"
    labels = [check.status.replace("not confirmed", "NOT CONFIRMED") for check in results]
    assert lines[3:] == [f"planted effect: {label}: awareness helps (0.1)" for label in labels]
    assert report_command.FAILED == CheckStatus.FAILED
    assert report_command.EXIT_PLANTED_EFFECT_MISSED == 1
