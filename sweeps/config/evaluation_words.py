"""The words of a command line that say on what and how is evaluated: `benchmark=`, `protocol=`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations.schema import Ablation
from sweeps.config import sweep_keys
from uniclip import evaluate
from uniclip.config.overrides import format_override
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.protocols import custom


def require_whole_paths(word: str) -> None:
    """Check that the list of a word divides no path that has a comma.

    Raises:
        UserError: it does; the line has the word with the path in quotes.
    """
    pieces = word.partition("=")[2].strip().removeprefix("[").removesuffix("]").split(",")
    for start, piece in enumerate(pieces):
        scheme, _, path = piece.strip().partition(":")
        if f"{scheme}:" not in sweep_keys.DATASET_SCHEMES or Path(path).exists():
            continue
        for end in range(start + 2, len(pieces) + 1):
            whole = ",".join(pieces[start:end]).strip()
            if Path(whole.partition(":")[2]).exists():
                names = [*(p.strip() for p in pieces[:start]), whole, *pieces[end:]]
                remedy = shlex.quote(format_override("benchmark", names))
                raise UserError(f"{whole} has a comma, which divides a list: write {remedy}")


def resolve_custom_names(values: dict[str, Any], conf_dirs: list[Path]) -> None:
    """Replace the names of user-defined protocols and benchmarks by their content, in place."""
    protocol, benchmarks = values.get("runtime.protocol"), values.get("benchmark")
    if isinstance(protocol, str):
        values["runtime.protocol"] = custom.resolve_protocol(protocol, conf_dirs)
    if isinstance(benchmarks, list):
        values["benchmark"] = _expand_custom_lists(benchmarks, conf_dirs)


def resolve_command_benchmark(ablation: Ablation, conf_dirs: list[Path]) -> Ablation:
    """Return the ablation with user-defined benchmarks of its command replaced by their content."""
    command = ablation.command
    if command is None:
        return ablation
    benchmark = tuple(_expand_custom_lists(command.benchmark, conf_dirs))
    return replace(ablation, command=replace(command, benchmark=benchmark))


def _expand_custom_lists(names: Iterable[str], conf_dirs: list[Path]) -> list[str]:
    custom_names = set(datasets.list_benchmarks(conf_dirs)) - set(datasets.list_benchmarks())
    return [
        dataset
        for name in names
        for dataset in (
            evaluate.expand_benchmarks([name], conf_dirs) if name in custom_names else (name,)
        )
    ]
