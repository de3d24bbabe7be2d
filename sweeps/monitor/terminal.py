"""Output of the commands: a console, JSON records, tables, and lines that are redrawn."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from sweeps.monitor.columns import MIN_WIDTH, Column, layout_table, measure_width

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200
"""Columns of output that is not a terminal, unless COLUMNS is set: rows are then on one line."""
Line = tuple[str, str]
"""A line of text and its style, such as "bold red"; "" for none."""


def make_console(*, stderr: bool = False) -> Console:
    """Return a console on standard output or standard error.

    Characters that the stream cannot encode are written as "?".
    """
    from rich.console import Console  # here: --help does not need it

    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="replace")
    columns = os.environ.get("COLUMNS", "")
    width = None
    if not stream.isatty():
        width = int(columns) if columns.isdecimal() and int(columns) else PIPE_WIDTH
    return Console(highlight=False, emoji=False, soft_wrap=True, width=width, stderr=stderr)


def print_json(records: object) -> None:
    """Print records as indented JSON on standard output; NaN and infinities become null."""
    print(json.dumps(_replace_non_finite(records), indent=1, allow_nan=False), flush=True)


def _replace_non_finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def divert_text(*, is_diverted: bool) -> Iterator[None]:
    """Print to standard error what is printed meanwhile, if the command prints JSON at its end."""
    if not is_diverted:
        yield
        return
    sys.stdout.flush()
    with redirect_stdout(sys.stderr):
        yield


def print_table(console: Console, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table that fits the width of the console; no text is cut."""
    heading_line, row_lines = layout_table(columns, rows, console.width)
    lines = [line for lines in row_lines for line in lines]
    print_lines(console, [heading_line, *lines] if lines else [])


def print_lines(console: Console, lines: Iterable[str | Line]) -> None:
    """Print lines as they are, each with its style; rich's markup is not interpreted."""
    for line in lines:
        text, style = (line, "") if isinstance(line, str) else line
        if console.is_terminal and style:
            console.print(text, style=style, markup=False, emoji=False)
        else:
            print(text, file=console.file)


def is_screen(console: Console) -> bool:
    """Return whether lines can be redrawn: a terminal that can move its cursor."""
    return console.file.isatty() and not console.is_dumb_terminal


def needs_ascii(console: Console) -> bool:
    """Return whether the console's encoding has no box-drawing characters."""
    return not console.encoding.lower().startswith("utf")


def get_screen_size(console: Console) -> tuple[int, int]:
    """Return columns and lines of the terminal as it is now, at least 20 x 4.

    The size is read from the terminal itself: COLUMNS may be older.
    """
    try:
        width, height = os.get_terminal_size(console.file.fileno())
    except (OSError, ValueError):
        width, height = console.size
    return max(width or 80, MIN_WIDTH), max(height or 24, 4)


class ScreenLines:
    """Lines at the end of a terminal's output that are replaced by the next ones.

    Terminals that are made narrower wrap the lines that they show, so the rows that they take are
    counted for the width at which they are replaced.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._widths: list[int] = []
        """Width of each line that is shown."""
        self._shown: tuple[object, ...] = ()

    def update(self, lines: Sequence[Line]) -> None:
        """Replace the lines; each must be narrower than the terminal."""
        content = (tuple(lines), get_screen_size(self.console))
        if content == self._shown:
            return
        self.clear()
        print_lines(self.console, lines)
        self.console.file.flush()
        self._widths = [measure_width(text) for text, _ in lines]
        self._shown = content

    def clear(self) -> None:
        """Remove the lines."""
        if not self._widths:
            return
        width, height = get_screen_size(self.console)
        num_rows = sum(max(1, -(-line_width // width)) for line_width in self._widths)
        self.console.file.write(f"\r\x1b[{min(num_rows, height - 1)}A\x1b[J")
        self.console.file.flush()
        self._widths, self._shown = [], ()


def watch(console: Console, render: Callable[[], Sequence[Line]], seconds: float = 2.0) -> None:
    """Redraw the lines that `render` returns every `seconds`, until Ctrl-C.

    Where lines cannot be redrawn, they are printed again when they change.
    """
    screen_lines, previous_lines = ScreenLines(console), None
    while True:
        lines = render()
        if is_screen(console):
            screen_lines.update(lines)
        elif lines != previous_lines:
            print_lines(console, lines)
            console.file.flush()
            previous_lines = lines
        time.sleep(seconds)
