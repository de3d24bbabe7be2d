"""Completion of a command line in a shell: commands, flags, names, keys and their values.

argcomplete is the link to the shell: it splits the line as bash does, and quotes what is inserted.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from argcomplete.finders import CompletionFinder

from ablations.schema import list_ablations
from analysis.exports.targets import TARGETS
from sweeps.cli.commands.completion import SHELLS
from sweeps.cli.commands.data import ACTIONS
from sweeps.cli.commands.list import KINDS
from sweeps.cli.key_list import GROUP_MEANINGS, TUNE_CHOICE, ListedKey, list_keys
from sweeps.cli.main import COMMANDS, DEFAULT_COMMAND, MULTIRUN_COMMANDS, load_command
from sweeps.config.request import list_conf_dirs
from sweeps.config.selection import open_store
from sweeps.config.sweep_keys import GROUP_CLASSES, GROUP_KEYS
from uniclip.config import compose
from uniclip.evaluate import datasets

Completions = dict[str, str]
"""Word -> description."""
LITERAL = re.compile(r"'([^']*)'")
FIRST_NAMES: Mapping[str, Sequence[str]] = {
    "completion": SHELLS,
    "data": ACTIONS,
    "export": [*TARGETS],
    "list": KINDS,
}
"""Command -> what its first name may be."""
KEYS_OF_COMMANDS: Mapping[str, Sequence[str]] = {
    "completion": (),
    "data": ("data_root=", "to=", "data.path="),
    "gc": ("store=",),
    "import": ("store=",),
    "init": (),
    "leaderboard": ("to=",),
    "list": (*(f"{group}=" for group in GROUP_KEYS), "store=", "conf_dir="),
    "merge": ("store=", "join="),
    "verify": ("draw=", "tolerance="),
}
"""Command -> its keys, where they are not those of a sweep."""
WITHOUT_SWEEP = (*KEYS_OF_COMMANDS, "doctor")
"""Commands that take no id of a sweep."""


class _WordFinder(CompletionFinder):
    """argcomplete with the words of `complete_word` instead of those of a parser."""

    def collect_completions(
        self, active_parsers: object, parsed_args: argparse.Namespace, cword_prefix: str
    ) -> list[str]:
        """Return the completions of the word under the cursor."""
        completions = complete_word(parsed_args.words or (), cword_prefix)
        self._display_completions.update(completions)
        return list(completions)


def print_completions() -> None:
    """Write the completions to where argcomplete's shell function reads them, and exit."""
    parser = argparse.ArgumentParser(add_help=False, prefix_chars="\0")
    parser.add_argument("words", nargs="*")
    _WordFinder()(parser)


def complete_word(words: Sequence[str], prefix: str) -> Completions:
    """Return what the word under the cursor may become.

    Args:
        words: The words before it, without the program.
        prefix: Its characters before the cursor.
    """
    command = words[0] if words and words[0] in COMMANDS else DEFAULT_COMMAND
    if prefix.startswith("-"):
        candidates = {flag: "" for flag in list_flags(command)}
    elif "=" in prefix:
        candidates = _complete_value(words, prefix)
    else:
        names = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        candidates = {
            **({} if words else COMMANDS),
            **_list_names(command, words, names),
            **_list_keys(command, words, with_sections=bool(prefix)),
        }
    return {word: text for word, text in candidates.items() if word.startswith(prefix)}


class _FlagRecorder(argparse.ArgumentParser):
    """A parser that records its long flags; those that take a value end with "="."""

    def __init__(self) -> None:
        self.flags: list[str] = []
        super().__init__()

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Add and record an argument."""
        action = super().add_argument(*names, **options)
        suffix = "=" if action.nargs is None else ""
        self.flags += [f"{flag}{suffix}" for flag in action.option_strings if flag[:2] == "--"]
        return action


def list_flags(command: str) -> list[str]:
    """Return the long flags of a command."""
    recorder = _FlagRecorder()
    load_command(command).add_arguments(recorder)
    return [*recorder.flags, *["--multirun"] * (command in MULTIRUN_COMMANDS)]


def _list_names(command: str, words: Sequence[str], names: Sequence[str]) -> Completions:
    """Return the names that a command takes, after those that are there already."""
    if command in FIRST_NAMES and not names:
        return dict.fromkeys(FIRST_NAMES[command], "")
    if command == "data":
        return {name: "" for name in (*datasets.DATASETS, *datasets.list_benchmarks())}
    if command in WITHOUT_SWEEP:
        return {}
    store_words = [word for word in words if word.startswith("store=")]
    return {sweep.id: "sweep" for sweep in open_store(store_words).iter_sweeps()}


def _list_keys(command: str, words: Sequence[str], *, with_sections: bool) -> Completions:
    """Return the keys that a command takes, with "="; those of sections (a.b=) if asked for."""
    if command in KEYS_OF_COMMANDS:
        return dict.fromkeys(KEYS_OF_COMMANDS[command], "")
    return {
        f"{listed.key.name}=": listed.key.meaning
        for listed in list_keys([])
        if (with_sections or "." not in listed.key.name) and _exists(listed, command, words)
    }


def _exists(listed: ListedKey, command: str, words: Sequence[str]) -> bool:
    """Return whether a key exists with the choices that stand in the command line."""
    if not listed.choices:
        return True
    if TUNE_CHOICE in listed.choices:
        return command == "tune"
    group = listed.choices[0].partition("=")[0]
    chosen = {word for word in words if word.startswith(f"{group}=")}
    return not chosen or bool(chosen & {*listed.choices}) or any("," in word for word in chosen)


def _complete_value(words: Sequence[str], prefix: str) -> Completions:
    """Return `key=value` for each value that a key takes; of a list, for its last value."""
    key, _, text = prefix.partition("=")
    head = text[: text.rfind(",") + 1]
    return {f"{key}={head}{value}": "" for value in _list_values(key, words)}


def _list_values(key: str, words: Sequence[str]) -> Sequence[str]:
    """Return the values of a key that are names; none for numbers, texts and paths."""
    if key in GROUP_CLASSES:
        return sorted(GROUP_CLASSES[key])
    if key in GROUP_MEANINGS or key == "space":
        conf_dirs = [word for word in words if word.startswith("conf_dir=")]
        folders = list_conf_dirs(conf_dirs[-1].partition("=")[2] if conf_dirs else None)
        return _list_files(key, folders)
    types = [listed.key.type for listed in list_keys([]) if listed.key.name == key]
    if not types:
        return ()
    values = LITERAL.findall(types[0]) if "Literal[" in types[0] else []
    values += ["true", "false"] if "bool" in types[0] else []
    return [*values, *["null"] * (bool(values) and "None" in types[0])]


def _list_files(group: str, folders: Sequence[Path]) -> Sequence[str]:
    """Return the choices of a group of YAML files."""
    if group == "ablation":
        return list_ablations(folders)
    return () if group == "conf_dir" else compose.list_choices(group, folders)
