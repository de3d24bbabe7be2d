"""Training batches: each is a pure function of the configuration and the step.

Every epoch has a new order of the samples, whose remainder is dropped, and draws one caption and
new views for each sample. The key of every random stream names its purpose, so arms with the same
seed share samples, captions and the views that they have in common.

A sample whose image cannot be read is replaced by the one in the same row of the epoch's next batch
(after the last the first) or, with a single batch an epoch, by one of the remainder: a function of
seed, epoch and position, whatever the number of data workers and processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, get_worker_info

from uniclip import data, rng
from uniclip.augmentation import apply, packed_views, transform
from uniclip.config import RunConfig
from uniclip.config.cores import derive_num_workers
from uniclip.data.batch import EXTRA_TEXT_FIELDS, PER_VIEW_FIELDS, Batch
from uniclip.data.patches import draw_kept_patches
from uniclip.data.sampling import (
    SourceSlice,
    build_source_slices,
    compute_local_rows,
    divide_rows,
    draw_subset,
)
from uniclip.data.split import Split
from uniclip.data.text.augment import IGNORE_INDEX, VocabularyInfo, edit_captions, mask_tokens
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.distributed import SINGLE_PROCESS, ProcessGroup
from uniclip.errors import UserError

PREFETCH_FACTOR = 2
"""Batches, or parts of batches, that each data worker makes in advance."""
MAX_PREFETCHED_BYTES = 2**31
"""Bytes of images that the data workers of a process make in advance; if batches need more, each
worker makes a part of a batch."""
PACKED_SIDES = 3
"""Side of a photograph that views are cropped from, in sides of the evaluated square, as this bound
takes it; a JPEG is decoded with two to four."""


class _MaskedTextMethod(Protocol):
    """The configuration of a method whose `extra_text_fields` contain "masked_tokens"."""

    mlm_probability: float


class TrainingBatches(Dataset[Batch]):
    """The training batches of one run.

    With several processes each yields its rows of the same batches, rank 0 the first ones. The
    numbers of rows differ by at most one.

    Args:
        config: The run.
        split: The training split.
        tokenizer: Encodes the captions, once, in the constructor.
        process_group: The processes that share each batch.

    Raises:
        UserError: The split is smaller than a batch, or the batch too small for the processes.
    """

    def __init__(
        self,
        config: RunConfig,
        split: Split,
        tokenizer: Tokenizer,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.config, self.split = config, split
        batch_size, data_name = config.train.batch_size, config.data.name
        local_rows = compute_local_rows(batch_size, config.train.grad_cache_chunks, process_group)
        subset_size = config.train.subset_size
        self._subset = draw_subset(split, subset_size, self._derive_key("training subset", 0))
        self._source_slices = build_source_slices(
            split, batch_size, local_rows, data_name, subset_size
        )
        self.num_workers = derive_num_workers(config)
        """Processes that load batches."""
        self._part_slices = [
            build_source_slices(split, batch_size, part_rows, data_name, subset_size)
            for part_rows in divide_rows(local_rows, self._count_parts(len(local_rows)))
        ]
        self.steps_per_epoch = self._source_slices[0].steps_per_epoch
        self.num_patches: int | None = None
        """Patches of an image, of which train.patch_drop_rate are left out; None = see all."""
        self._pad_id = tokenizer.pad
        self._text_variants: tuple[str, ...] = config.method.extra_text_fields
        # Iterates over the whole vocabulary.
        self._vocabulary_info = (
            VocabularyInfo.from_tokenizer(tokenizer) if self._text_variants else None
        )
        # Encoded here, so that data workers need no tokenizer (its threads do not survive a fork).
        self._captions = split.encode_captions(tokenizer, config.model.text.context_length)

    def build_batch(self, step: int) -> Batch:
        """Return the batch of `step`, counted from 0 over all epochs."""
        return self._build_rows(self._source_slices, step)

    def _build_rows(self, source_slices: Sequence[SourceSlice], step: int) -> Batch:
        slice_batches = [
            self._build_slice_batch(source_slice, step)
            for source_slice in source_slices
            if source_slice.local_rows
        ]
        return _concatenate_batches(slice_batches, self._pad_id)

    def _count_parts(self, num_rows: int) -> int:
        """Return in how many parts data workers make a batch, to bound the memory of all parts."""
        config, view_size = self.config, self.config.model.image.image_size
        num_views = config.views.num_weak + config.views.num_strong
        sample_bytes = num_views * 3 * view_size**2
        if config.views.made_on == "device":
            sample_bytes = 3 * (PACKED_SIDES * config.data.image_size) ** 2
        batch_bytes = num_rows * sample_bytes
        prefetched_bytes = PREFETCH_FACTOR * self.num_workers * batch_bytes
        return max(1, min(self.num_workers, num_rows, -(-prefetched_bytes // MAX_PREFETCHED_BYTES)))

    def _build_slice_batch(self, source_slice: SourceSlice, step: int) -> Batch:
        epoch, position = divmod(step, source_slice.steps_per_epoch)
        order = source_slice.get_order(self._derive_key(source_slice.order_purpose, epoch))
        rows_per_batch, local_rows = (
            source_slice.rows_per_batch,
            slice(source_slice.local_rows.start, source_slice.local_rows.stop),
        )
        index = self._select_samples(
            source_slice.start + order[position * rows_per_batch : (position + 1) * rows_per_batch]
        )
        # Drawn for all processes: the longest caption determines which tokens are masked.
        rows = _BatchRows(index, self._draw_captions(epoch, index)).select(local_rows)
        images, is_readable = self.split.load_view_sources(rows.index)
        unreadable_ids = None
        if not is_readable.all():
            unreadable_ids = np.where(is_readable, -1, rows.index)
            for row in np.flatnonzero(~is_readable):
                candidates = source_slice.list_replacements(
                    order, position, local_rows.start + int(row)
                )
                samples = (int(self._select_samples(np.array([c]))[0]) for c in candidates)
                images[row] = self._replace_row(rows, int(row), epoch, samples)
        return self._assemble_batch(epoch, rows, images, unreadable_ids)

    def _select_samples(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the samples at positions of the subset, if only one is used."""
        return positions if self._subset is None else self._subset[positions]

    def _replace_row(
        self, rows: _BatchRows, row: int, epoch: int, candidates: Iterable[int]
    ) -> Any:
        """Replace a row by the first candidate that can be read; return its image.

        Its caption may not be longer than the longest of the batch, which all processes know.
        """
        num_tokens = rows.tokens.shape[1]
        for candidate in candidates:
            index = np.array([candidate], np.int64)
            tokens = self._draw_captions(epoch, index)
            if tokens.shape[1] > num_tokens:
                continue
            images, is_readable = self.split.load_view_sources(index)
            if is_readable.all():
                rows.index[row] = candidate
                rows.tokens[row] = self._pad_id
                rows.tokens[row, : tokens.shape[1]] = tokens[0]
                return images[0]
        raise UserError(
            f"{self.split.describe_unreadable(int(rows.index[row]))}, and no other training image "
            "can take its place; repair the images"
        )

    def _assemble_batch(
        self,
        epoch: int,
        rows: _BatchRows,
        images: apply.Images,
        unreadable_ids: NDArray[np.int64] | None,
    ) -> Batch:
        """Return the batch of these rows and their source images."""
        index, tokens = rows.index, rows.tokens
        params_by_view = self._draw_params(epoch, index)
        vectors = [transform.encode_as_vector(params) for params in params_by_view]
        text_variants = self._build_text_variants(epoch, index, tokens)
        training_labels = self.split.training_labels
        labels = np.full(len(index), -1) if training_labels is None else training_labels[index]
        return Batch(
            **self._make_views(images, params_by_view),
            augmentation_vectors=torch.from_numpy(np.stack(vectors)),
            tokens=torch.from_numpy(tokens),
            sample_ids=torch.from_numpy(index),
            labels=torch.from_numpy(labels.astype(np.int64)),
            kept_patches=self._draw_kept_patches(epoch, index),
            unreadable_ids=None if unreadable_ids is None else torch.from_numpy(unreadable_ids),
            **dict[str, Any](
                {name: torch.from_numpy(variant) for name, variant in text_variants.items()}
            ),
        )

    def iterate_batches(
        self, start: int, stop: int, device: torch.device | None = None
    ) -> Iterator[Batch]:
        """Yield the batches of steps start .. stop - 1, made by `num_workers` processes.

        device: Where the batches are put; None = left where they are made. For CUDA they are made
        in pinned memory, so that the copy need not be waited for.
        """
        if self.num_workers == 0:
            for step in range(start, stop):
                batch = self.build_batch(step)
                yield batch if device is None else batch.to(device)
            return
        num_parts = len(self._part_slices)
        parts = DataLoader(
            self,
            batch_size=None,
            sampler=range(start * num_parts, stop * num_parts),
            num_workers=self.num_workers,
            prefetch_factor=PREFETCH_FACTOR,
            worker_init_fn=_divide_cache,
            pin_memory=device is not None and device.type == "cuda",
        )
        try:
            pending: list[Batch] = []
            for part in parts:
                pending.append(part if device is None else part.to(device))
                if len(pending) == num_parts:
                    yield _concatenate_batches(pending, self._pad_id)
                    pending = []
        except UserError as error:  # its message is the traceback of the data worker
            last_line = str(error).splitlines()[-1]
            raise type(error)(last_line.partition(": ")[2] or last_line) from None

    def __len__(self) -> int:
        return self.config.train.steps * len(self._part_slices)

    def __getitem__(self, index: int) -> Batch:
        """Return a part of a batch; the parts of all batches are counted in order."""
        step, part = divmod(index, len(self._part_slices))
        return self._build_rows(self._part_slices[part], step)

    def _derive_key(self, purpose: str, epoch: int, *qualifiers: str) -> int:
        return rng.derive_key(self.config.seed, self.config.stream, purpose, epoch, *qualifiers)

    def _draw_params(
        self, epoch: int, index: NDArray[np.int64]
    ) -> list[transform.AugmentationParams]:
        """Return the augmentation parameters of N samples for each view, weak ones first."""
        config, ids = self.config, self.split.ids[index]
        identity_prob, min_crop_scale = config.views.identity_prob, config.views.min_crop_scale
        params_by_view = []
        for kind, i in self._list_views():
            key = self._derive_key("view", epoch, f"{kind}/{i}")
            params_by_view.append(
                data.sample_view(config.data, kind, key, ids, identity_prob, min_crop_scale)
            )
        return params_by_view

    def _make_views(
        self, images: apply.Images, params_by_view: list[transform.AugmentationParams]
    ) -> dict[str, Any]:
        """Return the views as fields of a batch: made, or what a device makes them of."""
        size = self.config.model.image.image_size
        if self.config.views.made_on == "cpu":
            views = [apply.apply_augmentation(images, params, size) for params in params_by_view]
            return {"images": torch.from_numpy(np.stack(views))}
        not_made = torch.empty((len(params_by_view), len(images), 3, 0, 0), dtype=torch.uint8)
        packed = packed_views.pack_views(images, params_by_view, size)
        return {"images": not_made, "packed_views": packed}

    def _list_views(self) -> list[tuple[data.ViewKind, int]]:
        """Return the kind of each view and its number in its kind, weak ones first."""
        views: list[tuple[data.ViewKind, int]] = []
        views += [("weak", i) for i in range(self.config.views.num_weak)]
        views += [("strong", i) for i in range(self.config.views.num_strong)]
        return views

    def _draw_kept_patches(self, epoch: int, index: NDArray[np.int64]) -> torch.Tensor | None:
        """Return the patches that are kept of every view, (V, N, K); None if all are."""
        if self.num_patches is None:
            return None
        ids, drop_rate = self.split.ids[index], self.config.train.patch_drop_rate
        keys = [self._derive_key("patches", epoch, f"{k}/{i}") for k, i in self._list_views()]
        patches_by_view = [draw_kept_patches(key, ids, self.num_patches, drop_rate) for key in keys]
        return torch.from_numpy(np.stack(patches_by_view))

    def _draw_captions(self, epoch: int, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens (N, L) of one caption for each sample, cut to the longest."""
        return self._captions.draw(self._derive_key("caption", epoch), self.split.ids[index], index)

    def _build_text_variants(
        self, epoch: int, index: NDArray[np.int64], tokens: NDArray[np.int64]
    ) -> dict[str, NDArray[np.int64]]:
        """Return the extra texts that the method asks for, from the captions `tokens` (N, L)."""
        ids, vocabulary_info = self.split.ids[index], self._vocabulary_info
        text_variants: dict[str, NDArray[np.int64]] = {}
        if vocabulary_info is None:
            return text_variants
        if "augmented_tokens" in self._text_variants:
            text_variants["augmented_tokens"] = edit_captions(
                self._derive_key("edit", epoch), ids, tokens, vocabulary_info
            )
        if "masked_tokens" in self._text_variants:
            mask_ratio = cast(_MaskedTextMethod, self.config.method).mlm_probability
            text_variants["masked_tokens"], text_variants["mlm_labels"] = mask_tokens(
                self._derive_key("mask", epoch), ids, tokens, vocabulary_info, mask_ratio
            )
        return text_variants


@dataclass(frozen=True)
class _BatchRows:
    """The samples of a batch and their captions."""

    index: NDArray[np.int64]
    """(N,): samples of the split."""
    tokens: NDArray[np.int64]
    """(N, L)."""

    def select(self, rows: slice) -> _BatchRows:
        """Return a copy of some rows."""
        return _BatchRows(self.index[rows].copy(), self.tokens[rows].copy())


def _divide_cache(worker: int) -> None:
    """Let each data worker keep only its share of the images in memory."""
    info = get_worker_info()
    assert info is not None
    cast(TrainingBatches, info.dataset).split.divide_cache(info.num_workers)


def _concatenate_batches(batches: list[Batch], pad_id: int) -> Batch:
    """Concatenate shares or parts of one batch; texts are padded to the longest."""
    if len(batches) == 1:
        return batches[0]
    values_by_field = {
        name: [getattr(batch, name) for batch in batches] for name in Batch.__dataclass_fields__
    }
    packed = values_by_field.pop("packed_views")
    tensors_by_field: dict[str, Any] = {}
    for name, tensors in values_by_field.items():
        if name == "unreadable_ids" and any(tensor is not None for tensor in tensors):
            tensors = [
                torch.full_like(batch.sample_ids, -1) if tensor is None else tensor
                for batch, tensor in zip(batches, tensors)
            ]
        if tensors[0] is None:
            continue
        if name in ("tokens", *EXTRA_TEXT_FIELDS):
            max_length = max(tensor.shape[1] for tensor in tensors)
            pad_value = IGNORE_INDEX if name == "mlm_labels" else pad_id
            tensors = [
                F.pad(tensor, (0, max_length - tensor.shape[1]), value=pad_value)
                for tensor in tensors
            ]
        tensors_by_field[name] = torch.cat(tensors, dim=1 if name in PER_VIEW_FIELDS else 0)
    return Batch(
        **tensors_by_field,
        packed_views=None if packed[0] is None else packed_views.concatenate(packed),
    )
