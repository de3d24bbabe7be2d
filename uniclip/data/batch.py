"""The one structure that travels from the loader to the objective.

N samples, V views of each, L tokens, A numbers that describe an augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

EXTRA_TEXT_FIELDS = ("augmented_tokens", "masked_tokens", "mlm_labels")
"""Fields that only methods with several texts a sample ask for."""
PER_VIEW_FIELDS = ("images", "augmentation_vectors")
"""Fields whose second dimension goes along the samples; that of the others is the first."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """N image-text pairs, each picture seen in V views."""

    images: torch.Tensor
    """(V, N, 3, H, W) uint8: the views, weak ones first."""
    augmentation_vectors: torch.Tensor
    """(V, N, A) float32: what was done to each view (`uniclip.augmentation.transform.describe`)."""
    tokens: torch.Tensor
    """(N, L) int64: one caption a sample, padded to the longest of the batch."""
    sample_ids: torch.Tensor
    """(N,) int64: equal where two rows are the same sample."""
    labels: torch.Tensor
    """(N,) int64: the class of an image-label sample; -1 = an image-text pair."""
    augmented_tokens: torch.Tensor | None = None
    """(N, L') int64: the caption after one small random edit."""
    masked_tokens: torch.Tensor | None = None
    """(N, L) int64: `tokens` with some of them hidden."""
    mlm_labels: torch.Tensor | None = None
    """(N, L) int64: the tokens that were hidden, -100 elsewhere."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device` (no copy where it is there already)."""
        return replace(
            self, **{n: v.to(device, non_blocking=True) for n, v in self._list_present_fields()}
        )

    def select_rows(self, row_slice: slice) -> Batch:
        """The samples `which` alone."""
        row_fields = {
            n: v[:, row_slice] if n in PER_VIEW_FIELDS else v[row_slice]
            for n, v in self._list_present_fields()
        }
        return replace(self, **row_fields)

    def split_chunks(self, num_chunks: int) -> list[Batch]:
        """The samples in order, in so many chunks that differ by one in size at most."""
        n = len(self.sample_ids)
        return [
            self.select_rows(slice(n * i // num_chunks, n * (i + 1) // num_chunks))
            for i in range(num_chunks)
        ]

    def _list_present_fields(self) -> list[tuple[str, torch.Tensor]]:
        fields = [(name, getattr(self, name)) for name in self.__dataclass_fields__]
        return [(name, value) for name, value in fields if value is not None]
