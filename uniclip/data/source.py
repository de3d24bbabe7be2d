"""The interface of a source of data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from uniclip.data.split import Split, SplitName
from uniclip.data.views import ViewKind

if TYPE_CHECKING:
    from uniclip.augmentation.transform import AugmentationParams
    from uniclip.rng import UInt64


class DataSource(Protocol):
    """A module (or object) in `uniclip.data.SOURCES`.

    `config` is `Any` because every source takes its own configuration class.
    """

    def fingerprint(self, config: Any) -> dict[str, Any]:
        """Return everything that the content of the data depends on, as plain JSON."""

    def describe_missing(self, config: Any) -> str | None:
        """Return one line on how to get missing data, or None if it is present."""

    def open_split(self, config: Any, split_name: SplitName) -> Split:
        """Return one split."""

    def sample_view(
        self,
        config: Any,
        kind: ViewKind,
        key: int,
        ids: UInt64,
        identity_prob: float,
        min_crop_scale: float,
    ) -> AugmentationParams:
        """Return the augmentation parameters of one view of the samples `ids` (n,)."""
