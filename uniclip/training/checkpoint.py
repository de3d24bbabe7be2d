"""The checkpoints of a run: written whole, kept to the newest few, found again for a resume.

A checkpoint holds what a resume needs: the state of model, method and optimizer, the best weights
so far, and as metadata the step and a few counters. It holds no state of random generators: each
step seeds them anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from uniclip.checkpoints.tensor_file import CorruptFileError, decode, write_tensors
from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.store import AttemptFolder

MAX_CHECKPOINTS = 2
"""Checkpoints that an attempt keeps: the newest, and one in case the newest is damaged."""
_CHECKPOINT_NAME = re.compile(r"(\d+)\.safetensors")


def write_checkpoint(
    attempt: AttemptFolder,
    step: int,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, object],
    release: Callable[[], None] = lambda: None,
) -> None:
    """Write `checkpoint/<step>.safetensors` atomically and delete all but the newest checkpoints.

    Args:
        attempt: The attempt.
        step: Steps taken.
        tensors: The state, on any device; each is taken where it is needed, and then the next.
        metadata: Values that JSON can hold.
        release: Called once the tensors are no longer needed, before the file is on the disk.

    Raises:
        UserError: The file could not be written (a full disk); earlier checkpoints are untouched.
    """

    def write(stream: BinaryIO) -> None:
        write_tensors(stream, tensors, metadata)
        release()

    path = attempt.checkpoints_path / f"{step}.safetensors"
    try:
        atomic_write(path, write)
    except OSError as error:
        raise UserError(
            f"checkpoint {path} could not be written ({error.strerror}); free disk space and run "
            "again: the run resumes from the checkpoint before it"
        ) from error
    checkpoints = list_checkpoints(attempt)
    for _, old_path in checkpoints[MAX_CHECKPOINTS:]:
        old_path.unlink(missing_ok=True)
    if len(checkpoints) >= MAX_CHECKPOINTS:
        _delete_earlier_checkpoints(attempt, step)


def _delete_earlier_checkpoints(attempt: AttemptFolder, step: int) -> None:
    """Delete checkpoints of earlier attempts below `step`, from which no resume starts any more.

    A run that is preempted fifty times keeps no more checkpoints than one that never is.
    """
    for number in attempt.run.list_attempts():
        if number < attempt.number:
            for earlier_step, old_path in list_checkpoints(attempt.run.get_attempt(number)):
                if earlier_step < step:
                    old_path.unlink(missing_ok=True)


def list_checkpoints(attempt: AttemptFolder) -> list[tuple[int, Path]]:
    """Return step and path of each checkpoint of an attempt, newest first."""
    try:
        paths = list(attempt.checkpoints_path.iterdir())
    except FileNotFoundError:
        return []
    checkpoints = [(int(m[1]), p) for p in paths if (m := _CHECKPOINT_NAME.fullmatch(p.name))]
    return sorted(checkpoints, reverse=True)


@dataclass(frozen=True)
class Checkpoint:
    """An undamaged checkpoint."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def load_newest_checkpoint(attempt: AttemptFolder) -> Checkpoint | None:
    """Return the newest undamaged checkpoint of the run for `attempt` to resume from, or None.

    Searches the run's attempts up to this one from newest to oldest, higher steps first. A
    checkpoint that is damaged or was written by other training code is skipped with an event.
    """
    for path in _iter_candidate_paths(attempt):
        try:
            return Checkpoint(path, *decode(path))
        except FileNotFoundError:
            continue  # its attempt has just replaced it by a newer one
        except CorruptFileError as error:
            attempt.log_event("checkpoint_damaged", path=str(path), error=str(error))
    return None


def _iter_candidate_paths(attempt: AttemptFolder) -> Iterator[Path]:
    current_claim = attempt.read_claim()
    for number in sorted(attempt.run.list_attempts(), reverse=True):
        if number > attempt.number:
            continue
        earlier = attempt.run.get_attempt(number)
        earlier_claim, checkpoints = earlier.read_claim(), list_checkpoints(earlier)
        if (
            checkpoints
            and current_claim
            and earlier_claim
            and earlier_claim.training_hash != current_claim.training_hash
        ):
            attempt.log_event(
                "checkpoint_of_other_code", attempt=number, training=earlier_claim.training_hash
            )
            continue
        yield from (path for _, path in checkpoints)
