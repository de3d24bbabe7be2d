"""The display: plain lines in a log, a table on a terminal."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.claims import process
from sweeps.claims.status import RunState
from sweeps.monitor import display
from sweeps.monitor.columns import measure_width
from sweeps.monitor.display import Display, build_screen, build_status_lines
from sweeps.monitor.progress import ProgressMeter
from sweeps.monitor.status import CellRow
from tests.helpers import ROOT
from tests.sweeps.monitor import RUNS, make_heartbeat, make_plan, make_row
from uniclip.io.atomic import append_jsonl
from uniclip.store import AuditCheck, RunStatus, Store


class Stream(io.StringIO):
    """A string that may claim to be a terminal."""

    is_tty = False

    def isatty(self) -> bool:
        """Return what it claims."""
        return self.is_tty


class Output:
    """A console that writes to a string."""

    def __init__(self, *, terminal: bool = False, is_tty: bool = False) -> None:
        self._file = Stream()
        self._file.is_tty = is_tty
        self.console = Console(
            file=self._file,
            width=200,
            highlight=False,
            color_system=None,
            force_terminal=terminal,
            soft_wrap=True,
        )

    def read(self) -> str:
        """Return what was written since the last call, with "N s" for every time."""
        text = self._file.getvalue()
        self._file.seek(0)
        self._file.truncate()
        return re.sub(r"\d+ s\b", "N s", text)


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
    assert output.read() == "[  0/3] 3 running; N s elapsed; full/0, twin/0, other/0\n"
    shown.show_states(plan, states)
    assert output.read() == ""


def test_a_log_tells_the_running_cells_and_the_times(tmp_path: Path) -> None:
    output, plan, store = Output(), make_plan(), Store(tmp_path)
    shown = Display(output.console)
    shown.use_measurements(store, num_workers=1)
    state = make_running_state(store, RUNS["other"])
    states = {RUNS["other"]: state, RUNS["full"]: RunState(status=RunStatus.PENDING)}
    shown._last_printed_at -= display.LOG_INTERVAL_SECONDS + 1
    shown.show_states(plan, states)
    line = output.read()
    times = "N s elapsed, about N s left"
    assert line == f"[  0/3] 2 pending, 1 running; {times}; other/0 (30/90, loss 2.718)\n"


def test_a_log_says_that_workers_start_until_a_cell_has_run() -> None:
    output, plan = Output(), make_plan()
    shown = Display(output.console)
    shown._last_printed_at -= display.LOG_INTERVAL_SECONDS + 1
    shown.show_audit(plan)
    assert output.read() == "starting workers and auditing 3 arms, N s elapsed\n"
    for status, text in (
        (RunStatus.PENDING, "[  0/3] starting workers: 3 pending; N s elapsed\n"),
        (RunStatus.RUNNING, "[  0/3] 3 running; N s elapsed; full/0, twin/0, other/0\n"),
        (RunStatus.PENDING, "[  0/3] 3 pending; N s elapsed\n"),
    ):
        shown._last_printed_at -= display.LOG_INTERVAL_SECONDS + 1
        shown.show_states(plan, {run: RunState(status=status) for run in RUNS.values()})
        assert output.read() == text


@pytest.mark.parametrize("stream", ["pipe", "dumb terminal"])
def test_only_a_terminal_that_can_move_its_cursor_is_redrawn(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb" if stream == "dumb terminal" else "xterm")
    output = Output(terminal=True, is_tty=stream != "pipe")
    shown = Display(output.console)
    states = {run: RunState(status=RunStatus.RUNNING) for run in RUNS.values()}
    shown.show_states(make_plan(), states)
    shown.close()
    assert output.read() == ""


def test_a_terminal_is_redrawn_until_it_is_closed() -> None:
    output = Output(terminal=True, is_tty=True)
    shown = Display(output.console)
    states = {run: RunState(status=RunStatus.RUNNING) for run in set(RUNS.values())}
    shown.show_states(make_plan(), states)
    assert "full/0, twin/0" in output.read(), "one run is one row"
    shown.print_line("a line above")
    assert output.read().startswith("\r\x1b["), "what is shown is removed first"
    shown.close()
    shown.close()


def make_running_state(store: Store, run_id: str, step: int = 30) -> RunState:
    """Claim a run and let it log a loss."""
    attempt = store.get_run(run_id).claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    append_jsonl(attempt.metrics_path, {"step": step, "phase": "train", "loss": 2.71828})
    append_jsonl(attempt.metrics_path, {"step": step, "phase": "validation", "score": 0.5})
    return RunState(
        status=RunStatus.RUNNING, attempt=1, heartbeat=make_heartbeat(step=step), reason="pid 7"
    )


def build_lines(rows: list[CellRow], width: int, height: int, **changes: Any) -> list[str]:
    progress = ProgressMeter(started_at=time.monotonic() - 240).measure(make_plan(), rows)
    finished = {row.run: 5.0 for row in rows if row.state.status is RunStatus.COMPLETE}
    fields: dict[str, Any] = {
        "width": width,
        "height": height,
        "finished": finished,
        "counts_text": "counts",
        "use_ascii": True,
    }
    return [text for text, _ in build_screen(rows, progress, **{**fields, **changes})]


def make_cells(num_running: int, num_complete: int, arm: str = "no-awareness") -> list[CellRow]:
    running = RunState(status=RunStatus.RUNNING, heartbeat=make_heartbeat())
    states = [RunState(status=RunStatus.COMPLETE)] * num_complete + [running] * num_running
    return [
        CellRow(cell=f"{arm}/{i}", run=f"{i:016x}", state=state, loss=3.14159)
        for i, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    "arm",
    ["clip", "no-awareness-domain-similarity", "x" * 90, "\u6a21" * 30],
    ids=["short", "long", "longer than a line", "wide"],
)
@pytest.mark.parametrize(("width", "height"), [(79, 23), (199, 49), (39, 23), (20, 5), (79, 8)])
@pytest.mark.parametrize("num_running", [0, 2, 40])
def test_the_screen_fits_and_shows_the_running_cells_first(
    num_running: int, width: int, height: int, arm: str
) -> None:
    lines = build_lines(make_cells(num_running, 12, arm), width, height)
    assert len(lines) <= height
    assert all(measure_width(line) <= width for line in lines)
    assert not [line for line in lines if "..." in line or "\u2026" in line]
    if arm == "clip" and num_running and width > 30:
        row = next(line for line in lines if line.startswith("clip/12"))
        assert "30/90" in row
        assert "3.142" in row
        assert "30 s" in row
        if height > 20 and num_running == 2:
            headings = [line.split("  ")[0] for line in lines]
            assert headings.index("running") < headings.index("finished last")
    if num_running == 40 and height < 40 and width > 30:
        assert any(line.startswith("and ") and line.endswith(" more running") for line in lines)


def test_the_bar_and_the_times() -> None:
    lines = build_lines(make_cells(2, 1), 79, 23)
    bar, text = lines[1].split("  ")
    assert set(bar) == {"#", "-"}
    assert bar.count("#") / len(bar) == pytest.approx((1 + 2 / 3) / 3, abs=0.05)
    assert text == "1/3 cells, 4 min elapsed, about 30 s left"
    narrow_lines = build_lines(make_cells(2, 1), 39, 23)
    assert set(narrow_lines[1]) == {"#", "-"}
    assert len(narrow_lines[1]) == 39
    assert narrow_lines[2:4] == ["1/3 cells, 4 min elapsed, about 30 s", "left"]


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


def read_status(rows: list[CellRow], width: int = 200, height: int | None = None) -> list[str]:
    progress = ProgressMeter(started_at=None).measure(make_plan(), rows)
    lines = build_status_lines(rows, progress, width=width, height=height, use_ascii=True)
    return [text for text, _ in lines]


def test_the_status_shows_every_cell() -> None:
    rows = [make_row(RunState(status=s), f"arm-{s}/0") for s in RunStatus]
    text = "\n".join(read_status(rows))
    assert all(f"arm-{s}/0" in text for s in RunStatus)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_reason_in_the_status_is_whole_and_not_markup(width: int) -> None:
    reason = "KeyError: 'x[/y]' not in [bold]; log: /a/folder/with/a/long/name/of/some/kind/log"
    rows = [make_row(RunState(status=RunStatus.FAILED, reason=reason), "no-awareness/0")]
    lines = read_status(rows, width)
    assert max(map(len, lines)) <= width
    assert "".join(reason.split()) in "".join("".join(lines).split())


def test_a_screen_of_a_big_sweep_shows_first_what_runs_or_failed() -> None:
    rows = [make_row(RunState(status=RunStatus.COMPLETE), f"done/{i}") for i in range(60)]
    rows += [make_row(RunState(status=RunStatus.RUNNING), f"live/{i}") for i in range(3)]
    rows += [make_row(RunState(status=RunStatus.FAILED, reason="broken"), "lost/0")]
    lines = read_status(rows, 79, height=12)
    assert [line.split()[0] for line in lines[3:7]] == ["live/0", "live/1", "live/2", "lost/0"]
    assert lines[-1] == "and 56 more cells"
    assert len(lines) == 12
    assert len(read_status(rows, 79)) == 3 + 64


TMUX = shutil.which("tmux")
RESIZED_SCRIPT = """
import sys, time
from pathlib import Path
from sweeps.claims.status import RunState
from sweeps.monitor.display import Display
from tests.sweeps.monitor import RUNS, make_heartbeat, make_plan
from uniclip.store import RunStatus
shown = Display()
step = 0
while not Path(sys.argv[1]).exists():
    step += 1
    heartbeat = make_heartbeat(step=min(step, 80))
    state = RunState(status=RunStatus.RUNNING, heartbeat=heartbeat)
    shown.show_states(make_plan(), dict.fromkeys(RUNS.values(), state))
    if step == 3:
        shown.print_line("a line of the log that is longer than a terminal of forty columns")
    time.sleep(0.05)
