"""`review`: what is printed, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import execute
from tests.helpers.reviewed_sweeps import Story, write_sweep
from uniclip.store import Plan, Store


@pytest.fixture
def reviewed(work_folder: Path) -> tuple[Store, Plan]:
    """Return a sweep that nobody tuned, on one data set."""
    return write_sweep(work_folder / "store", Story(is_tuned=False, datasets=("scenes",)))


@pytest.mark.usefixtures("reviewed")
def test_findings_are_printed_with_price_and_command(
    reviewed: tuple[Store, Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = reviewed[1].sweep_id
    capsys.readouterr()
    assert execute("review", sweep) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"{sweep}: 2 findings, 1 of them major")
    assert "1. No arm was tuned (major, untuned_arms)" in text
    assert "why: The shared values may suit one arm better" in text
    assert "price: 26 runs of this sweep (uniclip 13, clip-equal-forwards 13): not measured" in text
    assert "sweep.py tune ablation=controls data=scenes budget=smoke" in text
    assert "price: 10 runs evaluated once more, none trained" in text
    assert f"sweep.py run {sweep} 'benchmark=[scenes,bench14]'" in text


def test_a_major_finding_sets_the_exit_status_on_request(
    reviewed: tuple[Store, Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = reviewed[1].sweep_id
    assert execute("review", sweep, "--strict", "--json") == 1
    records = json.loads(capsys.readouterr().out)
    assert [r["check"] for r in records] == ["untuned_arms", "one_dataset"]
    assert records[1]["evaluations"] == 10
    assert records[1]["commands"] == [f"run {sweep} 'benchmark=[scenes,bench14]'"]


def test_a_clean_sweep_has_no_finding(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plan = write_sweep(work_folder / "store", Story())
    capsys.readouterr()
    assert execute("review", plan.sweep_id, "--strict") == 0
    assert capsys.readouterr().out == f"{plan.sweep_id}: no finding\n"


def test_a_sweep_that_was_not_run_is_refused(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute("review", "ablation=controls", "data=scenes", "budget=smoke") == 2
    assert "has not been run" in capsys.readouterr().err
