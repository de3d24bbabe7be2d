"""What a person sees while a sweep runs: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.claims.claim import AT_REST, State
from sweeps.monitor.status import FINAL, STYLES, Row, summary
from uniclip.store import Finding, Plan

if TYPE_CHECKING:
    from rich.live import Live

SHOWN_ROWS, MOST_ROWS = 40, 500
"""In a live table, and in one that is printed."""
LOG_SECONDS = 60.0
"""Between two lines of progress in a log."""


class Display:
    """Lines, and on a terminal one table that is redrawn."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._before: dict[str, str] = {}
        self._spoke = time.time()

    def line(self, text: str) -> None:
        """One line, above the table if there is one."""
        self.console.print(text, markup=False)

    def show(self, plan: Plan, states: Mapping[str, State]) -> None:
        """The cells as they are now."""
        rows = [Row(cell=c.name, run=c.run, state=states[c.run]) for c in plan.cells]
        if self.console.is_terminal:
            if self._live is None:
                from rich.live import Live  # here: a plan shows nothing live

                self._live = Live(console=self.console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(table(rows, most=SHOWN_ROWS), refresh=True)
        self._changes(rows)

    def close(self) -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def audit(self, findings: Collection[Finding]) -> None:
        """How the audit came out, in one line and one more for each finding that does not hold, or
        that says what cannot matter here."""
        broken = [f for f in findings if not f.holds]
        self.line(f"audit: {len(findings) - len(broken)} of {len(findings)} checks hold")
        for f in broken:
            self.line(f"audit: {f.broken}")
        for f in findings:
            if f.inert:
                self.line(f"audit: {f.arm}: {f.detail}")

    def _changes(self, rows: list[Row]) -> None:
        done = sum(r.state.kind in (*FINAL, *AT_REST) for r in rows)
        for row in rows:
            kind = row.state.kind
            news = kind in ("complete", "diverged", "failed", "lost") and self._before
            if news and self._before.get(row.cell) != kind:
                why = f"  {row.state.reason}" if kind in ("failed", "lost") else ""
                self.line(f"[{done:>3}/{len(rows)}] {row.cell:<40} {kind}{why}")
                self._spoke = time.time()
        self._before = {r.cell: r.state.kind for r in rows}
        if not self.console.is_terminal and time.time() - self._spoke > LOG_SECONDS:
            self.line(f"[{done:>3}/{len(rows)}] {summary(rows)}")
            self._spoke = time.time()


def table(rows: list[Row], *, most: int = MOST_ROWS) -> Table:
    """The rows as a table; of more than `most`, only what neither waits nor is done."""
    shown = rows
    if len(rows) > most:
        shown = [r for r in rows if r.kind not in ("planned", "queued", "complete")][:most]
    drawn = Table(title=summary(rows), box=None, pad_edge=False, title_justify="left")
    for name in ("cell", "run", "state", "progress", "where", "last sign", "what to know"):
        drawn.add_column(name, no_wrap=True)
    for r in shown:
        kind = r.kind
        said = (r.cell, r.run[:8], kind, r.progress, r.place, r.age, r.reason)
        drawn.add_row(*map(Text, said), style=STYLES.get(kind, ""))
    return drawn
