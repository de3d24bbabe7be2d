"""Data sets of an evaluation as they were planned: their protocol has the planned hash."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniclip import evaluate
from uniclip.config import RunConfig
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError
from uniclip.io.hashing import digest

logger = logging.getLogger(__name__)


def require_protocol(
    name: str, evaluation_hash: str, config: RunConfig, cache_folder: Path
) -> dict[str, Any]:
    """Return the protocol of a data set.

    Raises:
        DataChangedError: its hash is not the planned one.
        UserError: the data set is missing.
    """
    protocol = evaluate.build_protocol(name, config, cache_folder)
    if digest(protocol, 8) != evaluation_hash:
        raise DataChangedError(
            f"the data or its evaluation protocol has changed since the plan; {CHANGED_DATA_ADVICE}"
        )
    return protocol


def check_user_datasets(
    evaluations: Mapping[str, str], config: RunConfig, cache_folder: Path
) -> None:
    """Check the user's data sets at paths before a training, and not only when they are evaluated.

    One that is missing is logged: it may be back after the training. Files of published data sets
    are not rewritten, and those of the training data are checked as they are opened.

    Args:
        evaluations: Data set -> planned evaluation hash.
        config: The configuration of the run.
        cache_folder: Its cache of embeddings.

    Raises:
        DataChangedError: a data set is not that of the plan.
        UserError: a data set cannot be read.
    """
    for name, evaluation_hash in evaluations.items():
        if ":" not in name:
            continue
        missing = evaluate.describe_missing(name, config, cache_folder)
        if missing is not None:
            logger.warning("%s cannot be evaluated as it is now: %s", name, missing)
            continue
        try:
            require_protocol(name, evaluation_hash, config, cache_folder)
        except DataChangedError as error:
            raise DataChangedError(f"{name}: {error}") from error
