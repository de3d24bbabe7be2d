"""Published values from the literature, and whether their setup is that of an arm.

The values are in `analysis/data/published.csv`, each with its source. The comparison of setups is
computed from what a row and an arm state (backbone, pre-training data, protocol); where one of them
states nothing, it is unknown. Published values enter no mean and are never bold.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from uniclip import evaluate
from uniclip.config.binding import bind
from uniclip.config.compose import flatten
from uniclip.evaluate.protocols.published import DEFAULT_PROTOCOL
from uniclip.store import Arm

SCORE_NAMES = {
    ("zero_shot", "accuracy"): "zeroshot",
    ("supervised", "accuracy"): "zeroshot",
    ("linear_probe", "accuracy"): "probe",
    ("fine_tuning", "accuracy"): "finetune",
    **{("retrieval", f"text_retrieval_r@{k}"): f"retrieval.i2t.r{k}" for k in (1, 5, 10)},
    **{("retrieval", f"image_retrieval_r@{k}"): f"retrieval.t2i.r{k}" for k in (1, 5, 10)},
}
"""(task, metric) of a row -> name of the score. Rows of other tasks are in no table. After training
on labels, UniCL's code classifies by class names, as without (`main.py` of its repository)."""

BACKBONES: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {
    ("vit_base_patch32_clip_quickgelu_224", ()): "ViT-B/32",
    ("vit_base_patch32_clip_224", ()): "ViT-B/32",
    ("vit_base_patch16_clip_quickgelu_224", ()): "ViT-B/16",
    ("vit_base_patch16_clip_224", ()): "ViT-B/16",
    ("vit_base_patch16_224", ()): "ViT-B/16",
    ("vit_small_patch16_224", (("num_heads", "12"),)): "ViT-S/16",
    ("swin_tiny_patch4_window7_224", ()): "Swin-T",
    ("swin_base_patch4_window7_224", ()): "Swin-B",
    ("resnet50_clip", ()): "RN50",
}
"""(timm model, options) at 224 pixels -> the name that papers use."""
BACKBONE_IMAGE_SIZE = 224
IMAGE_ENCODER_KEY = "model.image.name"
TRAINING_ONLY_OPTIONS = (
    "drop_rate",
    "drop_path_rate",
    "attn_drop_rate",
    "proj_drop_rate",
    "pretrained_cfg_overlay",
)
"""Options that change how a model is trained, not its architecture."""
WEIGHT_KEYS = ("pretrained", "model.image.pretrained", "model.text.pretrained")
"""Keys that name weights from other data."""
CUSTOM_SOURCES = ("csv", "webdataset", "huggingface")
"""Data sources without a known content; `runtime.pretraining_data` may state it."""


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One published value: a row of `published.csv`."""

    method: str
    backbone: str
    pretraining_data: str
    protocol: str
    """Name of a protocol that the source is known to follow; empty if it states none."""
    task: str
    dataset: str
    metric: str
    value: float
    """In percent."""
    source: str
    confidence: str
    note: str

    @property
    def score(self) -> str | None:
        """Name of the score that measures the same; None without one."""
        return SCORE_NAMES.get((self.task, self.metric))


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Setup in which a value was obtained; None or empty if not stated."""

    backbone: str | None
    pretraining_data: str | None
    protocol: str | None


@cache
def load_published_results() -> tuple[PublishedResult, ...]:
    """Return every published value, in the order of the file."""
    csv_content = (files("analysis") / "data" / "published.csv").read_text(encoding="utf-8")
    csv_reader = csv.DictReader(csv_content.splitlines())
    return tuple(bind(PublishedResult, {**row, "value": float(row["value"])}) for row in csv_reader)


def list_published_datasets(
    evaluation_hashes: Mapping[str, Mapping[str, str]], missing_datasets: Iterable[str]
) -> list[str]:
    """Return the data sets of a plan that a published protocol evaluates, present ones first.

    Args:
        evaluation_hashes: arm -> data set that is present -> evaluation hash.
        missing_datasets: data sets that are not present.
    """
    available_datasets = [d for evaluations in evaluation_hashes.values() for d in evaluations]
    return [
        d
        for d in dict.fromkeys([*available_datasets, *missing_datasets])
        if d not in evaluate.BENCHMARKS
    ]


