"""Batches are cut along the samples, whatever the position of that dimension."""

from __future__ import annotations

import pytest
import torch

from uniclip.data.batch import EXTRA_TEXT_FIELDS, PER_VIEW_FIELDS, Batch

N = 7


@pytest.fixture
def batch():
    return Batch(
        images=torch.arange(2 * N).view(2, N, 1, 1, 1).expand(2, N, 3, 4, 4).to(torch.uint8),
        augmentation_vectors=torch.arange(2.0 * N).view(2, N, 1),
        tokens=torch.arange(N).view(N, 1),
        sample_ids=torch.arange(N),
        labels=torch.full((N,), -1),
        masked_tokens=torch.arange(N).view(N, 1) + 100,
        unreadable_ids=torch.arange(N) - 1,
    )


def test_fields_are_named_as_the_lists_say():
    assert {*EXTRA_TEXT_FIELDS, *PER_VIEW_FIELDS} <= set(Batch.__dataclass_fields__)


def test_rows_are_selected_in_every_field(batch):
    part = batch.select_rows(slice(2, 5))
    assert part.sample_ids.tolist() == [2, 3, 4]
    assert part.tokens.flatten().tolist() == [2, 3, 4]
    assert part.masked_tokens.flatten().tolist() == [102, 103, 104]
    assert part.unreadable_ids.tolist() == [1, 2, 3]
    assert part.images[:, :, 0, 0, 0].tolist() == [[2, 3, 4], [9, 10, 11]]
    assert part.augmentation_vectors[..., 0].tolist() == [[2, 3, 4], [9, 10, 11]]
    assert part.augmented_tokens is None


@pytest.mark.parametrize("num_chunks", [1, 2, 3, 7])
def test_chunks_are_the_batch_in_order(batch, num_chunks):
    chunks = batch.split_chunks(num_chunks)
    sizes = [len(chunk.sample_ids) for chunk in chunks]
    assert len(chunks) == num_chunks
    assert max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat([chunk.sample_ids for chunk in chunks]), batch.sample_ids)
    assert torch.equal(torch.cat([chunk.images for chunk in chunks], 1), batch.images)


def test_a_batch_on_its_device_is_not_copied(batch):
    same = batch.to(torch.device("cpu"))
    assert same.images.data_ptr() == batch.images.data_ptr()
    assert same.mlm_labels is None
