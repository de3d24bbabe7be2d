"""Arms that share their runs: the plan names them, and no contrast compares them."""

from __future__ import annotations

from pathlib import Path

from ablations.plan.plan import build_plan
from sweeps.cli import main
from sweeps.config import request

ABLATION = """
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
DUPLICATE_NOTE = (
    "arms one and two have the same configuration and share their runs: no contrast compares them"
)


def write_words(folder: Path, more: str = "") -> list[str]:
    (folder / "ablation").mkdir()
    (folder / "ablation" / "custom.yaml").write_text(ABLATION + more)
    return ["ablation=custom", f"conf_dir={folder}", "seeds=2"]


def test_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    plan = build_plan(request.parse_request(write_words(tmp_path)).plan_request).plan
    assert [a.name for a in plan.arms] == ["one", "two", "three"]
    assert [c.name for c in plan.contrasts] == ["full"]
    assert plan.skipped == (DUPLICATE_NOTE,)


def test_plan_prints_duplicate_arms(tmp_path: Path, capsys) -> None:
    assert main.main(["plan", *write_words(tmp_path), f"store={tmp_path / 'store'}"]) == 0
    output = capsys.readouterr().out
    assert DUPLICATE_NOTE in output
    assert "Empty" not in output


def test_contrast_that_is_declared_to_be_zero_is_kept(tmp_path: Path) -> None:
    declared = (
        "planted_effects:\n"
        "  - {kind: exactly_zero, contrast: empty, description: one and two are one}\n"
    )
    plan = build_plan(request.parse_request(write_words(tmp_path, declared)).plan_request).plan
    assert [c.name for c in plan.contrasts] == ["empty", "full"]
    assert [e.contrast for e in plan.planted_effects] == ["empty"]


def test_other_planted_effect_of_duplicates_is_not_checked(tmp_path: Path) -> None:
    declared = (
        "planted_effects: [{kind: positive_effect, contrast: empty, description: one helps}]\n"
    )
    plan = build_plan(request.parse_request(write_words(tmp_path, declared)).plan_request).plan
    assert plan.planted_effects == ()
    assert [text for text in plan.skipped if "not checked: one helps" in text]
