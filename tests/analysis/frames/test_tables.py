"""Tables of a report as data frames, as they are shown, and in LaTeX."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from analysis.frames.tables import (
    find_table,
    format_latex,
    list_tables,
    style_table,
    tabulate,
)
from analysis.results.reanalysis import analyze_sweep
from analysis.results.results import Results
from analysis.tables.latex import to_latex
from analysis.tables.table import to_csv
from tests.helpers.analyzed_sweeps import tables_by_name
from uniclip.errors import UserError


def test_every_table_is_a_frame_with_the_numbers_of_its_file(complete_results: Results) -> None:
    tables = tables_by_name(complete_results)
    assert list_tables(complete_results) == [*tables, "costs"]
    for name, table in tables.items():
        frame = tabulate(complete_results, name)
        assert frame.attrs["title"] == table.title
        written = pd.read_csv(io.StringIO(to_csv(table)))
        again = frame.reset_index().drop(columns=["unit", "index"], errors="ignore")
        assert len(again) == len(written)
        is_number = written.dtypes.map(pd.api.types.is_float_dtype) & (written.notna().any())
        numbers = written.columns[is_number]
        assert len(numbers) > 0 or name in ("runs", "components", "comparability")
        pd.testing.assert_frame_equal(
            again[numbers].astype(float), written[numbers].astype(float), rtol=1e-8
        )


def test_the_index_names_rows_and_the_units_columns(complete_results: Results) -> None:
    frame = tabulate(complete_results, "effects")
    assert frame.index.names == ["contrast", "dataset", "score"]
    assert frame.index.is_unique
    assert set(frame["unit"]) == {"fraction"}
    assert frame.attrs["units"]["effect"] == "column unit"
    assert frame.attrs["units"]["num_seeds"] == "seeds"
    assert tabulate(complete_results, "runs").index.names == ["arm", "seed"]


def test_a_styler_shows_what_the_report_does(complete_results: Results) -> None:
    html = style_table(complete_results, "effects").to_html()
    assert html == style_table(complete_results, "effects").to_html(), "no random id"
    assert "font-weight: bold" in html
    table = tables_by_name(complete_results)["effects"]
    assert all(cell.text in html for row in table.rows for cell in row[:2])


def test_latex_is_that_of_the_report(complete_results: Results) -> None:
    table = tables_by_name(complete_results)["scores"]
    assert format_latex(complete_results, "scores") == to_latex(table)


def test_headings_state_the_level_of_the_intervals(complete_root: Path) -> None:
    results = analyze_sweep(complete_root, "components", alpha=0.1)
    table = find_table(results, "effects")
    assert "90 % interval" in table.headings
    assert not any("95 % interval" in heading for heading in (*table.headings, *table.essential))


def test_an_unknown_table_is_refused(complete_results: Results) -> None:
    with pytest.raises(UserError, match="unknown table 'effect': did you mean effects"):
        tabulate(complete_results, "effect")
