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
from uniclip.config.compose import flat
from uniclip.evaluate.protocols import protocol as protocols
from uniclip.store import Arm, Plan

SCORES = {
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
PIXELS = 224
IMAGE = "model.image.name"
NOT_OF_THE_BACKBONE = (
    "drop_rate",
    "drop_path_rate",
    "attn_drop_rate",
    "proj_drop_rate",
    "pretrained_cfg_overlay",
)
"""Options that change how a model learns, not which it is."""
USERS_OWN = ("csv",)
"""Sources that do not say what they hold; runtime.pretraining_data may."""


@dataclass(frozen=True, kw_only=True)
class Row:
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
        return SCORES.get((self.task, self.metric))


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a value was obtained under; None or empty = not stated."""

    backbone: str | None
    pretraining_data: str | None
    protocol: str | None


@cache
def rows() -> tuple[Row, ...]:
    """Every published value."""
    text = (files("analysis") / "data" / "published.csv").read_text(encoding="utf-8")
    table = csv.DictReader(text.splitlines())
    return tuple(bind(Row, {**row, "value": float(row["value"])}) for row in table)


def sets(plan: Plan) -> list[str]:
    """The published sets that the plan asks for, those that are here first: all that is judged by
    a published protocol, and no benchmark of ours."""
    here = dict.fromkeys(d for evaluated in plan.evaluations.values() for d in evaluated)
    return [d for d in {**here, **plan.missing} if d not in evaluate.BENCHMARKS]


def beside(columns: Collection[tuple[str, str]]) -> dict[tuple[str, ...], list[Row]]:
    """The rows that stand beside a table with these (data set, score) columns, in the file's order,
    by what one line of a table can hold: method, backbone, data, protocol, source."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows():
        if (row.dataset, row.score) in columns:
            line = (row.method, row.backbone, row.pretraining_data, row.protocol, row.source)
            found.setdefault(line, []).append(row)
    return found


def stated(row: Row) -> Conditions:
    """The conditions of a published value."""
    return Conditions(**{f.name: getattr(row, f.name) or None for f in fields(Conditions)})


def of_arm(plan: Plan, arm: Arm) -> Conditions:
    """The conditions of an arm's scores on published sets."""
    values = {**flat(plan.base), **arm.delta}
    source = values.get("data.name")
    known = source not in USERS_OWN and not values.get("init")
    return Conditions(
        backbone=_backbone(values, arm.delta if IMAGE in arm.delta else values),
        pretraining_data=source if known else values.get("runtime.pretraining_data"),
        protocol=protocol_of(plan, arm),
    )


def protocol_of(plan: Plan, arm: Arm) -> str:
    """The name of the protocol by which an arm is judged on published sets."""
    values = {**flat(plan.base), **arm.delta}
    own = [arm.delta, values]  # one of the user's own is a mapping with a name
    names = [v.get(f"runtime.protocol{end}") for v in own for end in ("", ".name")]
    return str(next(filter(None, names), protocols.DEFAULT))


def verdict(theirs: Conditions, ours: Conditions) -> str:
    """ "same", "differs in: ..." or "unknown: ... not stated"; what is not stated is named too."""
    differing, unknown = [], []
    for f in fields(Conditions):
        one, other = getattr(theirs, f.name), getattr(ours, f.name)
        said = f.name.replace("pretraining", "pre-training").replace("_", " ")
        if not one or not other:
            unknown.append(said)
        elif _plain(one) != _plain(other):
            differing.append(said)
    if differing:
        rest = f" (not stated: {', '.join(unknown)})" if unknown else ""
        return f"differs in: {', '.join(differing)}{rest}"
    return f"unknown: {', '.join(unknown)} not stated" if unknown else "same"


def verdicts(plan: Plan, row: Row, arms: Iterable[Arm]) -> dict[str, list[str]]:
    """Verdict -> the names of the arms that it is about: one, unless arms differ in conditions."""
    found: dict[str, list[str]] = {}
    for arm in arms:
        found.setdefault(verdict(stated(row), of_arm(plan, arm)), []).append(arm.name)
    return found


def _backbone(values: Mapping[str, Any], options_of: Mapping[str, Any]) -> str | None:
    """The published name of an image encoder; else timm's, and its side in pixels.

    options_of: where its options stand: an arm with another encoder has none of the base's.
    """
    if IMAGE not in values:
        return None
    name, pixels = str(values[IMAGE]), values.get("model.image.pixels")
    prefix = "model.image.options."
    options = {k.removeprefix(prefix): v for k, v in options_of.items() if k.startswith(prefix)}
    of_it = {k: v for k, v in options.items() if k.split(".")[0] not in NOT_OF_THE_BACKBONE}
    kept = tuple(sorted((k, str(v)) for k, v in of_it.items()))
    if pixels == PIXELS and (name, kept) in BACKBONES:
        return BACKBONES[name, kept]
    return f"{name} at {pixels} pixels"


def _plain(text: str) -> str:
    return "".join(text.casefold().split())
