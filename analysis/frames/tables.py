"""The tables of a report as data frames, as they are shown (Styler), and in LaTeX.

A data frame has the unrounded numbers of the table's CSV file, an index of the columns that name a
row, and in `attrs` the title, the notes and the units of the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

import pandas as pd

from analysis import formatting
from analysis.results.reanalysis import get_alpha
from analysis.results.results import Results
from analysis.statistics.effects import ALPHA
from analysis.tables import build_tables
from analysis.tables.costs import build_cost_report
from analysis.tables.latex import to_latex
from analysis.tables.table import Table
from uniclip.errors import make_unknown_name_error
from uniclip.frames.records import describe_unit

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

KEY_COLUMNS = (
    "contrast",
    "dataset",
    "score",
    "component",
    "arm",
    "other_arm",
    "quantity",
    "seed",
)
"""Columns that name a row, in the order of the index."""
SCORE_UNIT = "column unit"
"""Unit of a column whose rows are of scores with different units."""
UNITS = {
    **dict.fromkeys(
        (
            *("effect", "ci_low", "ci_high", "mde", "mde_low", "mde_high", "margin"),
            *("mean", "sd", "chance", "value", "worst_case_mean", "test_set_se"),
            *("seeds_and_test_set_low", "seeds_and_test_set_high"),
        ),
        SCORE_UNIT,
    ),
    **dict.fromkeys(
        ("num_seeds", "mde_seeds", "required_seeds", "verdict_seeds", "num_planned_seeds"), "seeds"
    ),
    "num_samples": "test samples",
    "steps": "steps",
    "training_seconds": "s",
    "wall_seconds": "s",
    "wasted_seconds": "s",
    "predicted_seconds": "s",
    "predicted_seconds_low": "s",
    "predicted_seconds_high": "s",
    "seconds_per_step": "s",
    "peak_memory_bytes": "B",
    "checkpoint_bytes": "B",
    "flops_per_step": "FLOP",
    "gpu_hours": "h",
    "predicted_gpu_hours": "h",
}
"""Column -> its unit; columns without a unit are left out."""
TONE_COLORS = {formatting.GOOD: "#0072B2", formatting.BAD: "#D55E00", formatting.MUTED: "#6f6f6f"}


def list_tables(results: Results) -> list[str]:
    """Return the names of the tables that the report of these results has."""
    return [table.name for table in _build_all(results)]


def tabulate(results: Results, name: str) -> pd.DataFrame:
    """Return a table of the report as a data frame, with unrounded numbers.

    Args:
        results: results of a sweep.
        name: name of the table, as `list_tables` returns it and as its file is called.

    Returns:
        A frame with a tidy index. `attrs` has `title`, `notes` and `units` (column -> unit; the
        unit "column unit" means that each row names its own).

    Raises:
        UserError: there is no such table.
    """
    return to_data_frame(find_table(results, name), results)


def style_table(results: Results, name: str) -> Styler:
    """Return a table of the report as it is shown there: rounded, with bold and coloured cells.

    The arguments are those of `tabulate`. The result is displayed by Jupyter, and has `to_html` and
    `to_latex`; for a table that fits the columns of a paper see `format_latex`.
    """
    return to_styler(find_table(results, name))


def format_latex(results: Results, name: str) -> str:
    """Return a table of the report in LaTeX (booktabs), as the report's file has it.

    The arguments are those of `tabulate`. The first line names the packages that it needs.
    """
    return to_latex(find_table(results, name))


def find_table(results: Results, name: str) -> Table:
    """Return a table of the report; headings state the level of the intervals.

    Raises:
        UserError: there is no such table.
    """
    tables = {table.name: table for table in _build_all(results)}
    if name not in tables:
        raise make_unknown_name_error("table", name, tables)
    return _state_level(tables[name], get_alpha(results))


def to_data_frame(table: Table, results: Results | None = None) -> pd.DataFrame:
    """Return the records of a table, or its rows if it has none, as a data frame.

    Args:
        table: the table.
        results: what it was made of; with it, rows of a score have a column `unit`.
    """
    if not table.records:
        frame = pd.DataFrame(
            [[cell.text for cell in row] for row in table.rows], columns=list(table.headings)
        )
        return _describe(frame.set_index(table.headings[0]), table.title, table.notes)
    caveats = () if results is None else results.plan.caveats
    notes = tuple(dict.fromkeys((*caveats, *table.notes)))
    frame = make_numeric(pd.DataFrame([dict(record) for record in table.records]))
    if results is not None and {"dataset", "score"} <= set(frame):
        kinds = zip(frame["dataset"], frame["score"])
        units = [describe_unit(results.sweep_data.get_score_kind(*key)) for key in kinds]
        frame.insert(int(frame.columns.get_indexer(["score"])[0]) + 1, "unit", units)
    index = [name for name in KEY_COLUMNS if name in frame]
    if index and not frame.duplicated(index).any():
        frame = frame.set_index(index)
    return _describe(frame, table.title, notes)


def to_styler(table: Table) -> Styler:
    """Return the rows of a table as they are shown."""
    headings = list(table.headings)
    frame = pd.DataFrame([[cell.text for cell in row] for row in table.rows], columns=headings)
    css = pd.DataFrame(
        [
            [
                "".join(
                    [
                        "font-weight: bold;" if cell.bold else "",
                        f"color: {TONE_COLORS[cell.tone]};" if cell.tone else "",
                    ]
                )
                for cell in row
            ]
            for row in table.rows
        ],
        columns=headings,
    )
    styler = frame.style.hide(axis="index").set_caption(table.title)
    styler.set_uuid(table.name.replace("_", "-"))  # the default is random
    return styler.apply(lambda _: css, axis=None)


def make_numeric(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose columns of numbers and None are floats with NaN."""
    converted = frame.copy()
    for name in frame:
        values = frame[name].dropna()
        if frame[name].dtype == object and all(
            isinstance(v, int | float) and not isinstance(v, bool) for v in values
        ):
            converted[name] = frame[name].astype(float)
    return converted


def add_units(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the units of its columns in `attrs`."""
    frame.attrs["units"] = {str(name): UNITS[name] for name in frame if name in UNITS}
    return frame


def _describe(frame: pd.DataFrame, title: str, notes: Sequence[str]) -> pd.DataFrame:
    frame.attrs |= {"title": title, "notes": list(notes)}
    return add_units(frame)


_last_tables: list[tuple[ReferenceType[Results], list[Table]]] = []
"""The tables of the results that were asked for last: all are built at once."""


def _build_all(results: Results) -> list[Table]:
    for reference, tables in _last_tables:
        if reference() is results:
            return tables
    tables = [*build_tables(results), build_cost_report(results.sweep_data).table]
    _last_tables[:] = [(ref(results), tables)]
    return tables


def _state_level(table: Table, alpha: float) -> Table:
    """Return a table whose headings and notes state the level of the intervals."""
    if alpha == ALPHA:
        return table
    usual, level = formatting.format_confidence_level(), f"{100 * (1 - alpha):g} %"

    def state(text: str) -> str:
        return text.replace(f"{usual} interval", f"{level} interval")

    return replace(
        table,
        headings=tuple(state(h) for h in table.headings),
        essential=tuple(state(h) for h in table.essential),
        notes=tuple(state(n) for n in table.notes),
    )
