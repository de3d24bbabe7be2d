"""Copies of training images among test images, as the command line counts and searches them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip import evaluate, identity
from uniclip.errors import UserError
from uniclip.store import Store
from uniclip.store.permissions import read_umask, share_with_group

if TYPE_CHECKING:
    from uniclip.config import RunConfig
    from uniclip.evaluate.checks.copy_search import CopySearch, CopyVerdicts
    from uniclip.evaluate.loaded_model import LoadedModel
    from uniclip.store import RunFolder, Score

PROGRESS_INTERVAL_S = 10.0


def count_verdicts(predictions: Mapping[str, Any], verdicts: Any) -> dict[str, int]:
    """Return the number of photographs that are copies, and of those with a verdict.

    verdicts: (n,) of the test images.
    """
    from uniclip.evaluate.checks import contaminated_items, near_duplicates  # here: numpy

    arrays = {**predictions, contaminated_items.VERDICTS: verdicts}
    copies, undecided, total = (
        contaminated_items.count_photographs(verdict, arrays)
        for verdict in (near_duplicates.DUPLICATE, near_duplicates.UNDECIDABLE, None)
    )
    return {"copies": copies, "decided": total - undecided}


def score_without_copies(
    scores: Sequence[Score], predictions: Mapping[str, Any], verdicts: Any
) -> dict[str, float]:
    """Return the scores that are means over items, over those that are not contaminated.

    verdicts: (n,) of the test images. A score of which none or all items are contaminated, or of
    which it is not known, is left out.
    """
    from uniclip.evaluate.checks import contaminated_items  # here: it imports numpy

    arrays = {**predictions, contaminated_items.VERDICTS: verdicts}
    values = {}
    for name in (score.name for score in scores if score.name in predictions):
        outcome = predictions[name]
        flags = contaminated_items.find_contaminated_items(name, len(outcome), arrays)
        if flags is not None and flags.any() and not flags.all():
            values[name] = float(outcome[~flags].mean())
    return values


def build_copy_search(
    run: str, model: LoadedModel, cache_folder: Path | None, arguments: Mapping[str, Any]
) -> CopySearch | None:
    """Return the search for copies of the training images of a run by embedding, if asked for.

    Args:
        run: What `run=` calls it.
        model: The run.
        cache_folder: Where embeddings and verdicts are stored.
        arguments: Those of the command: `copies`, `copies_model` and how a checkpoint is loaded.

    Raises:
        UserError: It is no run, has no cache, or the other model cannot be loaded.
    """
    from uniclip.evaluate.checks.copy_search import CopySearch  # here: it imports numpy
    from uniclip.evaluate.loaded_model import load_model

    if "copies" not in arguments:
        return None
    if model.run is None:
        raise UserError(f"copies= needs a run: the training images of {run} are not known")
    if cache_folder is None:
        raise UserError(f"copies= needs a folder for its results: name one with cache_dir= ({run})")
    name = str(arguments.get("copies_model", ""))
    source = load_model(name, arguments) if name else model
    return CopySearch(
        source.pretrained,
        Path(name).name if name else f"run {model.run.id}",
        source.weights_hash,
        cache_folder,
        ProgressReport(),
    )


def locate_training_data(config: RunConfig, model: LoadedModel) -> RunConfig:
    """Return the configuration with the place of a run's training data, by a plan of its store.

    A run states the content of its data, and not where they lie. Plans that are damaged, of another
    version, or that this user may not read are passed over.
    """
    if model.run is None or model.cache_dir is None:
        return config
    for sweep in Store(model.cache_dir.parent).iter_sweeps():
        plan = None
        with suppress(UserError, PermissionError):
            plan = sweep.read_plan()
        arms = [] if plan is None else [c.arm for c in plan.cells if c.run_id == model.run.id]
        if plan is not None and arms:
            run_only = plan.run_only_values(arms[0])
            return replace(
                config, data=identity.config_from_spec(model.run.read_spec(), run_only).data
            )
    return config


def store_copies(
    run: RunFolder, name: str, config: RunConfig, search: CopySearch, copies: CopyVerdicts
) -> None:
    """Store the verdicts on a data set in the folder of a run, where reports read them.

    Whoever shares the folder may read them. If it cannot be written, such as that of another user,
    standard error says so.
    """
    from uniclip.evaluate.checks.copy_search import write_verdicts  # here: it imports numpy

    evaluation_hash = evaluate.evaluation_hash(name, config, search.cache_folder)
    umask = read_umask()
    share_with_group(run.path)
    try:
        write_verdicts(run, name, evaluation_hash, copies)
    except OSError as error:
        print(
            f"uniclip.evaluate: the search for copies on {name} cannot be stored in {run.path} "
            f"({error.strerror}): reports will not count them",
            file=sys.stderr,
        )
    finally:
        os.umask(umask)


@dataclass
class ProgressReport:
    """Writes to standard error how many training images are embedded, and how long it will take."""

    _start: float = field(default_factory=time.monotonic)
    _last: float = 0.0
    _first: int = 0

    def __call__(self, done: int, total: int) -> None:
        """Write a line, unless one was written a short time ago."""
        now = time.monotonic()
        if not self._last:
            self._start, self._first = now, done
        elif now - self._last < PROGRESS_INTERVAL_S and done < total:
            return
        self._last = now
        remaining = ""
        if done > self._first and done < total:
            seconds = (now - self._start) / (done - self._first) * (total - done)
            remaining = f", about {seconds / 60:.0f} min left"
        print(
            f"uniclip.evaluate: {done:,} of {total:,} training images embedded{remaining}",
            file=sys.stderr,
        )
