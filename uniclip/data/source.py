"""The interface of a source of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from uniclip.data.split import Split, SplitName
from uniclip.data.views import ViewKind

if TYPE_CHECKING:
    from uniclip.augmentation.transform import AugmentationParams
    from uniclip.rng import UInt64


@dataclass(frozen=True)
class DataWarning:
    """Something in the data that a user most likely does not want."""

    message: str
    fix: str
    """What to do."""


ConfigT = TypeVar("ConfigT", contravariant=True)


class DataSource(Protocol[ConfigT]):
    """A module (or object) in `uniclip.data.SOURCES`, with its class of configuration.

    It may also define `identify_content(config, builds_index)`; see `uniclip.data`.
    """

    def fingerprint(self, config: ConfigT) -> dict[str, object]:
        """Return everything that the content of the data depends on, as plain JSON."""

    def describe_missing(self, config: ConfigT) -> str | None:
        """Return one line on how to get missing data, or None if it is present."""

    def open_split(self, config: ConfigT, split_name: SplitName) -> Split:
        """Return one split."""

    def sample_view(
        self,
        config: ConfigT,
        kind: ViewKind,
        key: int,
        ids: UInt64,
        identity_prob: float,
        min_crop_scale: float,
    ) -> AugmentationParams:
        """Return the augmentation parameters of one view of the samples `ids` (n,)."""
