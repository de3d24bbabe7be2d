"""Published values beside our own, and how far their conditions are ours.

The values stand in `analysis/data/published.csv`, each with its source. A verdict is worked out
from what a row and an arm state of themselves (backbone, pre-training data, protocol); where one of
them states nothing, it is unknown. Published values are in no mean of ours, and never bold.
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
from uniclip.evaluate.protocols import protocol as protocols
from uniclip.store import Arm, Plan

SCORE_NAMES = {
    ("zero_shot", "accuracy"): "zeroshot",
    ("linear_probe", "accuracy"): "probe",
    **{("retrieval", f"text_retrieval_r@{k}"): f"retrieval.i2t.r{k}" for k in (1, 5, 10)},
    **{("retrieval", f"image_retrieval_r@{k}"): f"retrieval.t2i.r{k}" for k in (1, 5, 10)},
}
"""Task and metric of a row -> our score of that name. Others have no table to stand beside."""

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
"""timm's models and their options, at 224 pixels, by what the papers call them."""
BACKBONE_IMAGE_SIZE = 224
IMAGE_ENCODER_KEY = "model.image.name"
TRAINING_ONLY_OPTIONS = (
    "drop_rate",
    "drop_path_rate",
    "attn_drop_rate",
    "proj_drop_rate",
    "pretrained_cfg_overlay",
)
"""Options that change how a model learns, not which it is."""
CUSTOM_SOURCES = ("csv",)
"""Sources that do not say what they hold; runtime.pretraining_data may."""


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One published value, as `published.csv` has it."""

    method: str
    backbone: str
    pretraining_data: str
    protocol: str
    """One of ours, where the source is known to follow it; empty = not stated."""
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
        """Our name of what was measured; None if we measure no such thing."""
        return SCORE_NAMES.get((self.task, self.metric))


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a value was obtained under; None or empty = not stated."""

    backbone: str | None
    pretraining_data: str | None
    protocol: str | None


@cache
def load_published_results() -> tuple[PublishedResult, ...]:
    """Every published value."""
    csv_content = (files("analysis") / "data" / "published.csv").read_text(encoding="utf-8")
    csv_reader = csv.DictReader(csv_content.splitlines())
    return tuple(bind(PublishedResult, {**row, "value": float(row["value"])}) for row in csv_reader)


def list_published_datasets(plan: Plan) -> list[str]:
    """The published sets that the plan asks for, those that are here first: all that is judged by
    a published protocol, and no benchmark of ours."""
    available_datasets = dict.fromkeys(
        d for arm_evaluations in plan.evaluation_hashes.values() for d in arm_evaluations
    )
    return [
        d for d in {**available_datasets, **plan.missing_datasets} if d not in evaluate.BENCHMARKS
    ]


def select_published_results(
    column_keys: Collection[tuple[str, str]],
) -> dict[tuple[str, ...], list[PublishedResult]]:
    """The rows that stand beside a table with these (data set, score) columns, in the file's order,
    by what one line of a table can hold: method, backbone, data, protocol, source."""
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
    """The conditions of a published value."""
    return Setup(**{f.name: getattr(published_result, f.name) or None for f in fields(Setup)})


def get_arm_setup(plan: Plan, arm: Arm) -> Setup:
    """The conditions of an arm's scores on published sets."""
    values = {**flatten(plan.base_config), **arm.config_diff}
    source = values.get("data.name")
    source_is_known = source not in CUSTOM_SOURCES and not values.get("pretrained")
    return Setup(
        backbone=_get_backbone_name(
            values, arm.config_diff if IMAGE_ENCODER_KEY in arm.config_diff else values
        ),
        pretraining_data=source if source_is_known else values.get("runtime.pretraining_data"),
        protocol=get_protocol_name(plan, arm),
    )


def get_protocol_name(plan: Plan, arm: Arm) -> str:
    """The name of the protocol by which an arm is judged on published sets."""
    values = {**flatten(plan.base_config), **arm.config_diff}
    settings_by_priority = [
        arm.config_diff,
        values,
    ]  # one of the user's own is a mapping with a name
    protocol_names = [
        v.get(f"runtime.protocol{suffix}") for v in settings_by_priority for suffix in ("", ".name")
    ]
    return str(next(filter(None, protocol_names), protocols.DEFAULT_PROTOCOL))


def compare_setups(reported_setup: Setup, arm_setup: Setup) -> str:
    """ "same", "differs in: ..." or "unknown: ... not stated"; what is not stated is named too."""
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


def group_arms_by_verdict(
    plan: Plan, published_result: PublishedResult, arms: Iterable[Arm]
) -> dict[str, list[str]]:
    """Verdict -> the names of the arms that it is about: one, unless arms differ in conditions."""
    arms_by_verdict: dict[str, list[str]] = {}
    for arm in arms:
        arms_by_verdict.setdefault(
            compare_setups(get_reported_setup(published_result), get_arm_setup(plan, arm)), []
        ).append(arm.name)
    return arms_by_verdict


def _get_backbone_name(values: Mapping[str, Any], options_source: Mapping[str, Any]) -> str | None:
    """The published name of an image encoder; else timm's, and its side in pixels.

    options_of: where its options stand: an arm with another encoder has none of the base's.
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
