"""The table of arms explains the words that it uses."""

from __future__ import annotations

from dataclasses import replace

from analysis.results.results import Results
from analysis.results.setup import list_arm_setups
from analysis.tables.arms import build_arm_table


def test_every_role_is_explained(complete_results: Results) -> None:
    setups = list_arm_setups(complete_results.sweep_data)
    table = build_arm_table(setups)
    assert len(table.rows) == len(complete_results.plan.arms)
    assert all(row[2].text in table.notes[0] for row in table.rows)
    assert "unreadable training images" not in table.headings
    broken = build_arm_table([replace(setups[0], unreadable_images=3), *setups[1:]])
    assert broken.rows[0][-1].text == "3"
    assert broken.headings[-1] == "unreadable training images"
