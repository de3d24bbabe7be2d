"""The display of a running sweep: lines that are redrawn on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from rich.console import Console

from analysis.collect.run_time import format_duration
from sweeps.claims.status import RunState
from sweeps.monitor.columns import Column, layout_table, wrap_text
from sweeps.monitor.progress import OPEN_STATUSES, ProgressMeter, SweepProgress
from sweeps.monitor.status import STATUS_STYLES, CellRow, CellStatus, describe_counts, read_losses
from sweeps.monitor.terminal import (
    Line,
    ScreenLines,
    get_screen_size,
    is_screen,
    make_console,
    needs_ascii,
)
from uniclip.store import AuditCheck, Plan, RunStatus, Store

LOG_INTERVAL_SECONDS = 60.0
"""Seconds between two lines of progress in a log."""
ANNOUNCED_STATUSES = (
    RunStatus.COMPLETE,
    RunStatus.DIVERGED,
    RunStatus.FAILED,
    RunStatus.STALLED,
)
"""A line is printed when a cell gets one of these statuses."""
MIN_BAR_WIDTH, MAX_BAR_WIDTH = 8, 60
"""Columns of the progress bar."""
MIN_HEIGHT_WITH_SPACE = 12
"""Lines of a screen from which on an empty line precedes the progress bar."""
MAX_FINISHED = 8
"""Cells listed as finished last."""
RUNNING_COLUMNS = (
    Column("running"),
    Column("step", 1, right_aligned=True),
    Column("loss", 2, right_aligned=True),
    Column("left", 3, right_aligned=True),
    Column("steps/s", 6, right_aligned=True),
    Column("phase", 4),
    Column("run id", 5),
    Column("location", 7),
)
FINISHED_COLUMNS = (
    Column("finished last"),
    Column("status"),
    Column("step", 2, right_aligned=True),
    Column("run id", 4),
    Column("ended", 3),
)
STATUS_COLUMNS = (
    Column("cell"),
    Column("status"),
    Column("step", 1, right_aligned=True),
    Column("loss", 2, right_aligned=True),
    Column("left", 3, right_aligned=True),
    Column("steps/s", 7, right_aligned=True),
    Column("phase", 6),
    Column("heartbeat", 4),
    Column("run id", 5),
    Column("process", 8),
    Column("GPU", 9),
    Column("reason"),
)
SORTED_STATUSES: tuple[CellStatus, ...] = (
    RunStatus.RUNNING,
    RunStatus.STALLED,
    RunStatus.FAILED,
    RunStatus.DIVERGED,
    RunStatus.INTERRUPTED,
    RunStatus.NEEDS_EVALUATION,
    RunStatus.PAUSED,
    RunStatus.OUTDATED,
)
"""Statuses of the cells that a screen shows first; the others follow in the order of the plan."""


class Display:
    """Prints lines, and on a terminal redraws the state of the sweep below them."""

    def __init__(self, console: Console | None = None, *, redraws: bool = True) -> None:
        self.console = console or make_console()
        self.idle_message = "starting workers"
        """Why no cell runs although cells are open."""
        self._has_seen_running, self._meter = False, ProgressMeter()
        redraws = redraws and is_screen(self.console)
        self._screen_lines = ScreenLines(self.console) if redraws else None
        self._previous_statuses: dict[str, CellStatus] = {}
        self._ended_at: dict[str, float] = {}
        """Run -> when it was first seen to have ended (`time.monotonic`), newest last."""
        self._last_printed_at = time.time()

    def print_line(self, text: str) -> None:
        """Print one line, above the redrawn ones if there are any."""
        if self._screen_lines is not None:
            self._screen_lines.clear()
            width, _ = get_screen_size(self.console)
            text = "\n".join(wrap_text(text, width, "  ", divide_words=False))
        self.console.print(text, markup=False, emoji=False)

    def use_measurements(self, store: Store, num_workers: int) -> None:
        """Show losses and the remaining time too, from what a store contains.

        Args:
            store: the store of the sweep.
            num_workers: runs that are executed in parallel.
        """
        started_at = self._meter.started_at
        self._meter = ProgressMeter(store=store, num_workers=num_workers, started_at=started_at)

    def show_audit(self, plan: Plan) -> None:
        """Show that the arms are audited, which happens before the first cell runs."""
        num_arms = len(plan.arms)
        text = f"starting workers and auditing {num_arms} arm{'s' if num_arms > 1 else ''}"
        elapsed_text = self._meter.measure(plan, []).times_text
        if self._screen_lines is not None:
            width, _ = get_screen_size(self.console)
            self._screen_lines.update(_wrap(f"{text}, {elapsed_text}", width - 1))
        elif time.time() - self._last_printed_at > LOG_INTERVAL_SECONDS:
            self.print_line(f"{text}, {elapsed_text}")
            self._last_printed_at = time.time()

    def show_states(self, plan: Plan, states: Mapping[str, RunState]) -> None:
        """Show the states of the runs, and print a line for each cell that has ended."""
        store = self._meter.store
        losses = read_losses(store, states) if store is not None else {}
        rows = [
            CellRow(
                cell=cell.name,
                run=cell.run_id,
                state=states[cell.run_id],
                loss=losses.get(cell.run_id),
            )
            for cell in plan.cells
        ]
        self._note_ended_runs(rows)
        progress = self._meter.measure(plan, rows)
        self._print_changes(rows, progress)
        if self._screen_lines is not None:
            width, height = get_screen_size(self.console)
            finished = [(run, time.monotonic() - t) for run, t in self._ended_at.items() if t]
            lines = build_screen(
                _merge_shared_runs(rows),
                progress,
                width=width - 1,
                height=height - 1,
                finished=dict(reversed(finished)),
                counts_text=self._describe_counts(rows),
                use_ascii=needs_ascii(self.console),
            )
            self._screen_lines.update(lines)

    def close(self) -> None:
        """Remove the redrawn lines."""
        if self._screen_lines is not None:
            self._screen_lines.clear()

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

    def _describe_counts(self, rows: Sequence[CellRow]) -> str:
        """Return how many cells have each status, and why none has run yet if cells are open."""
        counts_text = describe_counts(rows)
        statuses = {row.state.status for row in rows}
        self._has_seen_running |= RunStatus.RUNNING in statuses
        is_idle = not self._has_seen_running and bool(statuses & {*OPEN_STATUSES})
        return f"{self.idle_message}: {counts_text}" if is_idle else counts_text

    def _note_ended_runs(self, rows: Sequence[CellRow]) -> None:
        """Note when runs end; 0 for those that had ended before the first call."""
        seen_at = time.monotonic() if self._previous_statuses else 0.0
        for row in rows:
            if row.state.status in ANNOUNCED_STATUSES:
                self._ended_at.setdefault(row.run, seen_at)
            else:
                self._ended_at.pop(row.run, None)

    def _print_changes(self, rows: Sequence[CellRow], progress: SweepProgress) -> None:
        """Print a line for each cell that ended since the last call, and the counts at times."""
        prefix = f"[{progress.num_ended:>3}/{progress.num_cells}]"
        cell_width = min(40, max((len(row.cell) for row in rows), default=0))
        for row in rows:
            status = row.state.status
            previous_status = self._previous_statuses.get(row.cell)
            if self._previous_statuses and status != previous_status:
                if status in ANNOUNCED_STATUSES:
                    has_reason = status in (RunStatus.FAILED, RunStatus.STALLED)
                    reason = f"  {row.state.reason}" if has_reason else ""
                    self.print_line(f"{prefix} {row.cell:<{cell_width}}  {status}{reason}")
                    self._last_printed_at = time.time()
        self._previous_statuses = {row.cell: row.state.status for row in rows}
        is_due = time.time() - self._last_printed_at > LOG_INTERVAL_SECONDS
        if is_due and self._screen_lines is None:
            texts = (self._describe_counts(rows), progress.times_text, _describe_running(rows))
            self.print_line(f"{prefix} {'; '.join(filter(None, texts))}")
            self._last_printed_at = time.time()


def build_screen(
    rows: Sequence[CellRow],
    progress: SweepProgress,
    *,
    width: int,
    height: int,
    finished: Mapping[str, float],
    counts_text: str,
    use_ascii: bool,
) -> list[Line]:
    """Return the lines of a running sweep: progress, running cells, then those finished last.

    Args:
        rows: the cells.
        progress: the progress of the sweep.
        width: columns that a line may have.
        height: lines at most.
        finished: run id -> seconds since it ended, for runs that ended under this display, the
            last one first.
        counts_text: how many cells have each status.
        use_ascii: draw the bar with ASCII characters.
    """
    lines: list[Line] = [
        *_build_progress_lines(progress, width, use_ascii=use_ascii),
        *_wrap(counts_text, width),
    ]
    running_rows = [row for row in rows if row.state.status == RunStatus.RUNNING]
    rows_by_run = {row.run: row for row in rows}
    finished_rows = [rows_by_run[run] for run in finished][:MAX_FINISHED]
    running_table = _build_table(
        RUNNING_COLUMNS,
        [_to_running_cells(row) for row in running_rows],
        [STATUS_STYLES[RunStatus.RUNNING]] * len(running_rows),
        width,
    )
    finished_table = _build_table(
        FINISHED_COLUMNS,
        [_to_finished_cells(row, finished[row.run]) for row in finished_rows],
        [STATUS_STYLES.get(row.state.status, "") for row in finished_rows],
        width,
    )
    if height >= MIN_HEIGHT_WITH_SPACE:
        lines.insert(0, ("", ""))
    lines += _limit_table(running_table, height - len(lines), "more running")
    lines += _limit_table(finished_table, height - len(lines), "")
    return lines[:height]


def build_status_lines(
    rows: Sequence[CellRow],
    progress: SweepProgress,
    *,
    width: int,
    height: int | None = None,
    use_ascii: bool = False,
) -> list[Line]:
    """Return progress, counts, and a table of every cell.

    With a `height`, cells that run or need attention come first, and the rest is counted.
    """
    lines: list[Line] = [
        *_build_progress_lines(progress, width, use_ascii=use_ascii),
        *_wrap(describe_counts(rows), width),
    ]
    shown_rows = list(rows)
    if height is not None:
        order = {status: i for i, status in enumerate(SORTED_STATUSES)}
        shown_rows.sort(key=lambda row: order.get(row.status, len(order)))
    table = _build_table(
        STATUS_COLUMNS,
        [_to_status_cells(row) for row in shown_rows],
        [STATUS_STYLES.get(row.status, "") for row in shown_rows],
        width,
    )
    if height is None:
        return [*lines, *(line for group in table for line in group)]
    return [*lines, *_limit_table(table, height - len(lines), "more cells")]


def _build_progress_lines(progress: SweepProgress, width: int, *, use_ascii: bool) -> list[Line]:
    """Return a bar and the times, on one line or more."""
    counts_text = f"{progress.num_ended}/{progress.num_cells} cells"
    text = ", ".join(filter(None, (counts_text, progress.times_text)))
    bar_width = min(MAX_BAR_WIDTH, width - len(text) - 2)
    if bar_width >= MIN_BAR_WIDTH:
        bar = _draw_bar(progress.done_fraction, bar_width, use_ascii=use_ascii)
        return [(f"{bar}  {text}", "bold")]
    bar = _draw_bar(progress.done_fraction, min(MAX_BAR_WIDTH, width), use_ascii=use_ascii)
    return [(bar, "bold"), *((line, "bold") for line, _ in _wrap(text, width))]


def _draw_bar(fraction: float, width: int, *, use_ascii: bool) -> str:
    """Return a bar of `width` characters; it is full only at 1."""
    full, empty = ("#", "-") if use_ascii else ("\N{FULL BLOCK}", "\N{LIGHT SHADE}")
    num_full = min(int(fraction * width), width)
    return full * num_full + empty * (width - num_full)


def _build_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], styles: Sequence[str], width: int
) -> list[list[Line]]:
    """Return the lines of the headings and of each row; an empty list without rows."""
    heading_line, row_lines = layout_table(columns, rows, width)
    if not row_lines:
        return []
    groups = [[(line, style) for line in lines] for lines, style in zip(row_lines, styles)]
    return [[(heading_line, "bold")], *groups]


def _limit_table(table: Sequence[Sequence[Line]], height: int, rest_label: str) -> list[Line]:
    """Return the first rows of a table, and how many more there are if they do not all fit."""
    lines = [line for group in table for line in group]
    if len(lines) <= height:
        return lines
    limit, num_shown = height - bool(rest_label), 0
    shown_lines: list[Line] = []
    for group in table:
        if len(shown_lines) + len(group) > limit:
            break
        shown_lines += group
        num_shown += 1
    if rest_label and height > 0:
        return [*shown_lines, (f"and {len(table) - max(num_shown, 1)} {rest_label}", "")]
    return shown_lines if num_shown > 1 else []


def _wrap(text: str, width: int) -> list[Line]:
    return [(line, "") for line in wrap_text(text, width)]


def _merge_shared_runs(rows: Sequence[CellRow]) -> list[CellRow]:
    """Return one row for each run; cells that share it are named together."""
    cells_by_run: dict[str, list[str]] = {}
    rows_by_run: dict[str, CellRow] = {}
    for row in rows:
        cells_by_run.setdefault(row.run, []).append(row.cell)
        rows_by_run.setdefault(row.run, row)
    return [
        CellRow(cell=", ".join(cells_by_run[run]), run=run, state=row.state, loss=row.loss)
        for run, row in rows_by_run.items()
    ]


def _describe_running(rows: Sequence[CellRow]) -> str:
    """Return the running cells with step and loss, for a log."""
    texts = []
    for row in _merge_shared_runs(rows):
        if row.state.status == RunStatus.RUNNING:
            loss_text = f"loss {row.loss_text}" if row.loss_text else ""
            facts = ", ".join(filter(None, (row.step_text, loss_text)))
            texts.append(f"{row.cell} ({facts})" if facts else row.cell)
    return ", ".join(texts)


def _to_running_cells(row: CellRow) -> tuple[str, ...]:
    return (
        row.cell,
        row.step_text,
        row.loss_text,
        row.time_left_text,
        row.speed_text,
        row.phase,
        row.run[:8],
        row.location,
    )


def _to_finished_cells(row: CellRow, seconds_ago: float) -> tuple[str, ...]:
    ago_text = f"{format_duration(seconds_ago)} ago"
    return (row.cell, row.status, row.step_text, row.run[:8], ago_text)


def _to_status_cells(row: CellRow) -> tuple[str, ...]:
    is_running = row.status == RunStatus.RUNNING
    return (
        row.cell,
        row.status,
        row.step_text,
        row.loss_text,
        row.time_left_text,
        row.speed_text,
        row.phase,
        row.heartbeat_age and f"{row.heartbeat_age} ago",
        row.run[:8],
        row.reason if is_running else "",
        row.location.partition(", ")[2],
        "" if is_running else row.reason,
    )
