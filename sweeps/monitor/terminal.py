"""Output of the commands: a console, JSON records, and a table that is redrawn."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_WIDTH = 200
"""Columns of output that is not a terminal: wide enough that names are not cut."""


def make_console(*, stderr: bool = False) -> Console:
    """Return a console on standard output or standard error."""
    from rich.console import Console  # here: --help does not need it

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(highlight=False, soft_wrap=True, width=width, stderr=stderr)


def print_json(records: object) -> None:
    """Print records as indented JSON on standard output."""
    print(json.dumps(records, indent=1))


def print_table(console: Console, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print left-aligned columns, cut at the width of the console.

    Output that is not a terminal is formatted here: rich takes 2 ms for each row.
    """
    lines = [tuple(headings), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    is_plain = all(cell.isascii() and cell.isprintable() for line in lines for cell in line)
    if is_plain and not console.is_terminal and sum(widths) + 2 * len(widths) <= console.width:
        for line in lines:
            padded = (cell.ljust(width) for cell, width in zip(line, widths))
            print("  ".join(padded), file=console.file)
        return
    from rich.table import Table  # here: a pipe does not need it
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    console.print(table)


def watch(render: Callable[[], RenderableType], seconds: float = 2.0) -> None:
    """Redraw what `render` returns every `seconds`, until Ctrl-C."""
    from rich.live import Live  # here: only --watch needs it

    with Live(auto_refresh=False, screen=False) as live:
        while True:
            live.update(render(), refresh=True)
            time.sleep(seconds)
