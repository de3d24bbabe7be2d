"""One run of a program: its command line, its folders and the files that it writes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uniclip.commands import provenance
from uniclip.commands.definition import CommandDefinition
from uniclip.commands.template import render_file, render_text, render_words
from uniclip.config.binding import bind, to_builtins
from uniclip.config.device import AUTO, detect_device
from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write

SPEC_KIND = "command"
"""`kind` of the spec of a program's run."""
OUTPUT_FOLDER = "output"
"""Folder of the program's files in that of its run."""
HASHED_FIELDS = ("run", "resume", "steps", "environment", "working_folder")
"""Fields of a definition that enter the run id, beside `files` if there are any; the others say how
its files are read."""


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One run of a program."""

    definition: CommandDefinition
    folder: Path
    """Folder of the ablation's file."""
    values: Mapping[str, Any]
    """The values of the arm, paths included."""
    seed: int
    device: str
    """Such as "cpu" or "cuda"; "auto" = what this machine has."""

    def substitute(self, output: Path, *, resumes: bool = False) -> dict[str, Any]:
        """Return what every name of a template stands for."""
        substitutions = {
            **self.values,
            "seed": self.seed,
            "output": output,
            "here": self.folder,
            "device": detect_device() if self.device == AUTO else self.device,
            "python": sys.executable,
        }
        resume = render_words(self.definition.resume, substitutions) if resumes else []
        return {**substitutions, "resume": resume}

    def build_words(self, output: Path, *, resumes: bool) -> list[str]:
        """Return the command line."""
        return render_words(self.definition.run, self.substitute(output, resumes=resumes))

    def get_working_folder(self, output: Path) -> Path:
        """Return the folder in which the program is started."""
        return Path(render_text(self.definition.working_folder, self.substitute(output)))

    def write_files(self, output: Path) -> None:
        """Write the files that the program reads, such as its configuration, to its folder."""
        substitutions = self.substitute(output)
        for name, template in self.definition.files.items():
            atomic_write(output / name, render_file(template, substitutions).encode())

    def build_environment(self, output: Path) -> dict[str, str]:
        """Return the variables that the program has beside those of this process."""
        substitutions = self.substitute(output)
        return {
            name: render_text(template, substitutions)
            for name, template in self.definition.environment.items()
        }

    @property
    def total_steps(self) -> int:
        """The number of training steps.

        Raises:
            UserError: it is no whole number above 0.
        """
        text = render_text(self.definition.steps, {**self.values, "seed": self.seed})
        if not text.isdecimal() or not int(text):
            raise UserError(f"command.steps must be a whole number above 0, got {text!r}")
        return int(text)

    def get_metrics_path(self, output: Path, log_path: Path) -> Path:
        """Return the file whose lines are metrics.

        Args:
            output: Output folder of the run.
            log_path: The file that holds what the program prints.
        """
        template = self.definition.metrics_file or self.definition.log_file
        return output / render_text(template, self.substitute(output)) if template else log_path

    def get_scores_path(self, output: Path) -> Path:
        """Return the file of scores."""
        return output / render_text(self.definition.scores_file, self.substitute(output))

    def collect_fingerprint(self) -> dict[str, Any]:
        """Return digests and versions of what is declared, as it is now."""
        return provenance.collect_fingerprint(self.definition, self.folder, self.values)

    def build_spec(self, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        """Return the spec, of which the run id is the hash."""
        hashed = to_builtins(self.definition)
        names = (*HASHED_FIELDS, *(("files",) if self.definition.files else ()))
        return {
            "kind": SPEC_KIND,
            "config": {
                "seed": self.seed,
                "values": {
                    k: to_builtins(v)
                    for k, v in self.values.items()
                    if k not in self.definition.paths
                },
                "command": {name: hashed[name] for name in names},
            },
            "data": to_builtins(fingerprint),
        }


def read_invocation(spec: Mapping[str, Any], run_only: Mapping[str, Any]) -> Invocation:
    """Return the invocation of a run.

    Args:
        spec: The spec of the run.
        run_only: What the spec does not contain: `runtime`, with the section `command` of folder,
            definition and paths.

    Raises:
        UserError: the spec is not that of a program's run.
    """
    if spec.get("kind") != SPEC_KIND:
        raise UserError("the spec is not that of a run of a command")
    runtime, config = run_only["runtime"], spec["config"]
    definition = bind(CommandDefinition, runtime["command"]["definition"])
    return Invocation(
        definition=replace(definition, **config["command"]),
        folder=Path(runtime["command"]["folder"]),
        values={**config["values"], **runtime["command"].get("paths", {})},
        seed=config["seed"],
        device=runtime["device"],
    )
