"""What an ablation declares of a program that trains its arms (the section `command`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from uniclip.config.binding import config_field
from uniclip.errors import UserError
from uniclip.store.score_kinds import ScoreKind

EXECUTOR = "uniclip.commands.cell"
"""The module that executes cells that a command trains (`Plan.executor`)."""
COMMAND_DATASET = "program"
"""What tables call the data set of the scores that a program writes."""
CONSTANT = "constant"
"""Name of the summand of `step_from` that multiplies no group."""


@dataclass(frozen=True, kw_only=True)
class ScoreDefinition:
    """A score that the program writes."""

    kind: ScoreKind = "accuracy"
    """What it measures: says which direction is better."""
    key: str = ""
    """Its name in the program's file; empty = the name of the score."""
    chance: float | None = None
    num_samples: int = config_field(0, low=0)
    """Test samples behind it; 0 = not known."""


@dataclass(frozen=True, kw_only=True)
class CommandDefinition:
    """A program, its command line and its files.

    Templates may name the values of the arm, and {seed}, {output} (the run's folder, kept between
    attempts), {here} (the folder of the ablation's file), {device}, {python} and {resume}.
    """

    run: str
    """Template of the command line, split into words as a shell splits it; no shell reads it."""
    steps: str
    """Template of the number of training steps, such as "{steps}"."""
    resume: str = ""
    """What {resume} stands for if an earlier attempt began: words such as `--resume latest`."""
    files: dict[str, str] = config_field(dict)
    """Name of a file -> template of its text, such as that of a configuration: it is written to
    {output} before the program is started. Lists and null are written as JSON."""
    working_folder: str = "{output}"
    """Template of the folder in which the program is started."""
    metrics_file: str = ""
    """Template of a file of JSON lines with a step each, relative to {output}; or of a CSV with a
    column step, if it ends with .csv."""
    log_pattern: str = ""
    """Regular expression of a log line of training; its named groups are metrics, one the step."""
    log_file: str = ""
    """Template of the log that `log_pattern` reads; empty = what the program prints."""
    step_from: dict[str, float] = config_field(dict)
    """Group -> factor: the step is their sum, with the summand `constant`; empty = group `step`."""
    scores_file: str = "scores.json"
    """Template of the JSON file of scores, of JSON lines of which the last one counts, or of a CSV
    (.csv) with the last number in each column."""
    scores: dict[str, ScoreDefinition] = config_field(dict)
    """Score of that file -> what it is; the first one is primary."""
    checkpoint: str = ""
    """Template of the checkpoint that is evaluated on `benchmark`, relative to {output}: a file of
    open_clip or CLIP, a folder of transformers, or a pattern such as `*.pt` of one file."""
    checkpoint_config: str = ""
    """Template of open_clip's JSON of the model: it states what the weights of a file do not
    (activation, attention heads, normalization). Empty = heads 64 wide, GELU and CLIP's
    normalization. A folder describes its model itself."""
    benchmark: tuple[str, ...] = ()
    """Data sets on which the checkpoint is evaluated; `benchmark=` of the user replaces them."""
    sources: tuple[str, ...] | None = None
    """Patterns of the program's own files, relative to {here}; their bytes enter the run id. Null =
    not declared, [] = there are none."""
    packages: tuple[str, ...] | None = None
    """Installed packages whose versions enter the run id."""
    data: tuple[str, ...] | None = None
    """Templates of files, folders or patterns whose bytes enter the run id."""
    paths: tuple[str, ...] = ()
    """Values that only say where data lie: they do not enter the run id."""
    environment: dict[str, str] = config_field(dict)
    """Environment variable -> template of its value."""
    grace_seconds: float = config_field(60.0, low=0)
    """Time between SIGTERM, after which the program may write a checkpoint, and SIGKILL."""
    check_values: dict[str, Any] = config_field(dict)
    """Values of the short runs that are made before the sweep, such as {steps: 8}."""
    resume_values: dict[str, Any] = config_field(dict)
    """The same for the test of resuming; empty = `check_values`."""
    kill_at: int = config_field(0, low=0)
    """Step at which the test of resuming kills a short run, which must then continue after step 1;
    0 = no such test."""

    @property
    def dataset(self) -> str:
        """The data set that the program's own scores are of, as tables call it."""
        return COMMAND_DATASET

    @property
    def primary_score(self) -> str | None:
        """The first score of the program; None if it writes none."""
        return next(iter(self.scores), None)

    @cached_property
    def compiled_pattern(self) -> re.Pattern[str]:
        """`log_pattern`, compiled."""
        return re.compile(self.log_pattern)

    def validate(self) -> None:
        """Check what does not depend on the arms.

        Raises:
            UserError: a key contradicts another one; one line.
        """
        if not self.scores and not self.checkpoint:
            raise UserError(
                "command.scores is empty: name a score that the program writes, or a checkpoint"
            )
        if (self.benchmark or self.checkpoint_config) and not self.checkpoint:
            raise UserError("command.benchmark and checkpoint_config belong to checkpoint")
        if bool(self.metrics_file) == bool(self.log_pattern):
            raise UserError("command needs one of metrics_file and log_pattern")
        if self.metrics_file and (self.step_from or self.log_file):
            raise UserError("command.step_from and log_file belong to log_pattern")
        if self.log_pattern:
            self._validate_pattern()
        for name in self.files:
            if Path(name).name != name:
                raise UserError(f"command.files: {name!r} must be a name of a file in {{output}}")
        for name in self.environment:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise UserError(f"command.environment: {name!r} is no name of a variable")

    def _validate_pattern(self) -> None:
        try:
            groups = self.compiled_pattern.groupindex
        except re.error as error:
            raise UserError(f"command.log_pattern is no regular expression: {error}") from None
        needed = [name for name in self.step_from if name != CONSTANT] or ["step"]
        for name in needed:
            if name not in groups:
                raise UserError(
                    f"command.log_pattern has no group (?P<{name}>...), by which steps are counted"
                )
