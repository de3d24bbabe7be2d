"""Batches of training pairs: each a pure function of the configuration and the step.

One caption is drawn for each sample and epoch, and other views in every epoch; the samples' order
is another in each epoch, its remainder dropped. Every key names what it is for, so arms with the
same seed share samples, captions and the views that they have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from uniclip import data, rng
from uniclip.augmentation import apply, transform
from uniclip.config import RunConfig
from uniclip.data.batch import EXTRA_TEXT_FIELDS, PER_VIEW_FIELDS, Batch
from uniclip.data.split import SourceShare, Split
from uniclip.data.text import augment as captions
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.distributed import SINGLE_PROCESS, ProcessGroup
from uniclip.errors import UserError


class TrainingBatches(Dataset[Batch]):
    """The training batches of one run.

    Over several processes each yields its own rows of the same batches: those of rank 0 stand
    first. Shares differ by one row at most.

    Raises:
        UserError: the split is smaller than a batch, or the batch too small for the processes.
    """

    def __init__(
        self,
        config: RunConfig,
        split: Split,
        tokenizer: Tokenizer,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.config, self.split = config, split
        self._source_slices = _build_source_slices(config, split, process_group)
        self.steps_per_epoch = self._source_slices[0].steps_per_epoch
        self._pad_id = tokenizer.pad
        self._eos_id = tokenizer.eos
        self._text_variants: tuple[str, ...] = getattr(config.method, "extra_text_fields", ())
        # It goes through the whole vocabulary.
        self._vocabulary_info = (
            captions.VocabularyInfo.from_tokenizer(tokenizer) if self._text_variants else None
        )
        self._caption_counts = np.array([len(c) for c in split.captions], np.int64)
        self._first_caption_index = np.cumsum(self._caption_counts) - self._caption_counts
        # Encoded once, here: a data worker needs no tokenizer (whose threads don't survive fork).
        all_captions = [
            caption for sample_captions in split.captions for caption in sample_captions
        ]
        row_by_caption = {caption: i for i, caption in enumerate(dict.fromkeys(all_captions))}
        self._token_rows = np.array([row_by_caption[caption] for caption in all_captions], np.int64)
        self._token_table = tokenizer.encode(list(row_by_caption), config.model.text.context_length)

    def build_batch(self, step: int) -> Batch:
        """The batch of `step`, counted from 0 over all epochs."""
        slice_batches = [
            self._build_slice_batch(source_slice, step)
            for source_slice in self._source_slices
            if source_slice.local_rows
        ]
        return (
            slice_batches[0]
            if len(slice_batches) == 1
            else _concatenate_batches(slice_batches, self._pad_id)
        )

    def _build_slice_batch(self, source_slice: _SourceSlice, step: int) -> Batch:
        epoch, position = divmod(step, source_slice.steps_per_epoch)
        order = _get_cached_permutation(
            self._derive_key(source_slice.shuffle_purpose, epoch),
            source_slice.stop - source_slice.start,
        )
        rows_per_batch, local_rows = (
            source_slice.rows_per_batch,
            slice(source_slice.local_rows.start, source_slice.local_rows.stop),
        )
        index = (
            source_slice.start + order[position * rows_per_batch : (position + 1) * rows_per_batch]
        )
        # Of all processes: how long the longest is decides what is drawn to be masked.
        tokens = self._draw_captions(epoch, index)[local_rows]
        index = index[local_rows]
        pixels, vectors = self._render_views(epoch, index)
        text_variants = self._build_text_variants(epoch, index, tokens)
        training_labels = self.split.training_labels
        return Batch(
            images=torch.from_numpy(pixels),
            augmentation_vectors=torch.from_numpy(vectors),
            tokens=torch.from_numpy(tokens),
            sample_ids=torch.from_numpy(index.copy()),
            labels=torch.from_numpy(
                np.full(len(index), -1) if training_labels is None else training_labels[index]
            ),
            **{
                name: torch.from_numpy(variant_tokens)
                for name, variant_tokens in text_variants.items()
            },
        )

    def iterate_batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of steps `start` .. `stop` - 1, from `runtime.num_workers` processes."""
        workers = self.config.runtime.num_workers
        if workers == 0:
            yield from map(self.build_batch, range(start, stop))
            return
        yield from DataLoader(
            self,
            batch_size=None,
            sampler=range(start, stop),
            num_workers=workers,
            pin_memory=self.config.runtime.device.startswith("cuda"),
        )

    def __len__(self) -> int:
        return self.config.train.steps

    __getitem__ = build_batch

    def _derive_key(self, purpose: str, epoch: int, *qualifiers: str) -> int:
        return rng.derive_key(self.config.seed, self.config.stream, purpose, epoch, *qualifiers)

    def _render_views(
        self, epoch: int, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """(V, N, 3, H, W) and (V, N, A): weak views, then strong ones."""
        config, ids = self.config, self.split.ids[index]
        images = self.split.load_pixels(index)
        view_kinds: list[tuple[data.ViewKind, int]] = []
        view_kinds += [("weak", i) for i in range(config.views.num_weak)]
        view_kinds += [("strong", i) for i in range(config.views.num_strong)]
        views, vectors = [], []
        for kind, i in view_kinds:
            key = self._derive_key("view", epoch, f"{kind}/{i}")
            views_config = config.views
            params = data.sample_view(
                config.data, kind, key, ids, views_config.identity_prob, views_config.min_crop_scale
            )
            views.append(apply.apply_augmentation(images, params, config.model.image.image_size))
            vectors.append(transform.encode_as_vector(params))
        return np.stack(views), np.stack(vectors)

    def _draw_captions(self, epoch: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N, L): the caption drawn for each sample, cut to the batch's longest."""
        ids = self.split.ids[index]
        caption_choice = rng.integers(
            self._derive_key("caption", epoch), ids, self._caption_counts[index]
        )
        tokens = self._token_table[
            self._token_rows[self._first_caption_index[index] + caption_choice]
        ]
        max_length = int((tokens == self._eos_id).argmax(1).max()) + 1
        return np.ascontiguousarray(tokens[:, :max_length])

    def _build_text_variants(
        self, epoch: int, index: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> dict[str, NDArray[np.int64]]:
        """What the method wants beside the captions `tokens` (N, L)."""
        ids, vocabulary_info = self.split.ids[index], self._vocabulary_info
        text_variants: dict[str, NDArray[np.int64]] = {}
        if vocabulary_info is None:
            return text_variants
        if "augmented_tokens" in self._text_variants:
            text_variants["augmented_tokens"] = captions.edit_captions(
                self._derive_key("edit", epoch), ids, tokens, vocabulary_info
            )
        if "masked_tokens" in self._text_variants:
            mask_ratio = self.config.method.mlm_probability
            masked_tokens_and_labels = captions.mask_tokens(
                self._derive_key("mask", epoch), ids, tokens, vocabulary_info, mask_ratio
            )
            text_variants["masked_tokens"], text_variants["mlm_labels"] = masked_tokens_and_labels
        return text_variants


@dataclass(frozen=True)
class _SourceSlice:
    """The samples start:stop, of which every batch has `size`."""

    start: int
    stop: int
    rows_per_batch: int
    shuffle_purpose: str
    """Of the draw that orders them."""
    local_rows: range
    """Which rows of the `size` are this process's."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return (self.stop - self.start) // self.rows_per_batch


def _build_source_slices(
    config: RunConfig, split: Split, process_group: ProcessGroup
) -> list[_SourceSlice]:
    """How many samples of each portion a batch has; `UserError` where there are too few."""
    size = config.train.batch_size
    batch_rows = _compute_local_rows(config, process_group)
    source_shares = split.source_shares or (SourceShare(0, len(split), 1.0),)
    rows_per_source = [round(size * source_share.share) for source_share in source_shares]
    rows_per_source[0] = size - sum(rows_per_source[1:])
    source_slices, row_offset = [], 0
    for i, (source_share, num_rows) in enumerate(zip(source_shares, rows_per_source)):
        if not 0 < num_rows <= source_share.stop - source_share.start:
            raise UserError(
                f"train.batch_size={size} takes {num_rows} of the {source_share.stop - source_share.start} training samples of "
                f"data={config.data.name} at once; choose another batch size or more data"
            )
        local_rows = range(
            min(max(batch_rows.start - row_offset, 0), num_rows),
            min(max(batch_rows.stop - row_offset, 0), num_rows),
        )
        source_slices.append(
            _SourceSlice(
                source_share.start,
                source_share.stop,
                num_rows,
                "order" if i == 0 else f"order/{i}",
                local_rows,
            )
        )
        row_offset += num_rows
    return source_slices


def _compute_local_rows(config: RunConfig, process_group: ProcessGroup) -> range:
    """Which rows of a batch are this process's; `UserError` if they are too few to be cut."""
    size, world_size = config.train.batch_size, process_group.world_size
    if size // world_size < config.train.grad_cache_chunks:
        raise UserError(
            f"train.batch_size={size} is too small for {world_size} processes times "
            f"train.grad_cache_chunks={config.train.grad_cache_chunks} chunks; each needs a sample"
        )
    return range(
        size * process_group.rank // world_size, size * (process_group.rank + 1) // world_size
    )


def _concatenate_batches(batches: list[Batch], pad_id: int) -> Batch:
    """The portions of one batch, one after the other, texts padded to the longest."""
    values_by_field = {
        name: [getattr(batch, name) for batch in batches] for name in Batch.__dataclass_fields__
    }
    tensors_by_field: dict[str, torch.Tensor] = {}
    for name, tensors in values_by_field.items():
        if tensors[0] is None:
            continue
        if name in ("tokens", *EXTRA_TEXT_FIELDS):
            max_length = max(tensor.shape[1] for tensor in tensors)
            pad_value = captions.IGNORE_INDEX if name == "mlm_labels" else pad_id
            tensors = [
                F.pad(tensor, (0, max_length - tensor.shape[1]), value=pad_value)
                for tensor in tensors
            ]
        tensors_by_field[name] = torch.cat(tensors, dim=1 if name in PER_VIEW_FIELDS else 0)
    return Batch(**tensors_by_field)


@lru_cache(maxsize=4)
def _get_cached_permutation(key: int, n: int) -> NDArray[np.int64]:
    return rng.permutation(key, n)
