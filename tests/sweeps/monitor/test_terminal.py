"""Output of the commands: consoles, JSON, a table that is redrawn."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sweeps.monitor.terminal import (
    PIPE_WIDTH,
    Line,
    ScreenLines,
    make_console,
    needs_ascii,
    print_json,
    print_lines,
    watch,
)


def test_a_pipe_gets_wide_lines_and_no_color(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    line = " ".join(["name"] * 30)
    make_console().print(line, style="red")
    make_console(stderr=True).print("an error")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{line}\n", "an error\n")
    assert make_console().width == PIPE_WIDTH


def test_records_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"cell": "full/0", "step": None}])
    assert json.loads(capsys.readouterr().out) == [{"cell": "full/0", "step": None}]


def test_columns_of_a_pipe_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, width in (("61", 61), ("0", PIPE_WIDTH), ("wide", PIPE_WIDTH), ("", PIPE_WIDTH)):
        monkeypatch.setenv("COLUMNS", text)
        assert make_console().width == width


def test_a_stream_of_few_characters_gets_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(buffer, encoding="ascii"))
    console = make_console()
    assert needs_ascii(console)
    print_lines(console, ["\u6a21/0"])
    console.file.flush()
    assert buffer.getvalue() == b"?/0\n"


def test_watch_prints_again_what_has_changed_where_nothing_can_be_redrawn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screens = iter([[("first", "red")], [("first", "red")], [("second", ""), ("[bold]", "")]])

    def render() -> list[Line]:
        lines = next(screens, None)
        if lines is None:
            raise KeyboardInterrupt
        return lines

    with pytest.raises(KeyboardInterrupt):
        watch(make_console(), render, seconds=0)
    assert capsys.readouterr().out == "first\nsecond\n[bold]\n"


class TerminalStream(io.StringIO):
    """A string that claims to be a terminal."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


def test_the_rows_of_lines_that_a_narrower_terminal_wraps_are_removed() -> None:
    file = TerminalStream()
    console = Console(file=file, width=80, height=24, color_system=None)
    screen_lines = ScreenLines(console)
    screen_lines.update([("x" * 79, ""), ("", ""), ("y" * 30, "")])
    written = file.getvalue()
    screen_lines.update([("x" * 79, ""), ("", ""), ("y" * 30, "")])
    assert file.getvalue() == written, "nothing is drawn twice"
    console.width = 40
    screen_lines.update([("z", "")])
    assert file.getvalue().removeprefix(written) == "\r\x1b[4A\x1b[Jz\n"
    screen_lines.clear()
    screen_lines.clear()
    assert file.getvalue().endswith("z\n\r\x1b[1A\x1b[J")


def test_not_more_rows_are_removed_than_a_terminal_has() -> None:
    file = TerminalStream()
    screen_lines = ScreenLines(console := Console(file=file, width=80, height=24))
    screen_lines.update([("x" * 79, "")] * 20)
    console.width, console.height = 20, 10
    screen_lines.clear()
    assert file.getvalue().endswith("\r\x1b[9A\x1b[J")
