"""`sweep.py leaderboard`: a page of the scores of several models, beside published values."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from sweeps.monitor.terminal import make_console
from uniclip.config.overrides import TEXT, parse_overrides
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.io.atomic import atomic_write

KEYS = ("to",)
DEFAULT_PATH = "leaderboard.html"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the files of scores."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="file",
        help="files of scores that python -m uniclip.evaluate output=<file> wrote, and of results "
        f"of CLIP_benchmark and DataComp; to=<page> names the page (default: {DEFAULT_PATH})",
    )


def run(arguments: Namespace) -> int:
    """Write the page, and print its path."""
    from analysis.page import leaderboard  # here: it imports pandas

    values = parse_overrides(arguments.overrides, dict.fromkeys(KEYS, TEXT))
    for key in values:
        if key not in KEYS:
            raise make_unknown_name_error("key of leaderboard", key, KEYS)
    if not arguments.names:
        raise UserError(
            "leaderboard takes files of scores: python -m uniclip.evaluate run=a,b "
            "output=scores.json writes one"
        )
    page_path = Path(str(values.get("to", DEFAULT_PATH))).expanduser()
    if page_path.is_dir():
        raise UserError(f"to={page_path} is a folder; name a file")
    results = leaderboard.read_results([Path(name) for name in arguments.names])
    atomic_write(page_path, leaderboard.build_page(results).encode("utf-8", "replace"))
    make_console().print(f"{page_path}: {len(results.models)} models", markup=False)
    return 0
