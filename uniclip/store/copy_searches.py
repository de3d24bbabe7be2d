"""Searches for copies of training images by embedding, in the folder of the run.

The last search on each data set is stored beside the predictions, whose order its verdicts have
(`uniclip.evaluate.checks.copy_search`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from uniclip.store.run_folder import RunFolder

FOLDER = "copies"


@dataclass(frozen=True, kw_only=True)
class CopySearchRecord:
    """`copies/<data set>@<evaluation hash>.json`: a search for copies of training images among the
    test images of a data set, by embedding (`uniclip.evaluate.checks.embedding_copies`)."""

    version: int
    """That of the search: another one may have another result."""
    model: str
    """What the model is called whose embeddings are compared."""
    similarity: float
    correlation: float
    recall: float
    similar_share: float
    num_images: int
    verdicts: tuple[int, ...]
    """Of each test image, in the order of the predictions."""


def get_copies_path(run: RunFolder, dataset: str, evaluation_hash: str) -> Path:
    """Return the path of the last search on a data set under an evaluation hash."""
    return run.path / FOLDER / run.scores_path(dataset, evaluation_hash).name


def list_copies_paths(run: RunFolder) -> set[Path]:
    """Return the paths of the searches on all data sets that this user may read."""
    with suppress(PermissionError):
        paths = {run.path / FOLDER / name for name in run.files.list_folder(FOLDER)}
        return {path for path in paths if os.access(path, os.R_OK)}
    return set()
