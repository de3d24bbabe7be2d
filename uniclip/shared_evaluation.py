"""Images of an evaluation, embedded by all processes of a run.

Rank 0 evaluates. Before each data set it names it to the others, and every process embeds its share
of the images into the store's cache, where rank 0 finds them. It embeds itself what is missing
there, in the same batches: scores do not depend on the number of processes. Test splits of training
sources, and single batches, are embedded by rank 0 alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from uniclip import distributed, evaluate, numerics
from uniclip.checkpoints.load import load_from_folder
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig
from uniclip.errors import StopRequested, UserError
from uniclip.evaluate.datasets import fingerprint_cache
from uniclip.store import RunFolder


def embed_with_others(
    run: RunFolder,
    name: str,
    pretrained: PretrainedModel,
    config: RunConfig,
    weights_digest: str,
    should_stop: Callable[[], bool],
) -> None:
    """Embed the images of data set `name` with all processes; called by rank 0.

    Raises:
        UserError, StopRequested: As `evaluate.evaluate`.
    """
    process_group = distributed.get_process_group()
    if process_group.world_size == 1:
        return
    process_group.broadcast_object([str(run.path), weights_digest, name])
    try:
        _embed_share(run, name, pretrained, config, weights_digest, should_stop)
    finally:
        process_group.all_reduce_max(0)  # until all have done their share


def end_embedding() -> None:
    """Let the other processes return from `embed_for_rank_zero`; called by rank 0."""
    distributed.get_process_group().broadcast_object(None)


def embed_for_rank_zero(config: RunConfig, stop: Callable[[], bool]) -> None:
    """Embed shares until rank 0 calls `end_embedding`; called by every other process."""
    process_group, pretrained = distributed.get_process_group(), None
    while (request := process_group.broadcast_object()) is not None:
        path, weights_digest, name = request
        run = RunFolder(Path(path))
        if pretrained is None:
            numerics.apply(config.train.num_threads)  # exact, as on rank 0
            pretrained = load_from_folder(run, config)
        with suppress(UserError, StopRequested):  # rank 0 meets and reports what is wrong
            _embed_share(run, name, pretrained, config, weights_digest, stop)
        process_group.all_reduce_max(0)


def _embed_share(
    run: RunFolder,
    name: str,
    pretrained: PretrainedModel,
    config: RunConfig,
    weights_digest: str,
    should_stop: Callable[[], bool],
) -> None:
    process_group = distributed.get_process_group()
    with fingerprint_cache(), distributed.local_only():
        evaluate.embed_share(
            name,
            pretrained,
            config,
            run.cache_path,
            weights_digest,
            should_stop,
            rank=process_group.rank,
            world_size=process_group.world_size,
        )
