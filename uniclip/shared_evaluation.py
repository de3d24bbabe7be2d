"""Images of an evaluation, embedded by all processes of a run.

Rank 0 evaluates. Before each data set it names it to the others, and every process embeds its share
of the images into the store's cache, where rank 0 finds them. It embeds itself what is missing
there, in the same batches: scores do not depend on the number of processes. Built-in
training data (scenes, emoji, mix), and single batches, are embedded by rank 0 alone.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from uniclip import distributed, evaluate, numerics
from uniclip.checkpoints.load import load_from_folder
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig
from uniclip.errors import StopRequested, UserError
from uniclip.evaluate.datasets import fingerprint_cache
from uniclip.store import RunFolder

SHARES_FOLDER = "shares"
"""Folder of the features of evaluations under way, inside the store's cache: one for each run."""


class Request(NamedTuple):
    """What rank 0 asks of the other processes, as JSON."""

    run: str
    """Folder of the run."""
    weights_digest: str
    dataset: str
    shares_folder: str
    """Where features of training sources are stored until they are evaluated."""


@contextmanager
def embedded_with_others(
    run: RunFolder,
    name: str,
    pretrained: PretrainedModel,
    config: RunConfig,
    weights_digest: str,
    should_stop: Callable[[], bool],
) -> Iterator[Path | None]:
    """Embed the images of data set `name` with all processes; called by rank 0.

    Yields:
        The folder of shares for `evaluate.evaluate`, which exists in this context only; None in a
        single process.

    Raises:
        UserError, StopRequested: As `evaluate.evaluate`.
    """
    run_shares = run.cache_path / SHARES_FOLDER / run.id
    shutil.rmtree(run_shares, ignore_errors=True)  # of attempts that were killed
    process_group = distributed.get_process_group()
    if process_group.world_size == 1:
        yield None
        return
    folder = run_shares / uuid.uuid4().hex
    request = Request(str(run.path), weights_digest, name, str(folder))
    try:
        process_group.broadcast_object(request)
        try:
            _embed_share(request, pretrained, config, should_stop)
        finally:
            process_group.all_reduce_max(0)  # until all have done their share
        yield folder
    finally:
        _remove(folder)


def _remove(shares_folder: Path) -> None:
    """Remove shares, and the folder of their run if it has no others."""
    shutil.rmtree(shares_folder, ignore_errors=True)
    with suppress(OSError):  # not empty, or not there
        shares_folder.parent.rmdir()


def end_embedding() -> None:
    """Let the other processes return from `embed_for_rank_zero`; called by rank 0."""
    distributed.get_process_group().broadcast_object(None)


def embed_for_rank_zero(config: RunConfig, stop: Callable[[], bool]) -> None:
    """Embed shares until rank 0 calls `end_embedding`; called by every other process."""
    process_group, pretrained, request = distributed.get_process_group(), None, None
    try:
        while (values := process_group.broadcast_object()) is not None:
            request = Request(*values)
            if pretrained is None:
                numerics.apply(config.train.num_threads)  # exact, as on rank 0
                pretrained = load_from_folder(RunFolder(Path(request.run)), config)
            with suppress(UserError, StopRequested):  # rank 0 meets and reports what is wrong
                _embed_share(request, pretrained, config, stop)
            process_group.all_reduce_max(0)
    finally:
        if request is not None:
            _remove(Path(request.shares_folder))  # in case that rank 0 was killed


def _embed_share(
    request: Request,
    pretrained: PretrainedModel,
    config: RunConfig,
    should_stop: Callable[[], bool],
) -> None:
    process_group = distributed.get_process_group()
    with fingerprint_cache(), distributed.local_only():
        evaluate.embed_share(
            request.dataset,
            pretrained,
            config,
            RunFolder(Path(request.run)).cache_path,
            request.weights_digest,
            should_stop,
            Path(request.shares_folder),
            rank=process_group.rank,
            world_size=process_group.world_size,
        )
