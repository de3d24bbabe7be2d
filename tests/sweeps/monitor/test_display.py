"""The display: plain lines in a log, a table on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from sweeps.claims.status import RunState
from sweeps.monitor import display
from sweeps.monitor.display import Display, build_table
from tests.sweeps.monitor import RUNS, make_plan, make_row
from uniclip.store import AuditCheck, RunStatus


class Output:
    """A console that writes to a string."""

    def __init__(self, *, terminal: bool = False) -> None:
        self._file = io.StringIO()
        self.console = Console(
            file=self._file,
            width=200,
            highlight=False,
            color_system=None,
            force_terminal=terminal,
            soft_wrap=True,
        )

    def read(self) -> str:
        """Return what was written since the last call."""
        text = self._file.getvalue()
        self._file.seek(0)
        self._file.truncate()
        return text


def test_a_log_gets_plain_lines_for_what_changed() -> None:
    output, plan = Output(), make_plan()
    shown = Display(output.console)
    states = {run: RunState(status=RunStatus.RUNNING) for run in set(RUNS.values())}
    shown.show_states(plan, states)
    assert output.read() == "", "the first states are no change"
    failed = RunState(status=RunStatus.FAILED, reason="[red]broken[/red] file")
    states = {**states, RUNS["other"]: failed}
    shown.show_states(plan, states)
    text = output.read()
    assert text.count("\n") == 1
    assert "other/0" in text
    assert "failed" in text
    assert "[red]broken[/red] file" in text, "an error message is not markup"
    shown.show_states(plan, states)
    assert output.read() == ""
    shown.close()


def test_a_log_gets_the_counts_from_time_to_time() -> None:
    output, plan = Output(), make_plan()
    shown = Display(output.console)
    states = {run: RunState(status=RunStatus.RUNNING) for run in set(RUNS.values())}
    shown._last_printed_at -= display.LOG_INTERVAL_SECONDS + 1
    shown.show_states(plan, states)
    assert output.read() == "[  0/3] 3 running\n"
    shown.show_states(plan, states)
    assert output.read() == ""


def test_a_terminal_gets_a_table_until_it_is_closed() -> None:
    output = Output(terminal=True)
    shown = Display(output.console)
    states = {run: RunState(status=RunStatus.RUNNING) for run in set(RUNS.values())}
    shown.show_states(make_plan(), states)
    assert "twin/0" in output.read()
    shown.close()
    shown.close()


def test_the_audit_is_one_line_and_one_more_for_each_failure_and_inert_component() -> None:
    output = Output()
    checks = [
        AuditCheck(arm="full", name="a", passed=True, detail=""),
        AuditCheck(arm="no-x", name="b", passed=False, detail="broken"),
        AuditCheck(arm="no-y", name="c", passed=True, detail="cannot matter", inert=True),
    ]
    Display(output.console).print_audit(checks)
    first, failure, inert = output.read().splitlines()
    assert first == "audit: 2 of 3 checks passed"
    assert failure == f"audit: {checks[1].failure_message}"
    assert inert == "audit: no-y: cannot matter"


def test_a_table_shows_every_cell_of_a_small_sweep() -> None:
    output = Output()
    rows = [make_row(RunState(status=s), f"arm-{s}/0") for s in RunStatus]
    output.console.print(build_table(rows))
    text = output.read()
    assert all(f"arm-{s}/0" in text for s in RunStatus)


def test_a_reason_in_the_table_is_not_markup() -> None:
    output, reason = Output(), "KeyError: 'x[/y]' not in [bold]"
    state = RunState(status=RunStatus.FAILED, reason=reason)
    output.console.print(build_table([make_row(state)]))
    assert reason in output.read()


def test_the_table_of_a_big_sweep_shows_running_cells() -> None:
    rows = [make_row(RunState(status=RunStatus.COMPLETE), f"done/{i}") for i in range(60)]
    rows += [make_row(RunState(status=RunStatus.RUNNING), f"live/{i}") for i in range(3)]
    assert build_table(rows, max_rows=10).row_count == 3
    assert build_table(rows).row_count == 63
