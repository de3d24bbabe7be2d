"""Output of the commands: consoles, JSON, a table that is redrawn."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from rich.text import Text

from sweeps.monitor import terminal as terminal_module


def test_a_pipe_gets_wide_lines_and_no_color(capsys: pytest.CaptureFixture[str]) -> None:
    line = " ".join(["name"] * 30)
    terminal_module.make_console().print(line, style="red")
    terminal_module.make_console(stderr=True).print("an error")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{line}\n", "an error\n")
    assert terminal_module.make_console().width == terminal_module.PIPE_WIDTH


def test_records_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    terminal_module.print_json([{"cell": "full/0", "step": None}])
    assert json.loads(capsys.readouterr().out) == [{"cell": "full/0", "step": None}]


def test_watch_redraws_until_it_is_interrupted() -> None:
    texts = iter(["first", "second"])

    def render() -> Text:
        text = next(texts, None)
        if text is None:
            raise KeyboardInterrupt
        return Text(text)

    with pytest.raises(KeyboardInterrupt):
        terminal_module.watch(render, seconds=0)
    assert next(texts, None) is None


@pytest.mark.parametrize("cell", ["full/0", "été", "[bold]x[/bold]"])
def test_a_table_is_the_same_with_and_without_rich(cell: str) -> None:
    rows = [(cell, "yes"), ("no-awareness/1", "no")]

    def print_rows(*, terminal: bool) -> list[str]:
        file = io.StringIO()
        console = Console(file=file, width=100, force_terminal=terminal, color_system=None)
        terminal_module.print_table(console, ("cell", "will run"), rows)
        return [line.rstrip() for line in file.getvalue().splitlines()]

    lines = print_rows(terminal=False)
    assert lines == print_rows(terminal=True)
    assert lines == [f"{'cell':<14}  will run", f"{cell:<14}  yes", "no-awareness/1  no"]


def test_a_table_that_is_too_wide_is_cut() -> None:
    file = io.StringIO()
    console = Console(file=file, width=20, color_system=None)
    terminal_module.print_table(console, ("cell", "reason"), [("full/0", "a long reason " * 9)])
    assert max(map(len, file.getvalue().splitlines())) <= 20
