"""The table of short runs."""

from __future__ import annotations

from analysis.tables.command_checks import build_command_check_table
from analysis.tables.table import to_csv, to_markdown
from tests.helpers import fake_sweep
from uniclip.store import AuditCheck


def test_every_check_has_a_row() -> None:
    checks = [
        AuditCheck(arm="full", name="the seed has an effect", passed=True, detail="loss differs"),
        AuditCheck(arm="clip", name="loss differs from full", passed=False, detail="loss is equal"),
    ]
    table = build_command_check_table(fake_sweep.plan(fake_sweep.Truth()), checks)
    assert "| CLIP | loss differs from full | FAILED | loss is equal |" in to_markdown(table)
    assert to_csv(table).splitlines()[1:] == [
        "full,the seed has an effect,true,loss differs",
        "clip,loss differs from full,false,loss is equal",
    ]
