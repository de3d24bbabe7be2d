"""The command line: `sweep.py <verb> [name] [--flag ...] [override ...]`. Never imports torch."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from uniclip.errors import RetryLater, UserError, make_unknown_name_error

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130
FILESYSTEM_ERRNOS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)
"""Errors of the file system that are not the program's: one line will do."""

COMMANDS: dict[str, tuple[str, str | None]] = {
    "run": ("plan, run what is missing, report (the default)", None),
    "plan": ("what would run, why, and how long it takes; runs nothing", None),
    "status": ("every cell: state, step, last sign of life, advice", None),
    "report": ("tables, figures and an executed notebook from what exists", None),
    "list": (
        "what there is to choose from",
        "ablations | arms | budgets | components | data | ...",
    ),
    "logs": ("what a cell printed", "<arm>/<seed> or the start of a run id"),
    "why": ("what makes a cell differ from another", "<arm>/<seed> [<arm>/<seed>]"),
    "retry": ("run failed cells again", "[<arm>/<seed> ...], default: all that failed"),
    "cancel": ("take cells out of Slurm's queue", "[<arm>/<seed> ...], default: all of the sweep"),
    "tune": (
        "tune every arm alike on the validation split, then compare them, default and tuned",
        None,
    ),
    "data": (
        "which evaluation data sets are here; fetch one, or write it as shards",
        "check | download | export, then data sets",
    ),
    "doctor": ("what would go wrong, before anything is spent", None),
    "gc": ("what can be deleted from the store, and how much room it takes", None),
}
EPILOG = """\
examples:
  python sweep.py ablation=components                     plan, run what is missing, report
  python sweep.py plan ablation=components seeds=5        what would run; runs nothing
  python sweep.py ablation=components data=csv data.path=pictures.csv
  python sweep.py status ablation=components --watch
  python sweep.py tune ablation=components n_trials=20 space=optimizer
  python sweep.py list ablations
  python sweep.py data check data_root=<folder>

words with = are overrides: a group (data=scenes, method=, model=, budget=smoke|quick|study) or any
key of the configuration (train.steps=500, launcher.max_workers=4, seeds=[3,7], store=<folder>).
"""


TUNE_EPILOG = """\
Keys of its own: n_trials=20 (for each arm), space=optimizer (see: list spaces),
pruner=none|median|hyperband, tuning_seeds=1 (how many, or a list), parallel_trials=1 (trials of each arm in
a round), sampler_seed=0.
"""


def main(argv: Sequence[str], retry_later_status: int = EXIT_USER_ERROR) -> int:
    """What the command line asks for; the exit status (2 for the user's errors).

    not_now: the status where the same words may do later.
    """
    try:
        try:
            return _dispatch(argv)
        finally:
            sys.stdout.flush()  # a closed pipe is noticed here, not at the interpreter's end
    except UserError as error:
        print(f"sweep.py: {error}", file=sys.stderr)
        return retry_later_status if isinstance(error, RetryLater) else EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("stopped; the same command continues where it was", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _redirect_stdout_to_devnull()
        return 0
    except OSError as error:
        if error.errno not in FILESYSTEM_ERRNOS:
            raise
        print(f"sweep.py: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return EXIT_USER_ERROR


def _dispatch(argv: Sequence[str]) -> int:
    command, options = _parse_command(list(argv))
    from sweeps.cli.verbs import COMMAND_HANDLERS
    from sweeps.controller.controller import Detached

    try:
        return COMMAND_HANDLERS[command](options)
    except Detached as detached:
        print(detached)
        return 0


def _redirect_stdout_to_devnull() -> None:
    """Nobody reads what is printed: what is still to be written goes nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse_command(argv: list[str]) -> tuple[str, argparse.Namespace]:
    if argv and argv[0] not in COMMANDS and not argv[0].startswith("-") and "=" not in argv[0]:
        raise make_unknown_name_error("verb", argv[0], COMMANDS)
    if not argv or argv[0] in ("-h", "--help"):
        print(_format_help())
        raise SystemExit(0 if argv else EXIT_USER_ERROR)
    command = argv[0] if argv[0] in COMMANDS else "run"
    command_argv = argv[1:] if argv[0] in COMMANDS else argv
    parser = _build_parser(command)
    flags, positional = parser.parse_known_args(command_argv)
    unknown_flags = [w for w in positional if w.startswith("-")]
    if unknown_flags:
        raise UserError(
            f"{command} has no flag {unknown_flags[0]}: see python sweep.py {command} --help"
        )
    flags.overrides = [w for w in positional if "=" in w]
    flags.names = [w for w in positional if "=" not in w]
    if flags.names and COMMANDS[command][1] is None:
        raise UserError(f"{command} takes no name, got {flags.names[0]!r}; overrides are key=value")
    return command, flags


class _ArgumentParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: see python {self.prog} --help")


def _build_parser(command: str) -> argparse.ArgumentParser:
    summary, names_help = COMMANDS[command]
    usage = f"python sweep.py {command} {'[name ...] ' if names_help else ''}[--flag ...] [key=value ...]"
    parser = _ArgumentParser(
        prog=f"sweep.py {command}",
        usage=usage,
        description=summary + (f". Names: {names_help}" if names_help else ""),
        allow_abbrev=False,
    )
    if command == "status":
        parser.add_argument("--watch", action="store_true", help="draw again every two seconds")
        parser.add_argument("--json", action="store_true", help="for machines")
    if command == "plan":
        parser.add_argument("--json", action="store_true", help="for machines")
        help_text = "measure first what a cell of each arm takes, by a few steps; runs no cell"
        parser.add_argument("--probe", action="store_true", help=help_text)
    if command == "report":
        parser.add_argument("--force", action="store_true", help="even if nothing changed")
    if command == "retry":
        help_text = "also cells that are lost or seem alive: you know that they are dead"
        parser.add_argument("--force", action="store_true", help=help_text)
    if command == "data":
        parser.add_argument("--sums", action="store_true", help="check: compare published sums")
    if command == "doctor":
        parser.add_argument("--json", action="store_true", help="for machines")
        parser.add_argument("--submit", action="store_true", help="look at a compute node too")
    if command == "tune":
        parser.epilog = TUNE_EPILOG
    if command == "gc":
        parser.add_argument("--yes", action="store_true", help="delete it")
    return parser


def _format_help() -> str:
    command_lines = "\n".join(f"  {name:<8} {summary}" for name, (summary, _) in COMMANDS.items())
    return (
        "usage: python sweep.py [verb] [name ...] [--flag ...] [key=value ...]\n\n"
        "Which part of a contrastive vision-language method earns its keep?\n\n"
        f"verbs:\n{command_lines}\n\n{EPILOG}"
    )
