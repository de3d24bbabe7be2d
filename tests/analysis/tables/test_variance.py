"""The table of variances shows standard deviations in the unit of the score."""

from __future__ import annotations

from dataclasses import replace

from analysis.results.results import Results
from analysis.statistics.variance_components import VarianceComponent
from analysis.tables.table import to_csv
from analysis.tables.variance import build_variance_table


def test_standard_deviations_are_rounded_and_have_an_interval(complete_results: Results) -> None:
    components = [
        VarianceComponent(
            source="draws", variance=0.0123**2, low=0.01**2, high=0.05**2, degrees_of_freedom=8
        ),
        VarianceComponent(source="items", variance=0.0, low=None, high=None, degrees_of_freedom=99),
    ]
    parts = {complete_results.primary_score: components}
    table = build_variance_table(replace(complete_results, variance_components=parts))
    draws, items = ([cell.text for cell in row] for row in table.rows)
    assert draws[1:] == ["random draws (order, augmentations)", "1.2", "[1.0, 5.0]", "8"]
    assert items[3:] == ["", "99"]
    assert to_csv(table).splitlines()[1].endswith(",draws,0.0123,0.01,0.05,8")
