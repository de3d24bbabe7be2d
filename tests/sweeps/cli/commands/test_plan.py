"""`plan`: what would run, why, and its estimated cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.command_line import execute, read_files, write_finished_cell
from tests.sweeps.cli import OVERRIDES
from uniclip.io.atomic import append_jsonl
from uniclip.store import Plan, Store


def test_plan_shows_for_every_cell_whether_it_will_run_and_why(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    write_finished_cell(Store(work_folder / "store"), plan)
    files = read_files(work_folder)
    assert execute("plan", *OVERRIDES) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for cell in plan.cells:
        (line,) = (t for t in printed.out.splitlines() if t.startswith(f"{cell.name} "))
        assert cell.run_id[:8] in line
        is_complete = cell == plan.cells[0]
        assert ("complete" in line) == is_complete
        assert (" yes " in line) != is_complete
    assert "not measured" in printed.out
    assert plan.sweep_id in printed.out
    assert read_files(work_folder) == files


def test_plan_compares_time_and_memory_of_each_contrast_once_arms_are_probed(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    for arm in plan.arms:
        factor = 2.0 if arm.name == "clip" else 1.0
        probe = {
            "arm": arm.name,
            "device": "cpu",
            "seconds_per_step": factor,
            "setup_and_eval_seconds": 0.0,
            "peak_memory_bytes": 4e8 / factor,
        }
        append_jsonl(Store(work_folder / "store").get_sweep(plan.sweep_id).probes_path, probe)
    assert execute("plan", *OVERRIDES) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    comparisons = {
        c.label: [t for t in lines if t.startswith(f"{c.label}: ")] for c in plan.contrasts
    }
    assert all(len(matches) == 1 for matches in comparisons.values()), comparisons
    (comparison,) = comparisons["UniCLIP vs. CLIP"]
    steps = plan.base_config["train"]["steps"]
    times = f"seconds per run ({steps:,} vs. {2 * steps:,})"
    assert f"not matched: {times}, peak memory (MB) (400 vs. 200)" in comparison
    (comparison,) = comparisons["UniCLIP vs. CLIP, same views"]
    assert ": matched: seconds per run, peak memory (MB), samples seen" in comparison


def test_plan_describes_the_recipe_of_each_arm(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ablation=methods", "budget=smoke", "data=scenes"]
    assert execute("plan", *words, "recipe=published") == 0
    text = capsys.readouterr().out
    assert "not a comparison of components" in text
    assert "steps and batch size are the budget's" in text
    for arm in ("uniclip", "unicl", "clip", "slip", "declip"):
        assert re.search(rf"^  {arm} +AdamW, learning rate ", text, re.M)
    assert execute("plan", *words) == 0
    assert "recipe" not in capsys.readouterr().out
