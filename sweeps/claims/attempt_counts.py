"""How many of a run's newest attempts ended in a row without progress."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from uniclip.store import Outcome, RunFolder


def count_attempts_without_progress(
    run: RunFolder, attempt_numbers: Sequence[int], external_reasons: Collection[str]
) -> tuple[int, int]:
    """Count the newest consecutive attempts without progress.

    Args:
        run: folder of the run.
        attempt_numbers: numbers of the attempts, ascending.
        external_reasons: end reasons that come from outside the run.

    Returns:
        The number of attempts that were interrupted from outside, or left no exit record, and wrote
        neither a checkpoint nor scores; and how many of these, from the newest on, left no exit
        record.
    """
    scored_at = max(map(_read_mtime, run.list_score_paths()), default=0.0)
    count = without_exit_record = 0
    for number in reversed(attempt_numbers):
        attempt = run.get_attempt(number)
        exit_record = attempt.read_end()
        ended_by_itself = exit_record is not None and exit_record.reason not in external_reasons
        has_checkpoint = attempt.progress_path.exists() or any(
            attempt.checkpoints_path.glob("*.safetensors")
        )
        if ended_by_itself or has_checkpoint or _read_mtime(attempt.claim_path) < scored_at:
            break
        without_exit_record += exit_record is None and without_exit_record == count
        count += 1
    return count, without_exit_record


def count_evaluations_without_scores(
    run: RunFolder, attempt_numbers: Sequence[int], outcome: Outcome
) -> int:
    """Count the newest consecutive attempts after training that wrote no scores."""
    scored_at = max(map(_read_mtime, run.list_score_paths()), default=0.0)
    count = 0
    for number in reversed(attempt_numbers):
        if number <= outcome.attempt:
            break
        if _read_mtime(run.get_attempt(number).claim_path) < scored_at:
            break
        count += 1
    return count


def _read_mtime(path: Path) -> float:
    """Return when a file was modified, by the clock of its file system; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
