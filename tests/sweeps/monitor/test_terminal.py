"""Output of the commands: consoles, JSON, a table that is redrawn."""

from __future__ import annotations

import json

import pytest
from rich.text import Text

from sweeps.monitor import terminal


def test_a_pipe_gets_wide_lines_and_no_color(capsys: pytest.CaptureFixture[str]) -> None:
    line = " ".join(["name"] * 30)
    terminal.make_console().print(line, style="red")
    terminal.make_console(stderr=True).print("an error")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{line}\n", "an error\n")
    assert terminal.make_console().width == terminal.PIPE_WIDTH


def test_records_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_json([{"cell": "full/0", "step": None}])
    assert json.loads(capsys.readouterr().out) == [{"cell": "full/0", "step": None}]


def test_watch_redraws_until_it_is_interrupted() -> None:
    texts = iter(["first", "second"])

    def render() -> Text:
        text = next(texts, None)
        if text is None:
            raise KeyboardInterrupt
        return Text(text)

    with pytest.raises(KeyboardInterrupt):
        terminal.watch(render, seconds=0)
    assert next(texts, None) is None
