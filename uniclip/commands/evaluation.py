"""The evaluation of a program's checkpoint on the data sets of `benchmark=`, as it is planned.

A score depends on the protocol of its data set, as those of this package's runs do, and on which
checkpoint is read how: the evaluation hash covers both. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uniclip import evaluate
from uniclip.commands.definition import CommandDefinition
from uniclip.commands.invocation import Invocation
from uniclip.commands.template import render_text
from uniclip.config import ClipMethod, CsvData, RunConfig, RuntimeConfig
from uniclip.config.binding import bind
from uniclip.errors import UserError
from uniclip.io.hashing import digest, digest_file

PRIMARY_SCORES = {
    "classification": "zeroshot",
    "multilabel": "zeroshot",
    "retrieval": "retrieval.r1",
}
"""Kind of a data set -> its score that is primary unless the ablation names another one."""


def build_evaluation_config(runtime: Mapping[str, Any], benchmark: Sequence[str] = ()) -> RunConfig:
    """Return a configuration that states how checkpoints are evaluated, and nothing of training.

    Args:
        runtime: The section `runtime` of the plan; its section `command` is left out.
        benchmark: Names of data sets.
    """
    values = {key: value for key, value in runtime.items() if key != "command"}
    return RunConfig(
        data=CsvData(),
        method=ClipMethod(),
        runtime=bind(RuntimeConfig, values, "runtime."),
        benchmark=tuple(benchmark),
    )


def expand_benchmark(entries: Sequence[str]) -> tuple[str, ...]:
    """Return the names of single data sets.

    Raises:
        UserError: There is no such data set, or it is scored as part of training data only.
    """
    names = evaluate.expand_benchmarks(entries)
    for name in names:
        if name in evaluate.BENCHMARKS:
            raise UserError(
                f"benchmark={name} is scored for models that are trained here: name published data "
                "sets (list benchmarks), or csv:<file>, folder:<folder>, wds:<folder>"
            )
    return names


def describe_checkpoint(
    definition: CommandDefinition, folder: Path, values: Mapping[str, Any]
) -> dict[str, str]:
    """Return what names and describes the checkpoint, as plain JSON.

    Args:
        definition: The program.
        folder: The folder of the ablation's file.
        values: The values of the arm.

    Raises:
        UserError: The file `checkpoint_config` is missing.
    """
    path = find_checkpoint_config(definition, folder, values)
    return {
        "file": definition.checkpoint,
        "config": "" if path is None else digest_file(path),
    }


def find_checkpoint_config(
    definition: CommandDefinition, folder: Path, values: Mapping[str, Any]
) -> Path | None:
    """Return the file that `checkpoint_config` names; None if it names none.

    Raises:
        UserError: There is no such file.
    """
    template = definition.checkpoint_config
    path = folder / render_text(template, {**values, "here": folder}) if template else None
    if path is not None and not path.is_file():
        raise UserError(f"command.checkpoint_config: there is no file {path}")
    return path


def find_checkpoint(invocation: Invocation, output: Path) -> Path:
    """Return the checkpoint in the output folder of a run.

    Raises:
        UserError: There is none, or a pattern matches several.
    """
    name = render_text(invocation.definition.checkpoint, invocation.substitute(output))
    path = output / name
    if path.exists():
        return path
    matches = sorted(path.parent.glob(path.name))
    if len(matches) != 1:
        present = sorted(p.name for p in path.parent.glob("*")) or ["nothing"]
        mismatch = f"matches {len(matches)} files" if matches else "does not exist"
        raise UserError(
            f"command.checkpoint: {path} {mismatch}; the folder has {', '.join(present[:12])}"
        )
    return matches[0]


def get_checkpoint_signature(invocation: Invocation, output: Path) -> tuple[int, int] | None:
    """Return what changes when the checkpoint of a run is written; None without one.

    None, too, if a file vanishes meanwhile: the program is about to replace the checkpoint.
    """
    try:
        path = find_checkpoint(invocation, output)
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        stats = [file.stat() for file in files]
    except (UserError, FileNotFoundError):
        return None
    return max((s.st_mtime_ns for s in stats), default=0), sum(s.st_size for s in stats)


def hash_evaluation(protocol_hash: str, checkpoint: Mapping[str, str]) -> str:
    """Return the evaluation hash of a data set: 8 hex digits.

    Args:
        protocol_hash: Hash of the protocol of the data set.
        checkpoint: As of `describe_checkpoint`.
    """
    return digest({"protocol": protocol_hash, "checkpoint": checkpoint}, 8)


def get_primary_score(name: str) -> str | None:
    """Return the usual score of a data set; None if its kind has no such score."""
    return PRIMARY_SCORES.get(evaluate.datasets.get(name).kind)
