"""Records of runs in the form in which data frames take them: flat, and with present names."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.errors import UserError
from uniclip.evaluate.scoring.score_names import rename_early_class_scores
from uniclip.store import DatasetScores, Outcome, RunFolder, RunStatus, Score, get_score_kind_traits


def read_status(run: RunFolder, outcome: Outcome | None, *, is_evaluated: bool) -> RunStatus:
    """Return the status of a run as its files state it; no scheduler is asked.

    So an attempt without an exit record counts as running.

    Args:
        run: folder of the run.
        outcome: its outcome; None while there is none.
        is_evaluated: whether all scores that a plan requires are there.
    """
    if outcome is not None:
        if outcome.kind == "diverged":
            return RunStatus.DIVERGED
        return RunStatus.COMPLETE if is_evaluated else RunStatus.NEEDS_EVALUATION
    attempt_numbers = run.list_attempts()
    if not attempt_numbers:
        return RunStatus.PENDING
    attempt_end = run.get_attempt(attempt_numbers[-1]).read_end()
    if attempt_end is None:
        return RunStatus.RUNNING
    statuses = {"failed": RunStatus.FAILED, "paused": RunStatus.PAUSED}
    return statuses.get(attempt_end.kind, RunStatus.INTERRUPTED)


def name_scores(dataset_scores: DatasetScores) -> dict[str, Score]:
    """Return the scores by their present names."""
    early_names = rename_early_class_scores(dataset_scores.scores)
    return {early_names.get(s.name, s.name): s for s in dataset_scores.scores}


def describe_unit(kind: str) -> str:
    """Return the unit of a stored score of this kind: "fraction", another one, or ""."""
    traits = get_score_kind_traits(kind)
    return "fraction" if traits.is_percent else traits.unit


def load_arrays(
    run: RunFolder, dataset: str, evaluation_hash: str | None, array_names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Return those of the named arrays that the run saved with its scores on a data set.

    Args:
        run: folder of the run.
        dataset: name of the data set.
        evaluation_hash: hash of its evaluation; None if the run is not evaluated on it.
        array_names: names of the arrays.

    Raises:
        UserError: if the file is damaged; the message names it.
    """
    if evaluation_hash is None:
        return {}
    path = run.predictions_path(dataset, evaluation_hash)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {n: archive[n] for n in array_names if n in archive.files}
    except (FileNotFoundError, PermissionError):
        return {}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}); move it away and run again") from None
