"""A short run of a program: what it logs, what it scores, and how long it takes."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uniclip.commands.invocation import Invocation
from uniclip.commands.log_reader import LogReader, StepTimer
from uniclip.commands.memory import MemoryMeter
from uniclip.commands.program import run_program
from uniclip.commands.score_file import read_scores
from uniclip.errors import StopRequested, UserError

POLL_SECONDS = 0.01
IGNORED_METRICS = ("step", "phase")
MAX_KILLS = 5
"""Runs that are made until one could be killed."""
MAX_NOISE_RATIO = 3.0
"""A difference between arms counts if it is more than so many times that of equal runs."""


@dataclass(kw_only=True)
class CommandProbe:
    """A short run of one arm."""

    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Step -> what was logged; of a metric that was logged again, the newest."""
    resumed_at: int = 0
    """First step that was logged after the kill; 0 if the run was not killed."""
    scores: dict[str, float] = field(default_factory=dict)
    total_seconds: float = 0.0
    timer: StepTimer = field(default_factory=StepTimer)
    meter: MemoryMeter = field(default_factory=MemoryMeter)
    evaluation_seconds: float = 0.0
    """Wall seconds of the evaluation of its checkpoint."""

    def get_quantity(self, name: str) -> tuple[Any, ...]:
        """Return a metric at every step that has it, or a score; empty if there is none."""
        values = tuple(r[name] for _, r in sorted(self.records.items()) if name in r)
        if not values and name in self.scores:
            return (self.scores[name],)
        return values

    def list_quantities(self) -> list[str]:
        """Return the names of all metrics and scores."""
        names = [name for record in self.records.values() for name in record]
        return [n for n in dict.fromkeys([*names, *self.scores]) if n not in IGNORED_METRICS]


def probe_command(
    invocation: Invocation,
    folder: Path,
    stop: Callable[[], bool],
    *,
    kill_at: int = 0,
    evaluate: Callable[[Path], float] | None = None,
) -> CommandProbe:
    """Run a program with the values of short runs.

    Args:
        invocation: The program; its values are used as they are.
        folder: A folder that is emptied first. It is kept if the program fails.
        stop: Returns True once the audit should stop.
        kill_at: Step at which the program is killed and started again; 0 = never.
        evaluate: Evaluates the checkpoint in the output folder; returns the wall seconds.

    Raises:
        StopRequested: `stop` returned True.
        UserError: the program failed, logged nothing or wrote no scores, or its checkpoint cannot
            be evaluated.
    """
    folder = folder.absolute()
    output = folder / "output"
    if kill_at:
        probe = _probe_killed(invocation, folder, stop, kill_at)
    else:
        probe = CommandProbe()
        _empty(folder)
        _run(invocation, folder, probe, stop, resumes=False)
    if not probe.records:
        raise UserError(
            f"the program logged no step: see {folder / 'log'}, and command.log_pattern"
        )
    if invocation.definition.scores:
        scores = read_scores(invocation.get_scores_path(output), invocation.definition.scores)
        probe.scores = {score.name: score.value for score in scores}
    if evaluate is not None:
        probe.evaluation_seconds = evaluate(output)
    shutil.rmtree(folder, ignore_errors=True)
    return probe


def _probe_killed(
    invocation: Invocation, folder: Path, stop: Callable[[], bool], kill_at: int
) -> CommandProbe:
    """Return a run that was killed and started again.

    On a busy machine a short run may end before it is killed: then it is made anew.

    Raises:
        UserError: it always ended before.
    """
    for _ in range(MAX_KILLS):
        probe = CommandProbe()
        _empty(folder)
        was_killed = _run(invocation, folder, probe, stop, resumes=False, kill_at=kill_at)
        killed_records, probe.records = probe.records, {}
        if was_killed:
            _run(invocation, folder, probe, stop, resumes=True)
        if probe.records:
            probe.resumed_at = min(probe.records)
            probe.records = {**killed_records, **probe.records}
            return probe
    raise UserError(
        f"command.kill_at: the short run ended before it was killed at step {kill_at}: give it "
        "more steps (command.resume_values)"
    )


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "output").mkdir(parents=True)


