"""Evaluation protocols: how a model is evaluated, read by the scoring code and hashed.

A plan contains protocols and computes no scores, so nothing here imports numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from uniclip.config.binding import to_builtins
from uniclip.errors import make_unknown_name_error
from uniclip.evaluate import datasets, prompts
from uniclip.evaluate.datasets.images import CAPTIONED_KINDS
from uniclip.evaluate.protocols.fine_tuning import FineTuningConfig

if TYPE_CHECKING:
    from uniclip.evaluate.metrics import Metric

VERSION = 1
"""Version of the definitions in this package, part of every protocol: raised when one changes."""

PROBE_VERSION = 2
"""Version of linear probes; 2 since they are fitted along principal axes, partly in float32."""

TEST_VIEWS_VERSION = 1
"""Version of the augmented views of test images; raised when they are drawn differently."""

RETRIEVAL_VERSION = 2
"""Version of the retrieval scores; 2 since ranks and log likelihoods are scored beside R@k."""

COMPOSITION_SCORES = ("text", "image", "group")
"""Scores of composition; a data set without pairs of images has the first one only."""

COMPOSITION_VERSION = 1
"""Version of the scores of composition, and of association."""

SHIFT_VERSION = 1
"""Version of the scores of a shift relative to the data set without it."""

FEW_SHOT_VERSION = 1
"""Version of the probes of a few training images, and of nearest neighbors."""

RECALL_KS = (1, 5, 10)
"""The k of R@k."""

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 10.0
"""Bounds of the temperature of log likelihoods: 0.01 is that of CLIP's learned temperature, and
cosines divided by 10 are all but equal."""

TEMPERATURE_TOLERANCE = 1e-6
"""Tolerance of the logarithm of the fitted temperature."""

MIN_TEMPERATURE_IMAGES, MAX_TEMPERATURE_IMAGES = 50, 1024
"""Smallest and largest number of validation images to which the temperature is fitted. A fit to
twenty pairs or fewer often ends at a bound, at which the log likelihood of test pairs is far too
low."""

L2_VALUES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""L2 penalties that a probe of the built-in benchmarks selects from, strongest first."""

GRADIENT_TOLERANCE = 1e-4
"""A probe's fit ends when no component of the gradient exceeds this."""

TEMPERATURE_RECORD = {
    "fitted_on": "validation, mean of both ways",
    "images": [MIN_TEMPERATURE_IMAGES, MAX_TEMPERATURE_IMAGES],
    "bounds": [MIN_TEMPERATURE, MAX_TEMPERATURE],
    "tolerance": TEMPERATURE_TOLERANCE,
}
"""Protocol of the temperature of log likelihoods."""

RETRIEVAL_RECORD = {
    "metric": "recall by caption; ties at their expectation",
    "ks": list(RECALL_KS),
    "log_likelihood": "mean over the correct keys",
    "temperature": TEMPERATURE_RECORD,
    "features": "embedding",
    "version": RETRIEVAL_VERSION,
}
"""Protocol of the retrieval scores of the built-in benchmarks."""


USER_TEMPLATES = ("a photo of a {}",)
"""Templates of the prompts for the classes of a user's data."""


def build_zero_shot_record(templates: Sequence[str], names: Any) -> dict[str, Any]:
    """Return the protocol of a zero-shot score; `names`: prompt names of each class, as JSON."""
    return {
        "metric": "accuracy",
        "templates": list(templates),
        "names": names,
        "features": "embedding",
        "version": VERSION,
    }


def build_probe_record() -> dict[str, Any]:
    """Return the protocol of a linear-probe score of the built-in benchmarks."""
    return {
        "metric": "accuracy",
        "classifier": "logistic regression by L-BFGS, standardized features",
        "l2_values": list(L2_VALUES),
        "tolerance": GRADIENT_TOLERANCE,
        "selection": "validation, refit on train + validation",
        "features": "backbone",
        "version": PROBE_VERSION,
    }


OWN_METRICS = ("f1_macro", "worst_group", "worst_group_top5")
"""Metrics that belong to a data set under every protocol."""

DEFAULT_DATASET = "*"
"""In a user-defined protocol: every data set with classes that it does not name."""


@dataclass(frozen=True)
class Preprocessing:
    """How a test image becomes the model's input."""

    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: str = "shorter side to the model's size, the longer rounded down (torchvision)"
    crop: str = "centre"
    normalize: str = "mean and standard deviation of the image encoder"


@dataclass(frozen=True)
class LinearProbeConfig:
    """How a linear probe is fitted and selected.

    The penalty lambda multiplies half the squared weights, beside the sum of the samples' losses
    (Radford et al., 2021, appendix A.3). It is searched on the grid 10^min_exponent ..
    10^max_exponent with `points_per_decade` points a decade: first `step` points apart, then at
    half the distance around the best, down to neighbours. A fit ends where no component of the
    gradient of the mean loss exceeds `tolerance` / classes, with features whose root mean square is
    1: a component is a mean over all samples of a quantity of about 1 / classes.
    """

    features: Literal["backbone", "embedding"] = "backbone"
    """Image-encoder features before any projection, or unit rows of the joint space."""
    feature_scaling: Literal["none", "l2_normalized"] = "none"
    min_exponent: int = -6
    max_exponent: int = 6
    points_per_decade: int = 8
    step: int = 16
    tolerance: float = GRADIENT_TOLERANCE
    classifier: str = "logistic regression by L-BFGS (one-vs-rest where multi-label)"
    selection: str = "the metric on validation, the stronger of a tie; refit on train + validation"
    version: int = PROBE_VERSION

    def build_l2_grid(self) -> tuple[float, ...]:
        """Return the grid, weakest penalty first."""
        steps = (self.max_exponent - self.min_exponent) * self.points_per_decade
        return tuple(
            10.0 ** (self.min_exponent + i / self.points_per_decade) for i in range(steps + 1)
        )


