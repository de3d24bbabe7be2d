"""Arms that are one run: the plan says so, and no contrast makes a finding of their 0."""

from __future__ import annotations

from pathlib import Path

from ablations.plan.plan import build_plan
from sweeps.cli import main
from sweeps.config import request

OWN = """
title: T
design: listed
reference: one
groups: {data: scenes}
arms:
  one: {label: One}
  two: {overrides: {train.grad_clip_norm: 1}}
  three: {overrides: {train.grad_clip_norm: 2}}
contrasts:
  empty: {label: Empty, plus: one, minus: two, primary: true}
  full: {label: Full, plus: three, minus: two, primary: true}
primary_metrics: {scenes: minimal.side}
"""
SAID = (
    "arms one and two have the same configuration and share their runs: no contrast compares them"
)


def own(folder: Path, more: str = "") -> list[str]:
    (folder / "ablation").mkdir()
    (folder / "ablation" / "own.yaml").write_text(OWN + more)
    return ["ablation=own", f"conf_dir={folder}", "seeds=2"]


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    plan = build_plan(request.parse_request(own(tmp_path)).plan_request).plan
    assert [a.name for a in plan.arms] == ["one", "two", "three"]
    assert [c.name for c in plan.contrasts] == ["full"]
    assert plan.skipped == (SAID,)


def test_a_person_is_told(tmp_path: Path, capsys) -> None:
    assert main.main(["plan", *own(tmp_path), f"store={tmp_path / 'store'}"]) == 0
    seen = capsys.readouterr().out
    assert SAID in seen
    assert "Empty" not in seen


def test_a_null_that_is_declared_stays(tmp_path: Path) -> None:
    declared = "planted_effects: [{kind: exactly_zero, contrast: empty, description: one and two are one}]\n"
    plan = build_plan(request.parse_request(own(tmp_path, declared)).plan_request).plan
    assert [c.name for c in plan.contrasts] == ["empty", "full"]
    assert [e.contrast for e in plan.planted_effects] == ["empty"]


def test_another_expectation_of_theirs_is_not_checked(tmp_path: Path) -> None:
    hoped = "planted_effects: [{kind: positive_effect, contrast: empty, description: one helps}]\n"
    plan = build_plan(request.parse_request(own(tmp_path, hoped)).plan_request).plan
    assert plan.planted_effects == ()
    assert [text for text in plan.skipped if "not checked: one helps" in text]
