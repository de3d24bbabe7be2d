"""The training images that could not be read: counted over all processes and attempts, and named.

What replaces them is decided by `uniclip.data.loader`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from uniclip.data.batch import Batch
from uniclip.data.split import Split
from uniclip.distributed import ProcessGroup


def find_new(batch: Batch, known: list[int]) -> list[int]:
    """Return the samples that rows of this process replace and that are not `known`, ascending."""
    ids = [] if batch.unreadable_ids is None else batch.unreadable_ids.tolist()
    return sorted({i for i in ids if i >= 0} - set(known))


def update_known(
    known: list[int],
    replaced: Iterable[int],
    split: Split,
    process_group: ProcessGroup,
    device: torch.device,
) -> list[int]:
    """Add the samples that rows of some batches replace to `known`; return those that are new.

    A collective of all processes, which all have the same `known`; called when one has new ones.

    Args:
        known: Samples of earlier batches.
        replaced: Samples that rows of this process replace, from `find_new`.
        split: The training split.
        process_group: The processes that share the batch.
        device: The device of the model, on which processes exchange tensors.

    Raises:
        UserError: More images than the split allows cannot be read; on all processes.
    """
    local_ids = torch.tensor(sorted(replaced), dtype=torch.int64, device=device)
    new_samples = sorted(set(process_group.all_gather(local_ids).tolist()))
    known[:] = sorted({*known, *new_samples})
    if new_samples:
        split.check_unreadable(known)
    return new_samples