shown.close()
print("the end")
time.sleep(60)
"""


@pytest.mark.skipif(TMUX is None, reason="tmux is not installed: no terminal to draw on")
def test_a_terminal_that_is_resized_shows_the_cells_once(tmp_path: Path) -> None:
    def tmux(*words: str) -> str:
        command = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def wait_for(*, columns: int, text: str) -> list[str]:
        for _ in range(600):
            lines = tmux("capture-pane", "-p", "-t", "s").rstrip().splitlines()
            if any(text in line and len(line) <= columns for line in lines):
                return lines
            time.sleep(0.05)
        raise AssertionError(f"{text!r} is not on the screen: {lines}")

    script, end = tmp_path / "script.py", tmp_path / "end"
    script.write_text(RESIZED_SCRIPT)
    command = f"cd {ROOT} && PYTHONPATH={ROOT} exec {sys.executable} {script} {end}"
    tmux("new-session", "-d", "-s", "s", "-x", "80", "-y", "24", command)
    try:
        wait_for(columns=80, text="about")
        for columns in (40, 120, 60):
            tmux("resize-window", "-t", "s", "-x", str(columns), "-y", "20")
            time.sleep(0.5)
            lines = wait_for(columns=columns, text="3 running")
            assert sum("3 running" in line for line in lines) == 1, lines
            assert sum("other/0" in line for line in lines) == 1, lines
            history = tmux("capture-pane", "-p", "-J", "-S", "-", "-t", "s")
            assert history.count("a line of the log") == 1, history
        end.touch()
        lines = wait_for(columns=60, text="the end")
        assert not [line for line in lines if "running" in line]
    finally:
        tmux("kill-server")