@dataclass(frozen=True)
class FewShotConfig:
    """How probes of a few training images, and nearest neighbors, are computed.

    The probe is that of the protocol, fitted to k images of each class; its penalty is selected on
    min(k, `max_validation_shots`) validation images of each class (Zhou et al., "Learning to Prompt
    for Vision-Language Models", IJCV 2022, and their code, where a tie goes to the weaker penalty).
    The last fit is to the training images alone, to `tolerance`: the loss of a few separable images
    is flat at a weak penalty. The neighbors are those of Wu et al. (CVPR 2018) as Caron et al.
    (ICCV 2021) use them: cosines of features, and votes of weight exp(cosine / temperature).
    """

    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    max_validation_shots: int = 4
    draws: int = 3
    """Draws of the images, over which outcomes are averaged. A larger k has the images of a
    smaller one."""
    metric: Metric = "accuracy"
    tolerance: float = 1e-9
    neighbors: int = 20
    neighbor_temperature: float = 0.07
    neighbor_images: str = "training and validation"
    version: int = FEW_SHOT_VERSION


@dataclass(frozen=True)
class EvaluationProtocol:
    """One way to evaluate a model on labelled images or on captions, for all data sets."""

    name: str
    imagenet_templates: str
    """The prompt ensemble of ImageNet, one of `prompts.ENSEMBLES`."""
    caption_template: str
    """The template of a caption in retrieval."""
    preprocessing: Preprocessing
    probe_config: LinearProbeConfig
    metrics: tuple[tuple[str, Metric], ...]
    """(data set, metric); accuracy for the others, recall for retrieval."""
    difficult_objects: Literal["excluded", "present"]
    """Whether objects that VOC marks as difficult are excluded, or count as present."""
    test_on_all: tuple[str, ...]
    """Data sets tested on all images, as the source does; the others on the test split."""
    deviations: tuple[str, ...]
    """How this implementation differs from the source."""
    base: str | None = None
    """The published protocol that a user-defined one follows where it defines nothing."""
    custom_templates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """User-defined templates, by data set or `DEFAULT_DATASET`."""
    custom_names: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """User-defined names, by data set and the data set's key of a class."""
    fine_tuning: FineTuningConfig = FineTuningConfig()
    """The recipe of full fine-tuning."""

    def get_metric(self, dataset: str) -> Metric:
        """Return the metric of a data set; for multi-label ones, by default that of VOC 2007."""
        if datasets.get(dataset).metric in OWN_METRICS:
            return datasets.get(dataset).metric
        metric_by_dataset = dict(self.metrics)
        metric_by_kind: dict[str, Metric] = {
            "retrieval": "recall",
            "composition": "accuracy",
            "association": "jaccard",
            "multilabel": metric_by_dataset["voc2007"],
        }
        return metric_by_dataset.get(dataset) or metric_by_kind.get(
            datasets.get(dataset).kind, "accuracy"
        )

    def get_templates(self, dataset: str) -> tuple[str, ...]:
        """Return the prompt templates, each with one {} for a class name (retrieval: a caption)."""
        if dataset in self.custom_templates:
            return self.custom_templates[dataset]
        if datasets.get(dataset).kind == "retrieval":
            return (self.caption_template,)
        if datasets.get(dataset).kind in ("composition", "association"):
            return ("{}",)
        if DEFAULT_DATASET in self.custom_templates:
            return self.custom_templates[DEFAULT_DATASET]
        source = datasets.get(dataset).templates_from or dataset
        template_set = self.imagenet_templates if source == "imagenet" else source
        return prompts.get_templates(template_set, self.base or self.name)

    def get_class_name_entry(self, dataset: str) -> Any:
        """Return the definition of a data set's class names, as plain JSON."""
        source = datasets.get(dataset).class_names_from or dataset
        published_entry = prompts.get_class_name_entry(source)
        custom_names = self.custom_names.get(dataset)
        return [published_entry, to_builtins(custom_names)] if custom_names else published_entry

    def get_class_names(self, dataset: str, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the prompt names of each class; `UserError` if a custom name has no class."""
        custom_names = self.custom_names.get(dataset, {})
        for key in custom_names:
            if key not in classes:
                raise make_unknown_name_error(
                    f"class of {dataset} in protocol {self.name}", key, classes
                )
        source = datasets.get(dataset).class_names_from or dataset
        unnamed = [key for key in classes if key not in custom_names]
        return {**prompts.get_class_names(source, unnamed, self.base or self.name), **custom_names}

    def for_dataset(self, dataset: str, classes: Sequence[str]) -> DatasetProtocol:
        """Return the protocol of one data set; `classes`: its keys, in the order of its labels."""
        names, kind = self.get_class_names(dataset, classes), datasets.get(dataset).kind
        return DatasetProtocol(
            dataset=dataset,
            metric=self.get_metric(dataset),
            difficult_objects=self.difficult_objects if kind == "multilabel" else None,
            templates=() if kind == "few_shot" else self.get_templates(dataset),
            class_names=tuple((c, names[c]) for c in classes),
            preprocessing=self.preprocessing,
            probe_config=None if kind in CAPTIONED_KINDS else self.probe_config,
        )


@dataclass(frozen=True)
class DatasetProtocol:
    """How a data set with known classes is evaluated."""

    dataset: str
    metric: Metric
    difficult_objects: str | None
    templates: tuple[str, ...]
    class_names: tuple[tuple[str, tuple[str, ...]], ...]
    """(the data set's key, prompt names) of each class, in the order of labels."""
    preprocessing: Preprocessing
    probe_config: LinearProbeConfig | None
