"""The command that writes a page of simulated rates."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def run_page_command(
    program: str, page: Path, render_page: Callable[[int], str], description: str | None = None
) -> None:
    """Print a page, and write it with --write.

    Args:
        program: name of the module that is run.
        page: the file.
        render_page: returns the page from a number of simulated sweeps.
        description: text of the help.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--sweeps", type=int, default=10_000, help="simulated sweeps per row")
    parser.add_argument("--write", action="store_true", help=f"write {page.name}")
    arguments = parser.parse_args()
    text = render_page(arguments.sweeps)
    print(text)
    if arguments.write:
        page.write_text(text, encoding="utf-8")
