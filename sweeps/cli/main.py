"""The command line: `sweep.py <verb> [name] [--flag ...] [override ...]`. Never imports torch."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from uniclip.errors import NotNow, UserError, unknown

if TYPE_CHECKING:
    from rich.console import Console

USER_ERROR, INTERRUPTED = 2, 130
SURROUNDINGS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)
"""Errors of the file system that are not the program's: one line will do."""

VERBS: dict[str, tuple[str, str | None]] = {
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
  python sweep.py tune ablation=components trials=20 space=optimizer
  python sweep.py list ablations
  python sweep.py data check data_root=<folder>

words with = are overrides: a group (data=scenes, method=, model=, budget=smoke|quick|study) or any
key of the configuration (train.steps=500, launcher.slots=4, seeds=[3,7], store=<folder>).
"""


class GoesOn(Exception):
    """What was asked for is in other hands now, and not done yet."""

    def __str__(self) -> str:
        return "it goes on without this command: python sweep.py status says how far"


TUNE = """\
Keys of its own: trials=20 (for each arm), space=optimizer (see: list spaces),
pruner=none|median|hyperband, tuning_seeds=1 (how many, or a list), at_once=1 (trials of each arm in
a round), study_seed=0.
"""


def main(words: Sequence[str], not_now: int = USER_ERROR) -> int:
    """What the command line asks for; the exit status (2 for the user's errors).

    not_now: the status where the same words may do later.
    """
    try:
        try:
            return _act(words)
        finally:
            sys.stdout.flush()  # a closed pipe is noticed here, not at the interpreter's end
    except UserError as error:
        print(f"sweep.py: {error}", file=sys.stderr)
        return not_now if isinstance(error, NotNow) else USER_ERROR
    except GoesOn as why:
        print(why)
        return 0
    except KeyboardInterrupt:
        print("stopped; the same command continues where it was", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _forget_pipe()
        return 0
    except OSError as error:
        if error.errno not in SURROUNDINGS:
            raise
        print(f"sweep.py: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return USER_ERROR


def _act(words: Sequence[str]) -> int:
    verb, options = _parsed(list(words))
    from sweeps.cli.verbs import ACTIONS

    return ACTIONS[verb](options)


def _forget_pipe() -> None:
    """Nobody reads what is printed: what is still to be written goes nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def watch(draw: Callable[[], object], seconds: float = 2.0) -> None:
    """Draw again and again until Ctrl-C."""
    from rich.live import Live

    with Live(auto_refresh=False, screen=False) as live:
        while True:
            live.update(draw(), refresh=True)  # type: ignore[arg-type]
            time.sleep(seconds)


def print_json(records: object) -> None:
    """Records for machines."""
    print(json.dumps(records, indent=1))


def console(*, stderr: bool = False) -> Console:
    """The terminal, or the pipe in its place."""
    from rich.console import Console  # here: --help goes without

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200  # who greps wants whole names
    return Console(highlight=False, soft_wrap=True, width=width, stderr=stderr)


def _parsed(words: list[str]) -> tuple[str, argparse.Namespace]:
    if words and words[0] not in VERBS and not words[0].startswith("-") and "=" not in words[0]:
        raise unknown("verb", words[0], VERBS)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        raise SystemExit(0 if words else USER_ERROR)
    verb = words[0] if words[0] in VERBS else "run"
    rest = words[1:] if words[0] in VERBS else words
    parser = _parser(verb)
    flags, positional = parser.parse_known_args(rest)
    strange = [w for w in positional if w.startswith("-")]
    if strange:
        raise UserError(f"{verb} has no flag {strange[0]}: see python sweep.py {verb} --help")
    flags.overrides = [w for w in positional if "=" in w]
    flags.names = [w for w in positional if "=" not in w]
    if flags.names and VERBS[verb][1] is None:
        raise UserError(f"{verb} takes no name, got {flags.names[0]!r}; overrides are key=value")
    return verb, flags


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: see python {self.prog} --help")


def _parser(verb: str) -> argparse.ArgumentParser:
    about, names = VERBS[verb]
    usage = f"python sweep.py {verb} {'[name ...] ' if names else ''}[--flag ...] [key=value ...]"
    parser = _Parser(
        prog=f"sweep.py {verb}",
        usage=usage,
        description=about + (f". Names: {names}" if names else ""),
        allow_abbrev=False,
    )
    if verb == "status":
        parser.add_argument("--watch", action="store_true", help="draw again every two seconds")
        parser.add_argument("--json", action="store_true", help="for machines")
    if verb == "plan":
        parser.add_argument("--json", action="store_true", help="for machines")
        text = "measure first what a cell of each arm takes, by a few steps; runs no cell"
        parser.add_argument("--probe", action="store_true", help=text)
    if verb == "report":
        parser.add_argument("--force", action="store_true", help="even if nothing changed")
    if verb == "retry":
        text = "also cells that are lost or seem alive: you know that they are dead"
        parser.add_argument("--force", action="store_true", help=text)
    if verb == "data":
        parser.add_argument("--sums", action="store_true", help="check: compare published sums")
    if verb == "doctor":
        parser.add_argument("--json", action="store_true", help="for machines")
        parser.add_argument("--submit", action="store_true", help="look at a compute node too")
    if verb == "tune":
        parser.epilog = TUNE
    if verb == "gc":
        parser.add_argument("--yes", action="store_true", help="delete it")
    return parser


def _help() -> str:
    verbs = "\n".join(f"  {name:<8} {about}" for name, (about, _) in VERBS.items())
    return (
        "usage: python sweep.py [verb] [name ...] [--flag ...] [key=value ...]\n\n"
        "Which part of a contrastive vision-language method earns its keep?\n\n"
        f"verbs:\n{verbs}\n\n{EPILOG}"
    )
