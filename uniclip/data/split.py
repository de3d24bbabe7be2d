"""A split of a data set: images, captions and labels in a fixed order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from uniclip.errors import UserError
from uniclip.io.hashing import hash_sample_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uniclip.augmentation.resample import Photograph
    from uniclip.data.text.caption_tokens import CaptionTokens
    from uniclip.data.text.tokenizer import Tokenizer
    from uniclip.data.windowed_order import ShardGroups
    from uniclip.rng import UInt64

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class SourceShare:
    """The samples start:stop, which make up a fixed share of each batch."""

    start: int
    stop: int
    share: float
    name: str = ""
    """What the user calls the source, for messages; "" = the data as a whole."""


@dataclass(frozen=True, kw_only=True)
class Split(ABC):
    """n samples. Subclasses load the images; they must be picklable (data workers)."""

    ids: UInt64
    """(n,) uint64: identify the samples in every random draw."""
    captions: Sequence[tuple[str, ...]]
    """One or more captions for each sample."""
    labels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Name of a labelling -> (n,) int64: the class, or -1 for none."""
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a labelling -> the names of its classes."""
    sample_names: Sequence[str] = ()
    """Names of the samples, for reports."""
    clusters: UInt64 | None = None
    """(n,) uint64: samples with the same number are variants of each other, and not independent;
    None = each is its own."""
    training_labels: NDArray[np.signedinteger[Any]] | None = None
    """(n,): the class that a method may train on, -1 for an image-text pair; None = only pairs."""
    source_shares: tuple[SourceShare, ...] = ()
    """The shares of each batch; empty = one share of all samples."""
    shard_groups: ShardGroups | None = None
    """Samples that are shuffled together in an epoch; None = all of a share."""
    num_skipped: int = 0
    """Samples that are left out since they cannot be used."""
    has_image_files: ClassVar[bool] = False
    """Whether images may be unreadable; such a split defines the methods that name them."""

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def load_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the source images of the samples at `index` (b,), (b, 3, H, W) uint8."""

    def load_readable_pixels(
        self, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return what `load_pixels` does, 0 for images that cannot be read, and which can (b,)."""
        import numpy as np

        return self.load_pixels(index), np.ones(len(index), np.bool_)

    def load_view_sources(
        self, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8] | list[Photograph], NDArray[np.bool_]]:
        """Return what training views are made of, and which images can be read (b,).

        Images of one size (b, 3, H, W), or photographs; what stands for an image that cannot be
        read has no meaning.
        """
        return self.load_readable_pixels(index)

    def divide_cache(self, num_workers: int) -> None:
        """Keep only a share of the images in memory: so many data workers do, each for itself."""
        return None

    def encode_captions(self, tokenizer: Tokenizer, context_length: int) -> CaptionTokens:
        """Return the tokens of all captions, cut to `context_length`."""
        from uniclip.data.text.caption_tokens import TokenTable

        return TokenTable(self.captions, tokenizer, context_length)

    def compute_files_digest(self) -> str:
        """Return what changes whenever an image file does; empty for a source without files."""
        return ""

    def describe_unreadable(self, i: int) -> str:
        """Return place, name and fault of an image that cannot be read, in one line."""
        return self.sample_names[i] if self.sample_names else f"sample {i}"

    def check_unreadable(self, index: Sequence[int]) -> None:
        """Raise `UserError` if more images than allowed cannot be read; `index`: which."""
        return None


def allot_rows(shares: Sequence[SourceShare], batch_size: int, data_name: str) -> list[int]:
    """Return how many samples of each share a batch has.

    Raises:
        UserError: A share has none, or fewer samples than that.
    """
    rows_per_share = [round(batch_size * share.share) for share in shares]
    rows_per_share[0] = batch_size - sum(rows_per_share[1:])
    problems = [
        _describe_few_samples(share, num_rows, batch_size, data_name)
        for share, num_rows in zip(shares, rows_per_share)
        if not 1 <= num_rows <= share.stop - share.start
    ]
    if problems and len(shares) == 1:
        raise UserError(f"{problems[0]}; choose another batch size or more data")
    if problems:
        raise UserError(
            f"{'; '.join(problems)}; choose another batch size, another share or more data"
        )
    return rows_per_share


def _describe_few_samples(
    share: SourceShare, num_rows: int, batch_size: int, data_name: str
) -> str:
    """Return why a batch cannot have `num_rows` samples of a share."""
    source = f"{share.name} of data={data_name}" if share.name else f"data={data_name}"
    num_samples = share.stop - share.start
    if num_rows < 1:
        return (
            f"train.batch_size={batch_size} leaves no sample to {source}: its share of "
            f"{share.share:.2g} rounds to 0 samples"
        )
    whole = "" if share.share == 1 else f", its share of {share.share:.2g}"
    return (
        f"train.batch_size={batch_size} takes {num_rows} of the {num_samples} training samples of "
        f"{source} at once{whole}"
    )


def check_subset_size(subset_size: int | None, num_samples: int) -> None:
    """Raise `UserError` if a subset of the training samples is to have more than there are."""
    if subset_size is not None and subset_size > num_samples:
        raise UserError(
            f"train.subset_size={subset_size} is more than the {num_samples} training samples"
        )


def assign_split(
    sample_name: str, *, validation_fraction: float, test_fraction: float
) -> SplitName:
    """Return the split of a sample: a hash of its name falls into the fraction of one split."""
    position = hash_sample_id(f"split/{sample_name}") / 2**64
    if position < test_fraction:
        return "test"
    return "validation" if position < test_fraction + validation_fraction else "train"
