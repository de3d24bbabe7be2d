"""Output of the commands: a console, JSON records, and a table that is redrawn."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
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


def watch(render: Callable[[], RenderableType], seconds: float = 2.0) -> None:
    """Redraw what `render` returns every `seconds`, until Ctrl-C."""
    from rich.live import Live  # here: only --watch needs it

    with Live(auto_refresh=False, screen=False) as live:
        while True:
            live.update(render(), refresh=True)
            time.sleep(seconds)
