"""What the scores of a benchmark state of themselves: read by the code that measures, and hashed.

A plan states protocols and measures nothing, so nothing here needs numpy. The published protocols
(`clip2021`, `slip2021`, `laion_cb`) are at the end; where ours departs from a source, the protocol
says so in `departs`, and that is part of the hash too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from uniclip.config.binding import to_builtins
from uniclip.errors import make_unknown_name_error
from uniclip.evaluate import datasets, prompts

VERSION = 1
"""Of the definitions in this package: part of every protocol, so a changed one gives new scores."""

PROBE_VERSION = 2
"""Of linear probes: 2 since they are sought along principal axes, partly in float32."""

TEST_VIEWS_VERSION = 1
"""Raised when the views of test pictures that are asked about are drawn in another way."""

RECALL_KS = (1, 5, 10)
"""The k of R@k."""

L2_VALUES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""The L2 strengths that a probe of our own benchmarks chooses from, from strong to weak."""

GRADIENT_TOLERANCE = 1e-4
"""Largest absolute component of the gradient at which a probe's fit ends."""

RETRIEVAL_RECORD = {
    "metric": "recall, right when the caption is; ties at their expectation",
    "depths": list(RECALL_KS),
    "features": "embedding",
    "version": VERSION,
}
"""What retrieval scores state."""


def build_zero_shot_record(templates: Sequence[str], names: Any) -> dict[str, Any]:
    """What zero-shot scores state; names: the prompt names of each class."""
    return {
        "metric": "accuracy",
        "templates": list(templates),
        "names": names,
        "features": "embedding",
        "version": VERSION,
    }


def build_probe_record() -> dict[str, Any]:
    """What linear-probe scores of our own benchmarks state."""
    return {
        "metric": "accuracy",
        "classifier": "logistic regression by L-BFGS, standardised features",
        "strengths": list(L2_VALUES),
        "tolerance": GRADIENT_TOLERANCE,
        "selection": "validation, refit on train + validation",
        "features": "trunk",
        "version": PROBE_VERSION,
    }


# ---- the published protocols ---------------------------------------------------------------------

Metric = Literal["accuracy", "mean_per_class", "map11", "map", "recall"]
"""Share of pictures; mean recall of the classes present; 11-point interpolated mAP (VOC 2007);
non-interpolated mAP; R@k both ways."""

DEFAULT_DATASET = "*"
"""In a user's own protocol: every set with classes that it does not name."""


@dataclass(frozen=True)
class Preprocessing:
    """How a test picture becomes the model's input."""

    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: str = "shorter side to the model's size, the longer rounded down (torchvision)"
    crop: str = "centre"
    normalise: str = "the image encoder's own mean and deviation"


@dataclass(frozen=True)
class LinearProbeConfig:
    """How the linear probe is made.

    The strength lambda multiplies half the squared weights beside the sum of the samples' losses
    (Radford et al., 2021, appendix A.3). It is sought on the grid 10^lowest .. 10^highest with
    `per_decade` points a decade: `apart` points apart first, then at half the distance around the
    peak, down to neighbours. A fit ends where no component of the gradient of the mean loss exceeds
    `tolerance` / classes, the features having a root mean square of one: a component is a mean over
    all samples of something that is about 1 / classes.
    """

    features: Literal["trunk", "embedding"] = "trunk"
    feature_scaling: Literal["as it is", "unit rows"] = "as it is"
    min_exponent: int = -6
    max_exponent: int = 6
    points_per_decade: int = 8
    step: int = 16
    tolerance: float = GRADIENT_TOLERANCE
    classifier: str = "logistic regression by L-BFGS (one against the rest where multi-label)"
    selection: str = "the metric on validation, the stronger of a tie; refit on train + validation"
    version: int = PROBE_VERSION

    def build_l2_grid(self) -> tuple[float, ...]:
        """The grid, from weak to strong."""
        steps = (self.max_exponent - self.min_exponent) * self.points_per_decade
        return tuple(
            10.0 ** (self.min_exponent + i / self.points_per_decade) for i in range(steps + 1)
        )


