"""The display of a running sweep: a live table on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.claims.status import TERMINAL_UNFINISHED, RunState
from sweeps.monitor.status import (
    FINAL_STATUSES,
    STATUS_STYLES,
    CellRow,
    CellStatus,
    QueueStatus,
    describe_counts,
)
from uniclip.store import AuditCheck, Plan, RunStatus

if TYPE_CHECKING:
    from rich.live import Live

MAX_LIVE_ROWS, MAX_PRINTED_ROWS = 40, 500
"""Rows of a live table, and of a printed one."""
LOG_INTERVAL_SECONDS = 60.0
"""Seconds between two lines of progress in a log."""
ANNOUNCED_STATUSES = (
    RunStatus.COMPLETE,
    RunStatus.DIVERGED,
    RunStatus.FAILED,
    RunStatus.STALLED,
)
"""A line is printed when a cell gets one of these statuses."""
HIDDEN_STATUSES = (RunStatus.PENDING, QueueStatus.QUEUED, RunStatus.COMPLETE)
"""Cells with these statuses are left out of a table that would be too long."""


class Display:
    """Prints lines, and on a terminal redraws one table of all cells below them."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._previous_statuses: dict[str, CellStatus] = {}
        self._last_printed_at = time.time()

    def print_line(self, text: str) -> None:
        """Print one line, above the table if there is one."""
        self.console.print(text, markup=False)

    def show_states(self, plan: Plan, states: Mapping[str, RunState]) -> None:
        """Update the table with the states of the runs, and print a line for each finished cell."""
        rows = [CellRow(cell=c.name, run=c.run_id, state=states[c.run_id]) for c in plan.cells]
        if self.console.is_terminal:
            if self._live is None:
                from rich.live import Live  # here: a plan needs no live table

                self._live = Live(console=self.console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(build_table(rows, max_rows=MAX_LIVE_ROWS), refresh=True)
        self._print_changes(rows)

    def close(self) -> None:
        """Remove the table."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def print_audit(self, checks: Collection[AuditCheck]) -> None:
        """Print how many checks of the audit passed, each failure, and each inert component."""
        failed_checks = [check for check in checks if not check.passed]
        num_passed = len(checks) - len(failed_checks)
        self.print_line(f"audit: {num_passed} of {len(checks)} checks passed")
        for check in failed_checks:
            self.print_line(f"audit: {check.failure_message}")
        for check in checks:
            if check.inert:
                self.print_line(f"audit: {check.arm}: {check.detail}")

    def _print_changes(self, rows: list[CellRow]) -> None:
        """Print a line for each cell that ended since the last call, and the counts at times."""
        ended_statuses = (*FINAL_STATUSES, *TERMINAL_UNFINISHED)
        prefix = f"[{sum(r.state.status in ended_statuses for r in rows):>3}/{len(rows)}]"
        for row in rows:
            status = row.state.status
            previous_status = self._previous_statuses.get(row.cell)
            if self._previous_statuses and status != previous_status:
                if status in ANNOUNCED_STATUSES:
                    has_reason = status in (RunStatus.FAILED, RunStatus.STALLED)
                    reason = f"  {row.state.reason}" if has_reason else ""
                    self.print_line(f"{prefix} {row.cell:<40} {status}{reason}")
                    self._last_printed_at = time.time()
        self._previous_statuses = {row.cell: row.state.status for row in rows}
        is_due = time.time() - self._last_printed_at > LOG_INTERVAL_SECONDS
        if is_due and not self.console.is_terminal:
            self.print_line(f"{prefix} {describe_counts(rows)}")
            self._last_printed_at = time.time()


def build_table(rows: list[CellRow], *, max_rows: int = MAX_PRINTED_ROWS) -> Table:
    """Return the rows as a table.

    Of more than `max_rows` rows it shows the first `max_rows` cells that are neither pending,
    queued nor complete.
    """
    shown_rows = rows
    if len(rows) > max_rows:
        shown_rows = [row for row in rows if row.status not in HIDDEN_STATUSES][:max_rows]
    table = Table(title=describe_counts(rows), box=None, pad_edge=False, title_justify="left")
    for heading in ("cell", "run id", "status", "progress", "location", "last heartbeat", "reason"):
        table.add_column(heading, no_wrap=True)
    for row in shown_rows:
        status = row.status
        columns = (
            *(row.cell, row.run[:8], status, row.progress),
            *(row.location, row.heartbeat_age, row.reason),
        )
        table.add_row(*map(Text, columns), style=STATUS_STYLES.get(status, ""))
    return table
