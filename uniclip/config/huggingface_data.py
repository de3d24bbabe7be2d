"""The configuration of image-text pairs that are embedded in Arrow or Parquet files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uniclip.config.binding import config_field
from uniclip.config.data_section import DataConfig, count_allowed
from uniclip.config.sample_filter import SampleFilter
from uniclip.errors import UserError


@dataclass(frozen=True, kw_only=True)
class HuggingfaceData(DataConfig):
    """Images in Arrow or Parquet files, as Hugging Face's `datasets` writes them; read in place."""

    primary_score = "retrieval.r1"
    sensitive_score = "retrieval.log_likelihood"
    decodes_images = True

    name: Literal["huggingface"] = "huggingface"
    path: str = config_field("", run_only=True, is_path=True)
    """A folder that `save_to_disk` wrote, a folder of Arrow or Parquet files, or one such file.
    Its splits are those of the data set or, of other folders, those that the names of the files or
    of their folders state, such as train-00000-of-00004.parquet."""
    image_column: str | None = None
    """Column of the embedded images; null = the only column of images."""
    caption_column: str | None = None
    """Column of the caption, or of a list of captions; null = the one with a usual name, such as
    caption or text. If there is none, `label_templates` make captions of the labels."""
    label_column: str | None = None
    """Column of the class, or null; with method=unicl, equal labels are positives. Numbers become
    the names that the features of the data set state."""
    label_templates: tuple[str, ...] = ("a photo of a {}.",)
    """Captions of images without a column of captions, in which {} is the name of the class; one
    is drawn for each image and epoch."""
    key_column: str | None = None
    """Column that identifies an image: its rows are one sample, with all their captions. null =
    each row is a sample, known by the `path` of its image or, without one, by its number."""
    where: str | None = None
    """Which rows are trained on, by their columns of numbers and texts and their caption, such as
    "similarity > 0.28 and min(width, height) >= 200"; null = all. Validation and test rows are all
    used, whatever it is."""
    order: Literal["full", "windowed"] = "full"
    """Order of an epoch: full = all samples shuffled, for Arrow files on local disks; windowed =
    groups of rows (record batches or row groups of the files) shuffled, and the samples of
    `window_groups` groups at a time, for Parquet files and network file systems."""
    window_groups: int = config_field(16, low=1)
    """Groups of rows whose samples are shuffled together with order=windowed."""
    image_size: int = config_field(64, low=16, high=1024, follows_model=True)
    """Side of the square to which images are resized and center-cropped for evaluation, in pixels
    (training views are cropped from the image itself); null, the preset =
    `model.image.image_size`."""
    validation_fraction: float = config_field(0.01, above=0, high=0.5)
    """Fraction of the training samples held out for validation, by a hash of what identifies the
    image, if the data set has no validation split."""
    test_fraction: float = config_field(0.01, low=0, high=0.5)
    """Fraction of the training samples held out for testing, if there is no test split; 0 = none.
    """
    max_held_out: int = config_field(5_000, low=16)
    """Largest number of validation and of test samples that are evaluated, those with the smallest
    hash; the others are not used."""
    max_broken: float = config_field(0.01, low=0, high=1, run_only=True)
    """Largest fraction of the samples that cannot be used, since the caption is missing or the
    image missing or unreadable, and of held-out images; unless it is 0, one is always allowed."""
    verify: bool = config_field(False, run_only=True)
    """Whether the bytes of all files are part of the run's identity, and not only their names and
    sizes."""

    def __post_init__(self) -> None:
        if self.order == "full" and self.window_groups != HuggingfaceData.window_groups:
            raise UserError(
                f"data.window_groups={self.window_groups} does nothing with data.order=full: leave "
                "it out, or set data.order=windowed"
            )
        if not self.label_templates:
            raise UserError("data.label_templates must have at least one template")
        for template in self.label_templates:
            if template.count("{}") != 1 or set(template.replace("{}", "")) & set("{}"):
                raise UserError(
                    f"data.label_templates: {template!r} must have one {{}} for the name of the "
                    "class, and no other brace"
                )
        if self.where is not None:
            SampleFilter(self.where)

    @property
    def labelled(self) -> bool:
        """Whether training batches have labels."""
        return self.label_column is not None

    @property
    def has_one_order(self) -> bool:
        """Whether an epoch shuffles all training samples at once."""
        return self.order == "full"

    def count_allowed_broken(self, num_samples: int) -> int:
        """Return how many of `num_samples` samples may be skipped or replaced."""
        return count_allowed(self.max_broken, num_samples)
