"""Table of components: manipulation check and knock-out effect."""

from __future__ import annotations

import dataclasses

from analysis.results.results import Results
from analysis.tables.components import build_component_table
from analysis.tables.table import to_markdown
from tests.helpers.analyzed_sweeps import select_record
from uniclip.store import AuditCheck


def test_manipulation_check_and_knockout_effect(complete_results: Results) -> None:
    table = build_component_table(complete_results)
    text = to_markdown(table)
    assert "passed (1 check)" in text
    assert "loss +0.42; augmentation encoder changed by 60 %; image head changed by 80 %" in text
    record = select_record(table, component="awareness")
    assert record["off_settings"] == "method.awareness=off"
    assert (record["knockout_effect"], record["relative_change_image_head"]) == ("0.42", "0.8")


def test_a_failed_check_is_shown_with_its_detail(complete_results: Results) -> None:
    check = AuditCheck(arm="full", name="mp_nce is off", passed=False, detail="bits are equal")
    results = dataclasses.replace(complete_results, audit_checks=(check,))
    table = build_component_table(results)
    assert (
        select_record(table, component="mp_nce")["manipulation_check"] == "FAILED: bits are equal"
    )
    assert select_record(table, component="awareness")["manipulation_check"] == "not audited"
