"""The command line: `python sweep.py [command] [name ...] [--flag ...] [key=value ...]`.

Nothing is imported for a command before it is chosen, and torch by none that only reads.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Protocol, cast

from uniclip.errors import RetryLater, UserError, make_unknown_name_error

DISTRIBUTION = "uniclip-ablations"
CONSOLE_COMMAND = "uniclip-sweep"
EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130
FILESYSTEM_ERRNOS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)
"""Errors of the file system that one line explains; any other is an error of the program."""

DEFAULT_COMMAND = "run"
SWEEP_ID = re.compile(r"[\w-]+-[0-9a-f]{8}")
"""How the id of a sweep looks."""
HYDRA_DELETION = re.compile(r"~[A-Za-z_][\w./@]*")
"""How Hydra's words that remove a key look."""
VALUE_FLAGS = {
    **{"--cfg": "--cfg", "-c": "--cfg", "--info": "--info", "-i": "--info"},
    **{"--package": "--package", "-p": "--package"},
}
"""Flags that take the next word as their value -> their long form."""
MULTIRUN_COMMANDS = ("run", "plan", "status", "report", "tune", "doctor")
"""Commands that take several sweeps, one after another."""
STARTING_COMMANDS = ("run", "plan", "retry", "tune", "verify")
"""Commands that start or price cells, and with them the processes of each cell."""
MULTIRUN_HELP = "run every combination of listed values, as in Hydra; lists work without it too"
COMMANDS = {
    "run": "run the cells that are missing, then write the report (the default)",
    "plan": "show what would run, why, and its estimated cost; runs nothing",
    "status": "show the status of every cell: step, last heartbeat, advice",
    "serve": "show the pages of sweeps in a browser, live while cells run",
    "report": "build tables, figures and an executed notebook from the existing results",
    "review": "list what a reviewer would attack, with the cheapest cells that answer it, priced",
    "leaderboard": "write a page of the scores of several models, beside published ones",
    "notebook": "write the notebook of a sweep, which reads the store, or open it",
    "export": "write a sweep to TensorBoard, MLflow, W&B, trackio, model folders or tables",
    "list": "list sweeps and runs of a store, keys, ablations, arms, budgets, data and more",
    "logs": "print the log of a cell",
    "diff": "show in what two cells or two sweeps differ",
    "retry": "run failed cells again",
    "cancel": "cancel the Slurm jobs of cells",
    "tune": "tune every arm with the same number of trials, then compare default and tuned arms",
    "data": "check, download or export data sets for evaluation",
    "doctor": "check for problems before a sweep is started",
    "init": "write a small project of your own: an ablation, a method, a component and images",
    "bundle": "pack the evidence of a sweep into one file, with the hash of every file",
    "verify": "check a bundle, and train some of its cells anew (--rerun=k)",
    "merge": "join the runs and sweeps of other stores or bundles into a store",
    "import": "make a sweep of runs that exist already: a CSV of scores, logs of open_clip",
    "gc": "list what can be deleted from the store, and its size",
    "completion": "print what switches on completion in bash, zsh or fish",
}
"""Command -> summary; each is a module of `sweeps.cli.commands`."""
DESCRIPTION = "Plan, run and report ablations of contrastive vision-language pre-training."
EPILOG = """\
examples:
  python sweep.py ablation=components                     run what is missing, then report
  python sweep.py plan ablation=components seeds=5        show what would run; runs nothing
  python sweep.py ablation=components data=csv data.path=images.csv
  python sweep.py ablation=components,losses              both, one after the other, one summary
  python sweep.py train.learning_rate=1e-3,2e-3           an arm for each value
  python sweep.py --cfg job ablation=components clip/0    the configuration of a cell as YAML
  python sweep.py status ablation=components --watch
  python sweep.py tune ablation=components n_trials=20 space=optimizer
  python sweep.py list ablations
  python sweep.py list keys train                         keys with default, range and meaning
  python sweep.py list sweeps                             what the store holds, and its commands
  python sweep.py status <sweep id>                       a sweep id, or its start, instead of words
  python sweep.py data check data_root=<folder>

key=value chooses an option of a group (data=scenes, method=clip, budget=smoke|quick|study; see
"list") or sets a key of the configuration (train.steps=500, seeds=[3,7], store=<folder>; see "list
keys"). Flags, names and key=value words may be given in any order.
"""


class Command(Protocol):
    """What a module of `sweeps.cli.commands` defines."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the names and flags of the command."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Execute the command and return the exit status."""


def main(argv: Sequence[str], retry_later_status: int = EXIT_USER_ERROR) -> int:
    """Execute a command line and return its exit status.

    The status is 0, 1 if cells failed or a check did not pass, 2 for an error of the user, 130
    after Ctrl-C, and `retry_later_status` if the same command may succeed later (`RetryLater`).
    """
    try:
        try:
            return _execute(argv)
        finally:
            sys.stdout.flush()  # a closed pipe is noticed here, not when the interpreter exits
    except UserError as error:
        _print_error(str(error))
        return retry_later_status if isinstance(error, RetryLater) else EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _redirect_stdout_to_devnull()
        return 0
    except OSError as error:
        if error.errno not in FILESYSTEM_ERRNOS:
            raise
        _print_error(f"{error.filename or 'a file'}: {error.strerror}")
        return EXIT_USER_ERROR


def load_command(name: str) -> Command:
    """Import the module of a command."""
    return cast(Command, importlib.import_module(f"sweeps.cli.commands.{name}"))


