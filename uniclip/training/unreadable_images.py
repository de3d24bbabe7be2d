"""The training images that could not be read: counted over all processes and attempts, and named.

What replaces them is decided by `uniclip.data.loader`.
"""

from __future__ import annotations

import torch

from uniclip.data.batch import Batch
from uniclip.data.split import Split
from uniclip.distributed import ProcessGroup


def collect_new(
    batch: Batch, known: list[int], process_group: ProcessGroup, device: torch.device
) -> list[int]:
    """Return the samples that rows of this batch replace and that are not `known` yet, ascending.

    A collective of all processes, which all have the same `known`.

    Args:
        batch: The rows of this process.
        known: Samples of earlier batches.
        process_group: The processes that share the batch.
        device: The device of the model, on which processes exchange tensors.
    """
    ids = [] if batch.unreadable_ids is None else batch.unreadable_ids.tolist()
    local_ids = sorted({i for i in ids if i >= 0} - set(known))
    if process_group.all_reduce_max(len(local_ids)) == 0:
        return []
    gathered = process_group.all_gather(torch.tensor(local_ids, dtype=torch.int64, device=device))
    return sorted(set(gathered.tolist()))


def update_known(
    known: list[int],
    batch: Batch,
    split: Split,
    process_group: ProcessGroup,
    device: torch.device,
) -> list[int]:
    """Add the samples that rows of a batch replace to `known`; return those that are new.

    Raises:
        UserError: More images than the split allows cannot be read; on all processes.
    """
    if not split.has_image_files:
        return []
    new_samples = collect_new(batch, known, process_group, device)
    known[:] = sorted({*known, *new_samples})
    if new_samples:
        split.check_unreadable(known)
    return new_samples
