"""What the configurations of all data sources have in common."""

from __future__ import annotations

from dataclasses import Field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol


class DataConfig(Protocol):
    """The interface of a data source's configuration, built in or from a plug-in.

    An implementation is a frozen dataclass that inherits from this class and has the fields `name`
    and `image_size`. The other members are optional: what this class defines is their default.
    """

    name: str
    """The value of `data.name` by which the source is selected."""
    image_size: int
    """Side of a source image, in pixels."""
    primary_score: ClassVar[str | None] = None
    """The score on which contrasts are tested, comparable with the literature; an ablation may name
    another. None = every ablation on these data must name one."""
    sensitive_score: ClassVar[str | None] = None
    """The co-primary score, which finds an effect of the same size with fewer seeds; None = none.
    """
    decodes_images: ClassVar[bool] = False
    """Whether training decodes image files of the user: their pixels are those of a version of the
    decoder, which then is part of the numerics class."""

    if TYPE_CHECKING:  # what every frozen dataclass has
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

        def __hash__(self) -> int:
            return id(self)

    @property
    def labelled(self) -> bool:
        """Whether training batches have labels."""
        return False

    @property
    def has_one_order(self) -> bool:
        """Whether an epoch shuffles all training samples at once: subsets are drawn of such data
        only (`train.subset_size`)."""
        return True

    def check_batch_size(self, batch_size: int) -> None:
        """Raise `UserError` unless every training batch of this size can be filled."""
        return None


def count_allowed(max_broken: float, num_samples: int) -> int:
    """Return how many of `num_samples` samples may be skipped: one, unless `max_broken` is 0."""
    return max(1, int(max_broken * num_samples)) if max_broken else 0