def _run(
    invocation: Invocation,
    folder: Path,
    probe: CommandProbe,
    stop: Callable[[], bool],
    *,
    resumes: bool,
    kill_at: int = 0,
) -> bool:
    """Run the program once; return whether it was killed."""
    output, log_path = folder / "output", folder / "log"
    reader = LogReader(invocation.get_metrics_path(output, log_path), invocation.definition)

    def read_records() -> None:
        for record in reader.read_records():
            probe.records[record["step"]] = {**probe.records.get(record["step"], {}), **record}
            probe.timer.observe(record["step"])

    def should_kill() -> bool:
        return stop() or bool(kill_at) and max(probe.records, default=0) >= kill_at

    start = time.monotonic()
    probe.timer = StepTimer()
    invocation.write_files(output)
    with open(log_path, "ab") as log:
        program_end = run_program(
            invocation.build_words(output, resumes=resumes),
            output,
            invocation.get_working_folder(output),
            invocation.build_environment(output),
            on_poll=read_records,
            stop=should_kill,
            grace_seconds=0,
            poll_seconds=POLL_SECONDS,
            log=log,
            meter=probe.meter,
        )
    probe.total_seconds = time.monotonic() - start
    if stop():
        raise StopRequested("the audit was stopped")
    if program_end.exit_status and not program_end.was_stopped:
        lines = log_path.read_text(errors="replace").split("\n")
        last_line = next((x.strip() for x in reversed(lines) if x.strip()), "no output")
        raise UserError(
            f"the program ended with status {program_end.exit_status}: {last_line[:200]} "
            f"(log: {log_path})"
        )
    return program_end.was_stopped


# ---- comparing short runs ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class QuantityComparison:
    """One quantity of two arms, each of which ran twice with one seed."""

    differs: bool
    equals: bool
    is_reproducible: bool
    """Whether equal runs gave equal values."""
    detail: str


def compare_quantity(
    name: str, probes: Sequence[CommandProbe], others: Sequence[CommandProbe]
) -> QuantityComparison:
    """Return whether two arms differ in a quantity by more than equal runs do.

    Args:
        name: A metric, compared step by step, or a score.
        probes: Two runs of an arm with one seed.
        others: Two runs of another arm with this seed.
    """
    pairs = [(a.get_quantity(name), b.get_quantity(name)) for a in probes for b in others]
    if any(not values for pair in pairs for values in pair):
        return QuantityComparison(
            differs=False, equals=False, is_reproducible=False, detail=f"{name} is not logged"
        )
    noise = max(
        measure_distance(first.get_quantity(name), second.get_quantity(name))
        for first, second in (probes, others)
    )
    distance = min(measure_distance(*pair) for pair in pairs)
    noise_text = f", equal runs by up to {noise:.3g}" if noise else ""
    return QuantityComparison(
        differs=distance > MAX_NOISE_RATIO * noise,
        equals=distance <= MAX_NOISE_RATIO * noise and noise < math.inf,
        is_reproducible=noise == 0,
        detail=f"{name} {_describe_distance(distance)}{noise_text}",
    )


def measure_distance(values: Sequence[Any], others: Sequence[Any]) -> float:
    """Return the largest difference of two sequences; infinite if text or length differ."""
    if len(values) != len(others):
        return math.inf
    return max((_measure_difference(a, b) for a, b in zip(values, others)), default=0.0)


def _measure_difference(value: Any, other: Any) -> float:
    if value == other or (value != value and other != other):
        return 0.0
    with suppress(TypeError):
        difference = abs(value - other)
        return math.inf if difference != difference else float(difference)
    return math.inf


def _describe_distance(distance: float) -> str:
    if distance == 0:
        return "is equal at every step"
    return "differs" if distance == math.inf else f"differs by up to {distance:.3g}"


def with_values(invocation: Invocation, values: dict[str, Any], seed_offset: int = 0) -> Invocation:
    """Return an invocation with other values, and another seed."""
    return replace(
        invocation,
        values={**invocation.values, **values},
        seed=invocation.seed + seed_offset,
    )
