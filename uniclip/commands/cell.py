"""The executor of a cell that somebody else's program trains (`Plan.executor`).

The program runs in `runs/<id>/output/`, which is kept between attempts, so that it can resume from
what it wrote there. Its output is the attempt's log. Its metrics are copied to the attempt while it
runs; its scores are published once, after it ended with status 0. Then its checkpoint is evaluated,
if one is declared; an attempt that is interrupted there is followed by one that evaluates the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM
from typing import Any

from uniclip.commands.evaluation import find_checkpoint, get_checkpoint_signature
from uniclip.commands.invocation import OUTPUT_FOLDER, Invocation, read_invocation
from uniclip.commands.log_reader import LogReader, StepTimer
from uniclip.commands.memory import MemoryMeter
from uniclip.commands.program import LOCK_NAME, ProgramEnd, run_program
from uniclip.commands.provenance import require_fingerprint
from uniclip.commands.score_file import read_scores
from uniclip.config.device import AUTO, detect_device
from uniclip.errors import UserError
from uniclip.identity import compute_source_hash
from uniclip.io.atomic import append_jsonl, write_once
from uniclip.store import AttemptFolder, DatasetScores, ExitKind, Outcome, RunFolder, Score
from uniclip.store.json_io import to_json_bytes
from uniclip.training.heartbeat import repeat_heartbeats

SUPERSEDED_CHECK_SECONDS = 2.0
"""Time between two looks whether a newer attempt was claimed."""
STOP_STATUSES = (128 + SIGTERM, 128 + SIGINT)
"""Exit statuses of a program that was asked to stop from outside."""
TIME_KEYS = ("seconds", "attempt_seconds")
"""Keys of a record that this module sets, over those of the program."""


class CommandError(RuntimeError):
    """The program ended with an error."""


def resolve_numerics_class(run: RunFolder, run_only: Mapping[str, Any]) -> dict[str, Any]:
    """Return the device type: what else decides the bits of a program is not known."""
    device = str(run_only["runtime"]["device"])
    device = detect_device() if device == AUTO else device
    return {"device": device.partition(":")[0]}


def execute(
    run: RunFolder,
    run_only: Mapping[str, Any],
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> ExitKind:
    """Run the program as far as that is open, publish its scores and evaluate its checkpoint.

    Raises:
        CommandError: the program ended with another status than 0.
        DataChangedError: declared files, packages or data are not those of the plan.
        UserError: it wrote no scores or no checkpoint, or that cannot be evaluated.
    """
    invocation, is_trained = read_invocation(run.read_spec(), run_only), bool(run.read_outcome())
    with repeat_heartbeats(attempt):
        interruption = None
        if not is_trained:
            interruption = _train(run, run_only, attempt, invocation, evaluations, stop)
        outcome = run.read_outcome()
        if interruption is not None or outcome is None:
            return interruption or "superseded"
        if outcome.kind == "diverged":
            return "diverged"
        interruption = _evaluate(run, run_only, attempt, invocation, evaluations, stop)
    return interruption or ("evaluated" if is_trained else "trained")


def _train(
    run: RunFolder,
    run_only: Mapping[str, Any],
    attempt: AttemptFolder,
    invocation: Invocation,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> ExitKind | None:
    """Run the program and write the outcome; return how the attempt ended before that, or None."""
    require_fingerprint(run.read_spec()["data"], invocation.collect_fingerprint())
    output, definition = _get_output_folder(run), invocation.definition
    execution = Execution(run, attempt, invocation, output, stop)
    interruption = execution.run_to_end()
    if interruption is not None:
        return interruption
    is_diverged = bool(definition.scores) and not read_scores(
        invocation.get_scores_path(output), definition.scores
    )
    if definition.checkpoint and not is_diverged:
        path = find_checkpoint(invocation, output)
        if set(evaluations) - {definition.dataset}:
            from uniclip.commands import checkpoint  # imports torch

            is_diverged = checkpoint.has_diverged(invocation, path)
    numerics_class = resolve_numerics_class(run, run_only)
    run.write_outcome(
        execution.build_outcome("diverged" if is_diverged else "trained", numerics_class)
    )
    return None


def _evaluate(
    run: RunFolder,
    run_only: Mapping[str, Any],
    attempt: AttemptFolder,
    invocation: Invocation,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> ExitKind | None:
    """Publish the scores that are missing; return why one is not published, or None."""
    definition = invocation.definition
    pending = {n: h for n, h in evaluations.items() if run.read_scores(n, h) is None}
    if definition.dataset in pending:
        path = invocation.get_scores_path(_get_output_folder(run))
        scores = read_scores(path, definition.scores)
        if not scores:  # they were declared, or their file was changed, after the run had ended
            raise UserError(f"{path}: a score is not finite, of a run that counts as trained")
        publish_scores(run, scores, definition.dataset, pending.pop(definition.dataset))
    if not pending:
        return None
    from uniclip.commands import checkpoint  # imports torch

    try:
        return checkpoint.evaluate_checkpoint(run, attempt, invocation, run_only, pending, stop)
    finally:
        checkpoint.release_device_memory()


def _get_output_folder(run: RunFolder) -> Path:
    return (run.path / OUTPUT_FOLDER).absolute()


def publish_scores(
    run: RunFolder, scores: tuple[Score, ...], dataset: str, evaluation_hash: str
) -> None:
    """Write the scores of the program, once."""
    dataset_scores = DatasetScores(
        dataset=dataset,
        evaluation_hash=evaluation_hash,
        protocol={"scored by": "the program"},
        weights_digest="",
        scores=scores,
    )
    write_once(run.scores_path(dataset, evaluation_hash), to_json_bytes(dataset_scores))


@dataclass
class Execution:
    """One attempt of a program."""

    run: RunFolder
    attempt: AttemptFolder
    invocation: Invocation
    output: Path
    stop: Callable[[], bool]
    timer: StepTimer = field(default_factory=StepTimer)
    meter: MemoryMeter = field(default_factory=MemoryMeter)
    step: int = 0
    """The last step that was logged."""
    seconds: float = 0.0
    """Wall seconds of the program."""
    is_superseded: bool = False
    _next_check: float = 0.0
    _last_step_before: int = 0
    """The last step that earlier attempts logged."""
    _seconds_before: float | None = None
    """Seconds of training behind the step at which this attempt began."""
    _result_at_stop: tuple[int, int] | None = None
    """Signature of its result (`_get_result_signature`) when the program was told to stop."""

    def run_to_end(self) -> ExitKind | None:
        """Run the program; return how the attempt ended before its end, or None.

        Raises:
            CommandError: it ended with another status than 0.
        """
        self._copy_missed_records()
        self._last_step_before = max((r.get("step", 0) for r in self.run.read_history()), default=0)
        self.reader = LogReader(
            self.invocation.get_metrics_path(self.output, self.attempt.log_path),
            self.invocation.definition,
        )
        self.total_steps = self.invocation.total_steps
        words = self.invocation.build_words(self.output, resumes=self._has_output())
        self.output.mkdir(parents=True, exist_ok=True)
        self.invocation.write_files(self.output)
        self.attempt.log_event("started", words=words)
        self._write_heartbeat("starting")
        program_end = run_program(
            words,
            self.output,
            self.invocation.get_working_folder(self.output),
            self.invocation.build_environment(self.output),
            on_poll=self._poll,
            stop=self._should_stop,
            grace_seconds=self.invocation.definition.grace_seconds,
            meter=self.meter,
        )
        self.seconds = time.monotonic() - self.timer.start
        return self._classify(program_end)

    def build_outcome(self, kind: Any, numerics_class: dict[str, Any]) -> Outcome:
        """Return the outcome of the run, and log what it cost."""
        seconds_before = self._seconds_before
        if seconds_before is None:  # an earlier attempt had logged the last step
            seconds_before = self._find_seconds_before(self._last_step_before + 1)
        cost = {"training_seconds": seconds_before + self.seconds}
        if self.timer.seconds_per_step:
            cost["seconds_per_step"] = self.timer.seconds_per_step
        if self.meter.peak_bytes and numerics_class["device"] == "cpu":  # else it is the device's
            cost["peak_memory_bytes"] = float(self.meter.peak_bytes)
        step = max(self.step, self._last_step_before)
        record = {"step": step, "phase": "cost", **cost, "attempt_seconds": self.seconds}
        append_jsonl(self.attempt.metrics_path, record)
        return Outcome(
            kind=kind,
            step=step,
            attempt=self.attempt.number,
            training_hash="",
            source_hash=compute_source_hash(),
            numerics_class=numerics_class,
            weights_digest=None,
            best_step=None,
            cost=cost,
        )

    def _copy_missed_records(self) -> None:
        """Copy what the program logged after the last look of a worker that was killed."""
        known_steps = {record.get("step") for record in self.run.read_history()}
        log_paths = [self.run.get_attempt(n).log_path for n in self.run.list_attempts()]
        paths = [self.invocation.get_metrics_path(self.output, path) for path in log_paths]
        for path in dict.fromkeys(paths):
            for record in LogReader(path, self.invocation.definition, offset=0).read_records():
                if record["step"] not in known_steps:
                    metrics = {k: v for k, v in record.items() if k not in TIME_KEYS}
                    append_jsonl(self.attempt.metrics_path, {"phase": "train", **metrics})

    def _has_output(self) -> bool:
        """Return whether an earlier attempt left files."""
        own_names = {LOCK_NAME, *self.invocation.definition.files}
        return self.output.is_dir() and any(p.name not in own_names for p in self.output.iterdir())

    def _should_stop(self) -> bool:
        """Return whether to stop the program; it is not asked again once this is True."""
        if not (self.stop() or self.is_superseded):
            return False
        self._result_at_stop = self._get_result_signature()
        return True

    def _get_result_signature(self) -> tuple[int, int] | None:
        """Return what changes when the program writes its scores, or its checkpoint if it writes no
        scores; None before it has."""
        if self.invocation.definition.scores:
            return _get_signature(self.invocation.get_scores_path(self.output))
        return get_checkpoint_signature(self.invocation, self.output)

    def _has_finished_since_stop(self) -> bool:
        """Return whether the program, or an earlier attempt, logged the last step, and it wrote its
        result after it was told to stop, or at all if it ended before that.

        Scores or a checkpoint from before may be those of an earlier step.
        """
        signature = self._get_result_signature()
        is_written = signature is not None and signature != self._result_at_stop
        return is_written and max(self.step, self._last_step_before) >= self.total_steps

    def _poll(self) -> None:
        """Copy the metrics that were logged, and look whether a newer attempt was claimed."""
        for record in self.reader.read_records():
            self._log(record)
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + SUPERSEDED_CHECK_SECONDS
            self.is_superseded = self.is_superseded or self.attempt.is_superseded()

    def _log(self, record: dict[str, Any]) -> None:
        self.step = record["step"]
        attempt_seconds = self.timer.observe(self.step)
        if self._seconds_before is None:
            self._seconds_before = self._find_seconds_before(self.step)
        times = {
            "seconds": self._seconds_before + attempt_seconds,
            "attempt_seconds": attempt_seconds,
        }
        append_jsonl(self.attempt.metrics_path, {"phase": "train", **record, **times})
        if self.step > self._last_step_before:
            self.attempt.progress_path.touch()
        self._write_heartbeat("training")

    def _find_seconds_before(self, step: int) -> float:
        """Return the seconds that earlier attempts had trained up to a step."""
        records = (r for r in self.run.read_history() if r.get("step", 0) < step)
        return max((float(r.get("seconds", 0.0)) for r in records), default=0.0)

    def _write_heartbeat(self, phase: str) -> None:
        seconds_per_step = self.timer.seconds_per_step
        self.attempt.write_heartbeat(
            step=self.step,
            total_steps=self.total_steps,
            steps_per_second=1 / seconds_per_step if seconds_per_step else 0.0,
            phase=phase,
        )

    def _classify(self, program_end: ProgramEnd) -> ExitKind | None:
        if self.is_superseded or self.attempt.is_superseded():
            return "superseded"
        status = program_end.exit_status
        # Slurm may send its signal to the program, too, which then ends before it is told to.
        was_stopped = program_end.was_stopped or self.stop()
        if status == 0 and (not was_stopped or self._has_finished_since_stop()):
            return None
        if was_stopped or status in STOP_STATUSES:
            return "interrupted"
        killed = " (killed: out of memory?)" if status == 128 + SIGKILL else ""
        last_line = _read_last_line(self.attempt.log_path)
        raise CommandError(f"the program ended with status {status}{killed}: {last_line}")


def _get_signature(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is written; None without a file."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _read_last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "no output")
