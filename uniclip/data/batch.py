"""The training batch: what the loader yields and a method's loss receives.

N samples, V views of each, L tokens, A numbers that describe an augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from uniclip.augmentation.packed_views import PackedViews

EXTRA_TEXT_FIELDS = ("augmented_tokens", "masked_tokens", "mlm_labels")
"""Fields that are None unless a method asks for several texts a sample."""
PER_VIEW_FIELDS = ("images", "augmentation_vectors", "kept_patches")
"""Fields whose second dimension runs over the samples; in all others it is the first."""
HOST_FIELDS = ("sample_ids", "mlm_labels", "unreadable_ids")
"""Fields that stay on the CPU: shapes of tensors depend on them, and to learn those from a GPU the
host would have to wait for it."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """N image-text pairs, with V views of each image."""

    images: torch.Tensor
    """(V, N, 3, H, W) uint8: the views, weak ones first; without pixels (H = W = 0) until they are
    made of `packed_views`."""
    augmentation_vectors: torch.Tensor
    """(V, N, A) float32: the augmentation of each view
    (`uniclip.augmentation.transform.encode_as_vector`)."""
    tokens: torch.Tensor
    """(N, L) int64: one caption a sample, padded to the longest of the batch."""
    sample_ids: torch.Tensor
    """(N,) int64: equal where two rows are the same sample."""
    labels: torch.Tensor
    """(N,) int64: the class of an image-label sample; -1 = an image-text pair."""
    augmented_tokens: torch.Tensor | None = None
    """(N, L') int64: the caption after one random edit."""
    masked_tokens: torch.Tensor | None = None
    """(N, L) int64: `tokens` with some of them masked."""
    mlm_labels: torch.Tensor | None = None
    """(N, L) int64: the original tokens at masked positions, -100 elsewhere."""
    kept_patches: torch.Tensor | None = None
    """(V, N, K) int64: the patches of each view that the image encoder sees; None = all. A method
    passes them with the images (`Embedder.encode_image`)."""
    unreadable_ids: torch.Tensor | None = None
    """(N,) int64: the sample that a row replaces because its image cannot be read, -1 for a row
    that replaces none; None if every row is its own."""
    packed_views: PackedViews | None = None
    """What `to` makes `images` of; None if they are made."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`, but for `HOST_FIELDS`; copies only what is elsewhere.

        Views that are not made yet are made there.
        """
        moved: dict[str, Any] = {
            n: v.to(device, non_blocking=True)
            for n, v in self._list_present_fields()
            if n not in HOST_FIELDS
        }
        if self.packed_views is None:
            return replace(self, **moved)
        from uniclip.augmentation.batched_views import make_views  # imports torch

        moved["images"] = make_views(self.packed_views.to(device))
        return replace(self, **moved, packed_views=None)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, from which `to` copies without being waited for.

        Called by torch's DataLoader, which pins what has this method.
        """
        packed = self.packed_views
        pinned: dict[str, Any] = {n: v.pin_memory() for n, v in self._list_present_fields()}
        return replace(self, **pinned, packed_views=None if packed is None else packed.pin_memory())

    def record_stream(self, stream: torch.Stream) -> None:
        """Keep the memory of tensors that another CUDA stream made until `stream` has used them."""
        for name, value in self._list_present_fields():
            if name not in HOST_FIELDS:
                value.record_stream(stream)

    def select_rows(self, row_slice: slice) -> Batch:
        """Return the batch of the samples in `row_slice`."""
        row_fields: dict[str, Any] = {
            n: v[:, row_slice] if n in PER_VIEW_FIELDS else v[row_slice]
            for n, v in self._list_present_fields()
        }
        packed = self.packed_views
        packed = None if packed is None else packed.select_rows(row_slice)
        return replace(self, **row_fields, packed_views=packed)

    def split_chunks(self, num_chunks: int) -> list[Batch]:
        """Return the samples in order, in `num_chunks` parts whose sizes differ by at most one."""
        n = len(self.sample_ids)
        return [
            self.select_rows(slice(n * i // num_chunks, n * (i + 1) // num_chunks))
            for i in range(num_chunks)
        ]

    def _list_present_fields(self) -> list[tuple[str, torch.Tensor]]:
        """Return the names and values of the tensors that are not None."""
        names = self.__dataclass_fields__.keys() - {"packed_views"}
        fields = [(name, getattr(self, name)) for name in sorted(names)]
        return [(name, value) for name, value in fields if value is not None]