def get_program() -> str:
    """Return how the user started this process: the console command, or `python sweep.py`."""
    is_console_command = Path(sys.argv[0]).stem == CONSOLE_COMMAND
    return CONSOLE_COMMAND if is_console_command else "python sweep.py"


def _execute(argv: Sequence[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        _build_parser(None).print_help()
        return 0 if argv else EXIT_USER_ERROR
    if argv[0] == "--version":
        print(f"{DISTRIBUTION} {_read_version()}")
        return 0
    arguments = _parse_arguments(argv)
    if arguments.command in STARTING_COMMANDS:
        _refuse_torchrun()
    command = load_command(arguments.command)
    if arguments.command in MULTIRUN_COMMANDS and any(c in w for w in argv for c in ",("):
        from sweeps.cli.multirun import run_each  # here: only lists need it
        from sweeps.config.multirun import expand_sweeps

        if len(sweeps := expand_sweeps(arguments.overrides)) > 1:
            return run_each(command.run, arguments, sweeps)
    return command.run(arguments)


def _refuse_torchrun() -> None:
    """Raise `UserError` if this process is one of several that torchrun has started."""
    size, rank = os.environ.get("WORLD_SIZE", ""), os.environ.get("RANK", "")
    if rank.isdecimal() and size.isdecimal() and int(size) > 1:
        raise UserError(
            f"torchrun starts this command {size} times (RANK={rank}, WORLD_SIZE={size}): start it "
            f"once, without torchrun, and write launcher.tasks_per_node={size}, with which it "
            "starts the processes of each run itself"
        )


def _parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; names and flags are sorted first, so that their order is free.

    Raises:
        UserError: the command or a flag does not exist, or the command takes no names.
    """
    command, words = argv[0], argv[1:]
    if command.startswith("-") or _is_override(command):
        command, words = DEFAULT_COMMAND, argv
    elif command not in COMMANDS:
        raise _make_unknown_command_error(command)
    words = _join_flag_values(words)
    flags = [word for word in words if word.startswith("-")]
    overrides = [word for word in words if _is_override(word)]
    names = [word for word in words if word not in overrides and not word.startswith("-")]
    parser = _build_parser(command)
    arguments, unknown_words = parser.parse_known_args([command, *names, *flags])
    for word in unknown_words:
        if word.startswith("-"):
            raise UserError(f"{command} has no flag {word}: {_suggest_instead(command, word)}")
        raise UserError(f"{command} takes no name, got {word!r}; settings are key=value")
    arguments.overrides = overrides
    return arguments


def _is_override(word: str) -> bool:
    """Return whether a word sets a key, or removes one as in Hydra, which the parser refuses."""
    return not word.startswith("-") and ("=" in word or bool(HYDRA_DELETION.fullmatch(word)))


def _join_flag_values(words: Sequence[str]) -> list[str]:
    """Return words with `--cfg job` as `--cfg=job`, so that the value is not taken for a name."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in VALUE_FLAGS and not word.startswith("-"):
            joined[-1] = f"{VALUE_FLAGS[joined[-1]]}={word}"
        else:
            joined.append(word)
    return joined


def _make_unknown_command_error(word: str) -> UserError:
    """Return the error for a first word that is no command: it may be a sweep or an ablation."""
    from ablations.schema import CONF, list_ablations  # here: only this error needs it

    if SWEEP_ID.fullmatch(word):
        return UserError(f"unknown command {word!r}: to continue that sweep write run {word}")
    if word in list_ablations([CONF]):
        return UserError(f"unknown command {word!r}: to run the ablation write ablation={word}")
    return make_unknown_name_error("command", word, COMMANDS)


def _suggest_instead(command: str, flag: str) -> str:
    """Return what to write instead of an unknown flag: the key that it may mean, or the help."""
    from sweeps.config.unknown_keys import SYNONYMS, suggest_keys  # here: only this error needs it

    name, _, value = flag.lstrip("-").partition("=")
    if f"--{name}" in VALUE_FLAGS:
        return f"leave {command} out: {get_program()} --{name} {value or '<value>'} ..."
    keys = suggest_keys(name, SYNONYMS)
    if not keys or len(name) < 2:
        return f"see {get_program()} {command} --help"
    return f"settings are key=value, write {keys[0]}={value or '<value>'} (list keys {keys[0]})"


class _ArgumentParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}: see {self.prog} --help")


def _build_parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser of all commands; only the arguments of `command` are added to it."""
    parser = _ArgumentParser(
        prog=get_program(),
        usage=f"{get_program()} [command] [name ...] [--flag ...] [key=value ...]",
        description=DESCRIPTION,
        epilog=EPILOG.replace("python sweep.py", get_program()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="<command>")
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            prog=f"{get_program()} {name}",
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == command:
            load_command(name).add_arguments(subparser)
            if name in MULTIRUN_COMMANDS:
                subparser.add_argument("-m", "--multirun", action="store_true", help=MULTIRUN_HELP)
            usage = subparser.format_usage().removeprefix("usage: ").rstrip()
            subparser.usage = f"{usage} [key=value ...]"
    return parser


def _read_version() -> str:
    from importlib import metadata

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


def _print_error(message: str) -> None:
    print(f"{get_program().removeprefix('python ')}: {message}", file=sys.stderr)


def _redirect_stdout_to_devnull() -> None:
    """Discard what is still to be printed: the reader of the pipe is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