@dataclass(frozen=True)
class Protocol:
    """One way of the literature to judge a model on labelled pictures."""

    name: str
    imagenet_templates: str
    """The ensemble of templates of ImageNet."""
    caption_template: str
    """The template of a caption in retrieval."""
    preprocessing: Preprocessing
    probe_config: LinearProbeConfig
    metrics: tuple[tuple[str, Metric], ...]
    """Metric by data set; accuracy for the others, recall for retrieval."""
    difficult_objects: Literal["excluded", "present"]
    """Objects that VOC marks as difficult: not counted, or as if they were ordinary."""
    test_on_all: tuple[str, ...]
    """Data sets of which all pictures are tested, as the source does; else the test split."""
    deviations: tuple[str, ...]
    """Where ours is not what the source does."""
    base: str | None = None
    """The published protocol that one of the user's own follows where it says nothing itself."""
    custom_templates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The user's, by data set or `OTHERS`."""
    custom_names: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    """The user's, by data set and the set's own key of a class."""

    def get_metric(self, dataset: str) -> Metric:
        """The metric of a data set; with several labels, that of VOC 2007 if none is stated."""
        metric_by_dataset = dict(self.metrics)
        metric_by_kind: dict[str, Metric] = {
            "retrieval": "recall",
            "multilabel": metric_by_dataset["voc2007"],
        }
        return metric_by_dataset.get(dataset) or metric_by_kind.get(
            datasets.get(dataset).kind, "accuracy"
        )

    def get_templates(self, dataset: str) -> tuple[str, ...]:
        """The templates of a data set, each with one {} for a name; of a caption for retrieval."""
        if dataset in self.custom_templates:
            return self.custom_templates[dataset]
        if datasets.get(dataset).kind == "retrieval":
            return (self.caption_template,)
        if DEFAULT_DATASET in self.custom_templates:
            return self.custom_templates[DEFAULT_DATASET]
        template_set = self.imagenet_templates if dataset == "imagenet" else dataset
        return prompts.get_templates(template_set, self.base or self.name)

    def get_class_name_entry(self, dataset: str) -> Any:
        """All that is said of a data set's class names, as plain JSON."""
        published_entry, custom_names = (
            prompts.get_class_name_entry(dataset),
            self.custom_names.get(dataset),
        )
        return [published_entry, to_builtins(custom_names)] if custom_names else published_entry

    def get_class_names(self, dataset: str, classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """What each class is called in a prompt; `UserError` for names of a class that is none."""
        custom_names = self.custom_names.get(dataset, {})
        for key in custom_names:
            if key not in classes:
                raise make_unknown_name_error(
                    f"class of {dataset} in protocol {self.name}", key, classes
                )
        return {**prompts.get_class_names(dataset, classes, self.base or self.name), **custom_names}

    def for_dataset(self, dataset: str, classes: Sequence[str]) -> DatasetProtocol:
        """How `dataset` is judged; classes: its own keys of them, in the order of its labels."""
        names, kind = self.get_class_names(dataset, classes), datasets.get(dataset).kind
        return DatasetProtocol(
            dataset=dataset,
            metric=self.get_metric(dataset),
            difficult_objects=self.difficult_objects if kind == "multilabel" else None,
            templates=self.get_templates(dataset),
            class_names=tuple((c, names[c]) for c in classes),
            preprocessing=self.preprocessing,
            probe_config=None if kind == "retrieval" else self.probe_config,
        )


@dataclass(frozen=True)
class DatasetProtocol:
    """How one data set is judged, its classes known."""

    dataset: str
    metric: Metric
    difficult_objects: str | None
    templates: tuple[str, ...]
    class_names: tuple[tuple[str, tuple[str, ...]], ...]
    """What each class is called in a prompt, by the data set's own key, in the order of labels."""
    preprocessing: Preprocessing
    probe_config: LinearProbeConfig | None


_MEAN_PER_CLASS: tuple[tuple[str, Metric], ...] = (
    ("fgvc_aircraft", "mean_per_class"),
    ("oxford_pets", "mean_per_class"),
    ("caltech101", "mean_per_class"),
    ("flowers102", "mean_per_class"),
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="clip2021",
            imagenet_templates="imagenet80",
            caption_template="a photo of {}",
            preprocessing=Preprocessing("bicubic"),
            probe_config=LinearProbeConfig("trunk", "as it is"),
            metrics=(*_MEAN_PER_CLASS, ("voc2007", "map11")),
            difficult_objects="excluded",
            test_on_all=(),
            deviations=("probe of two classes: both have a weight vector, lambda counts twice",),
        ),
        Protocol(
            name="slip2021",
            imagenet_templates="imagenet7",
            caption_template="{}",
            preprocessing=Preprocessing("bilinear"),
            probe_config=LinearProbeConfig("trunk", "as it is"),
            metrics=(*_MEAN_PER_CLASS, ("voc2007", "map11")),
            difficult_objects="excluded",
            test_on_all=(),
            deviations=(
                "probe by L-BFGS and validation; SLIP: 90 epochs of SGD with augmentation, the "
                "best epoch on the evaluation split",
                "VOC 2007 is not in SLIP's catalogue: as in clip2021",
            ),
        ),
        Protocol(
            name="laion_cb",
            imagenet_templates="imagenet80",
            caption_template="{}",
            preprocessing=Preprocessing("bicubic"),
            probe_config=LinearProbeConfig(
                "embedding", "unit rows", max_exponent=2, points_per_decade=12
            ),
            metrics=(("voc2007", "map"),),
            difficult_objects="present",
            test_on_all=(
                "sun397",
                "caltech101",
                "eurosat",
            ),  # so there is none left to fit a probe to
            deviations=(
                "probe by L-BFGS, a number of the grid multiplies the penalty; CLIP_benchmark: 10 "
                "epochs of AdamW, the same number is its decay",
                "a class without a positive is left out of mAP; CLIP_benchmark counts it as 0",
            ),
        ),
    )
}
"""Radford et al. (2021); Mu et al. (2021), as their code does it; CLIP_benchmark 1.6."""

DEFAULT_PROTOCOL = "clip2021"


def get_published_protocol(name: str) -> Protocol:
    """The published protocol of that name; `UserError` if there is none."""
    if name not in PROTOCOLS:
        raise make_unknown_name_error("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
