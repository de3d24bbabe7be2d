"""Findings on components that did nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.collect.frame import collect_plan_data
from analysis.results.results import analyze
from analysis.review.finding import ReviewInput
from analysis.review.idle_components import check_idle_components
from tests.helpers.reviewed_sweeps import (
    COMPONENTS,
    CROSSED,
    Story,
    assert_only_finding,
    write_sweep,
)
from uniclip.store import AuditCheck

WITHOUT_AWARENESS = (
    *("no-awareness", "no-awareness-domain-similarity", "no-awareness-mp-nce", "none"),
)


def test_a_component_that_the_model_does_not_use_is_found(tmp_path: Path) -> None:
    remedy = assert_only_finding(tmp_path, "idle_component").remedy
    assert remedy.runs == {"full": 6.0, "no-awareness": 6.0}


@pytest.mark.parametrize(
    ("contrasts", "title"),
    [
        (("main:mp_nce",), "MP-NCE loss: it cannot act in 4 of 8 arms"),
        (("in-none",), "MP-NCE loss: its knock-out changes nothing"),
        (("in-full",), None),
    ],
)
def test_arms_in_which_a_component_cannot_act_are_found_if_they_are_compared(
    contrasts: tuple[str, ...], title: str | None, tmp_path: Path
) -> None:
    """As with one view, which has a single positive pair: without awareness, in this story."""
    store, plan = write_sweep(tmp_path, Story(words=(*COMPONENTS, CROSSED), seeds="seeds=2"))
    (main,) = (c for c in plan.contrasts if c.component == "mp_nce" and c.kind == "main")
    known = {
        "main:mp_nce": main,
        "in-full": replace(main, name="in-full", weights={"full": 1.0, "no-mp-nce": -1.0}),
        "in-none": replace(
            main, name="in-none", weights={"no-awareness": 1.0, "no-awareness-mp-nce": -1.0}
        ),
    }
    changed_plan = replace(plan, contrasts=tuple(known[name] for name in contrasts))
    results = analyze(store, collect_plan_data(store, plan))
    inert = [
        AuditCheck(
            arm=arm, name="mp_nce is off", passed=True, detail="one view", inert=True,
            component="mp_nce",
        )
        for arm in WITHOUT_AWARENESS
    ]  # fmt: skip
    sweep_data = replace(results.sweep_data, plan=changed_plan)
    changed = replace(results, sweep_data=sweep_data, audit_checks=tuple(inert))
    review = ReviewInput(results=changed, related_plans=(), further_seeds={})
    findings = list(check_idle_components(review))
    assert [finding.title for finding in findings] == ([] if title is None else [title])
    if "cannot act" in (title or ""):
        arms, _, detail = findings[0].evidence[0].partition(": ")
        assert detail == "one view"
        assert arms.startswith("no-awareness, ")
        assert findings[0].remedy.runs == {}
