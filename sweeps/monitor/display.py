"""What a person sees while a sweep runs: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.claims.claim import TERMINAL_UNFINISHED, RunState
from sweeps.monitor.status import FINAL_STATUSES, STATUS_STYLES, CellRow, describe_counts
from uniclip.store import AuditCheck, Plan

if TYPE_CHECKING:
    from rich.live import Live

MAX_LIVE_ROWS, MAX_PRINTED_ROWS = 40, 500
"""In a live table, and in one that is printed."""
LOG_INTERVAL_SECONDS = 60.0
"""Between two lines of progress in a log."""


class Display:
    """Lines, and on a terminal one table that is redrawn."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._previous_statuses: dict[str, str] = {}
        self._last_printed_at = time.time()

    def print_line(self, text: str) -> None:
        """One line, above the table if there is one."""
        self.console.print(text, markup=False)

    def show_states(self, plan: Plan, states: Mapping[str, RunState]) -> None:
        """The cells as they are now."""
        rows = [CellRow(cell=c.name, run=c.run_id, state=states[c.run_id]) for c in plan.cells]
        if self.console.is_terminal:
            if self._live is None:
                from rich.live import Live  # here: a plan shows nothing live

                self._live = Live(console=self.console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(build_table(rows, max_rows=MAX_LIVE_ROWS), refresh=True)
        self._print_changes(rows)

    def close(self) -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def print_audit(self, checks: Collection[AuditCheck]) -> None:
        """How the audit came out, in one line and one more for each finding that does not hold, or
        that says what cannot matter here."""
        failed_checks = [check for check in checks if not check.passed]
        self.print_line(f"audit: {len(checks) - len(failed_checks)} of {len(checks)} checks hold")
        for check in failed_checks:
            self.print_line(f"audit: {check.failure_message}")
        for check in checks:
            if check.inert:
                self.print_line(f"audit: {check.arm}: {check.detail}")

    def _print_changes(self, rows: list[CellRow]) -> None:
        num_done = sum(r.state.status in (*FINAL_STATUSES, *TERMINAL_UNFINISHED) for r in rows)
        for row in rows:
            status = row.state.status
            is_reportable = (
                status in ("complete", "diverged", "failed", "lost") and self._previous_statuses
            )
            if is_reportable and self._previous_statuses.get(row.cell) != status:
                reason = f"  {row.state.reason}" if status in ("failed", "lost") else ""
                self.print_line(f"[{num_done:>3}/{len(rows)}] {row.cell:<40} {status}{reason}")
                self._last_printed_at = time.time()
        self._previous_statuses = {r.cell: r.state.status for r in rows}
        if (
            not self.console.is_terminal
            and time.time() - self._last_printed_at > LOG_INTERVAL_SECONDS
        ):
            self.print_line(f"[{num_done:>3}/{len(rows)}] {describe_counts(rows)}")
            self._last_printed_at = time.time()


def build_table(rows: list[CellRow], *, max_rows: int = MAX_PRINTED_ROWS) -> Table:
    """The rows as a table; of more than `most`, only what neither waits nor is done."""
    shown_rows = rows
    if len(rows) > max_rows:
        shown_rows = [r for r in rows if r.status not in ("planned", "queued", "complete")][
            :max_rows
        ]
    rich_table = Table(title=describe_counts(rows), box=None, pad_edge=False, title_justify="left")
    for name in ("cell", "run", "state", "progress", "where", "last sign", "what to know"):
        rich_table.add_column(name, no_wrap=True)
    for r in shown_rows:
        status = r.status
        columns = (r.cell, r.run[:8], status, r.progress, r.location, r.heartbeat_age, r.reason)
        rich_table.add_row(*map(Text, columns), style=STATUS_STYLES.get(status, ""))
    return rich_table
