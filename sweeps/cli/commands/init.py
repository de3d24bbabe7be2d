"""`sweep.py init`: write a small project of the user's own, which runs."""

from __future__ import annotations

import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from sweeps.cli.project_template import METHODS_WORDS, write_project
from sweeps.monitor.terminal import print_json
from uniclip.errors import UserError

CONSOLE_COMMAND = "uniclip-sweep"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the folder and the flag --json."""
    parser.add_argument("names", nargs="*", metavar="folder", help="a new or empty folder")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(arguments: Namespace) -> int:
    """Write an ablation, a component, a method and images into a new folder."""
    if arguments.overrides or len(arguments.names) != 1:
        raise UserError("init takes one folder, such as init my_project")
    folder = Path(arguments.names[0]).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: init takes a new folder")
    program = _find_program()
    files = [str(folder / name) for name in write_project(folder, program)]
    command = f"cd {shlex.quote(str(folder))} && {program} {METHODS_WORDS}"
    if arguments.json:
        print_json({"folder": str(folder), "files": files, "next_command": command})
        return 0
    for path in files:
        print(f"wrote {path}")
    print(f"next: {command}")
    return 0


def _find_program() -> str:
    """Return the command that runs uniclip in any folder."""
    script = Path(sys.argv[0])
    if script.stem == CONSOLE_COMMAND:
        return CONSOLE_COMMAND
    return f"python {shlex.quote(str(script.resolve())) if script.suffix == '.py' else 'sweep.py'}"