def select_published_results(
    column_keys: Collection[tuple[str, str]],
) -> dict[tuple[str, ...], list[PublishedResult]]:
    """Return the published values for these (data set, score) columns, grouped by table line.

    A line is (method, backbone, pre-training data, protocol, source); lines and values are in the
    order of the file.
    """
    results_by_line: dict[tuple[str, ...], list[PublishedResult]] = {}
    for published_result in load_published_results():
        if (published_result.dataset, published_result.score) in column_keys:
            line_key = (
                published_result.method,
                published_result.backbone,
                published_result.pretraining_data,
                published_result.protocol,
                published_result.source,
            )
            results_by_line.setdefault(line_key, []).append(published_result)
    return results_by_line


def get_reported_setup(published_result: PublishedResult) -> Setup:
    """Return the setup of a published value."""
    return Setup(**{f.name: getattr(published_result, f.name) or None for f in fields(Setup)})


def get_arm_setup(base_config: Mapping[str, Any], config_diff: Mapping[str, Any]) -> Setup:
    """Return the setup of an arm's scores on published data sets.

    Args:
        base_config: the base configuration, nested.
        config_diff: dotted key -> value of the arm.
    """
    values = {**flatten(base_config), **config_diff}
    source = values.get("data.name")
    source_is_known = source not in CUSTOM_SOURCES and not any(
        values.get(key) for key in WEIGHT_KEYS
    )
    return Setup(
        backbone=_get_backbone_name(
            values, config_diff if IMAGE_ENCODER_KEY in config_diff else values
        ),
        pretraining_data=source if source_is_known else values.get("runtime.pretraining_data"),
        protocol=get_protocol_name(base_config, config_diff),
    )


def get_protocol_name(base_config: Mapping[str, Any], config_diff: Mapping[str, Any]) -> str:
    """Return the name of the protocol that evaluates an arm on published data sets.

    A custom protocol is a mapping with a name. The arguments are those of `get_arm_setup`.
    """
    values_by_priority = [config_diff, {**flatten(base_config), **config_diff}]
    protocol_names = [
        values.get(f"runtime.protocol{suffix}")
        for values in values_by_priority
        for suffix in ("", ".name")
    ]
    return str(next(filter(None, protocol_names), DEFAULT_PROTOCOL))


def compare_setups(reported_setup: Setup, arm_setup: Setup) -> str:
    """Return "same", "differs in: ..." or "unknown: ... not stated"."""
    differing, not_stated = [], []
    for f in fields(Setup):
        reported_value, arm_value = getattr(reported_setup, f.name), getattr(arm_setup, f.name)
        field_label = f.name.replace("pretraining", "pre-training").replace("_", " ")
        if not reported_value or not arm_value:
            not_stated.append(field_label)
        elif _normalize_text(reported_value) != _normalize_text(arm_value):
            differing.append(field_label)
    if differing:
        not_stated_text = f" (not stated: {', '.join(not_stated)})" if not_stated else ""
        return f"differs in: {', '.join(differing)}{not_stated_text}"
    return f"unknown: {', '.join(not_stated)} not stated" if not_stated else "same"


def group_arms_by_comparison(
    base_config: Mapping[str, Any], published_result: PublishedResult, arms: Iterable[Arm]
) -> dict[str, list[str]]:
    """Return comparison of setups -> names of the arms; one, unless the arms' setups differ."""
    reported_setup = get_reported_setup(published_result)
    arms_by_comparison: dict[str, list[str]] = {}
    for arm in arms:
        comparison = compare_setups(reported_setup, get_arm_setup(base_config, arm.config_diff))
        arms_by_comparison.setdefault(comparison, []).append(arm.name)
    return arms_by_comparison


def _get_backbone_name(values: Mapping[str, Any], options_source: Mapping[str, Any]) -> str | None:
    """Return the published name of an image encoder; else timm's name and the image size.

    Args:
        values: flat configuration of the arm.
        options_source: flat configuration with the encoder's options: of the arm alone if it has
            an encoder of its own, because the options of the base configuration do not apply then.
    """
    if IMAGE_ENCODER_KEY not in values:
        return None
    name, image_size = str(values[IMAGE_ENCODER_KEY]), values.get("model.image.image_size")
    prefix = "model.image.options."
    options = {k.removeprefix(prefix): v for k, v in options_source.items() if k.startswith(prefix)}
    architecture_options = {
        k: v for k, v in options.items() if k.split(".")[0] not in TRAINING_ONLY_OPTIONS
    }
    options_key = tuple(sorted((k, str(v)) for k, v in architecture_options.items()))
    if image_size == BACKBONE_IMAGE_SIZE and (name, options_key) in BACKBONES:
        return BACKBONES[name, options_key]
    return f"{name} at {image_size} pixels"


def _normalize_text(text: str) -> str:
    return "".join(text.casefold().split())
