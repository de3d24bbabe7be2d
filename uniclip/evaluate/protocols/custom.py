"""User-defined protocols: `protocol/<name>.yaml` in a folder given as `conf_dir=`.

    base: clip2021                    # defines what the file leaves out
    templates:
      fashion_mnist: ["a photo of a {}.", "a {} on white."]
      "*": ["{}"]                     # every other data set with classes
    names:
      fashion_mnist: {T-shirt/top: [t-shirt, top]}    # the data set's key of a class: its names
    metrics:
      fashion_mnist: mean_per_class
    fine_tuning: {epochs: 5, learning_rates: [1e-5]}  # the rest of the recipe as it is stated

Its scores are stored under an evaluation hash like those of any protocol: finished runs need
evaluation only, and are scored from cached embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union

from uniclip.config import compose
from uniclip.config.binding import bind, config_field
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate import datasets, prompts
from uniclip.evaluate.datasets.images import CAPTIONED_KINDS
from uniclip.evaluate.protocols.fine_tuning import FineTuningConfig
from uniclip.evaluate.protocols.protocol import DEFAULT_DATASET, EvaluationProtocol
from uniclip.evaluate.protocols.published import PROTOCOLS, get_published_protocol

FOLDER = "protocol"
ALLOWED_METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "mean_per_class"),
    "multilabel": ("map11", "map"),
    "retrieval": ("recall",),
    "composition": ("accuracy",),
    "association": ("jaccard",),
}
"""The metrics that each kind of data set can have."""


@dataclass(frozen=True, kw_only=True)
class CustomProtocol:
    """The content of the file."""

    name: str
    base: Literal["clip2021", "slip2021", "laion_cb"] = "clip2021"
    templates: dict[str, tuple[str, ...]] = config_field(dict)
    """Prompt templates by data set; for retrieval, of captions."""
    names: dict[str, dict[str, Union[str, tuple[str, ...]]]] = config_field(dict)
    """Prompt names by data set and class; the other classes are named as in `base`."""
    metrics: dict[str, Literal["accuracy", "mean_per_class", "map11", "map"]] = config_field(dict)
    fine_tuning: FineTuningConfig = config_field(FineTuningConfig)
    """The recipe of full fine-tuning."""


def resolve_protocol(name: str, folders: Sequence[Path]) -> str | dict[str, Any]:
    """Return the value of `runtime.protocol` for the protocol of that name.

    The name of a published one, or the content of the user's file, so that workers do not need the
    file. Raises `UserError` if the name is unknown or the file is faulty.
    """
    user_files = {path.stem: path for f in folders for path in sorted((f / FOLDER).glob("*.yaml"))}
    for reserved_name in sorted(user_files.keys() & PROTOCOLS.keys()):
        raise UserError(
            f"{user_files[reserved_name]}: {reserved_name} is a published protocol; "
            "choose another name"
        )
    if name in PROTOCOLS:
        return name
    if name not in user_files:
        raise make_unknown_name_error("protocol", name, [*PROTOCOLS, *user_files])
    definition = compose.load_yaml(user_files[name])
    if not isinstance(definition, dict):
        raise UserError(
            f"{user_files[name]} is not a protocol: write templates:, names: or metrics:"
        )
    definition = {**definition, "name": name}
    build_protocol(definition)
    return definition


def build_protocol(definition: str | Mapping[str, Any]) -> EvaluationProtocol:
    """Return the protocol that `runtime.protocol` defines; `UserError` if it is faulty."""
    if isinstance(definition, str):
        return get_published_protocol(definition)
    context = f"protocol {definition.get('name')}"
    custom_protocol: CustomProtocol = bind(CustomProtocol, definition, f"{context}: ")
    base = get_published_protocol(custom_protocol.base)
    templates = {
        _canonical_name(name): _validate_templates(name, dataset_templates, context)
        for name, dataset_templates in custom_protocol.templates.items()
    }
    names = {
        _canonical_name(name): {
            c: (n,) if isinstance(n, str) else n for c, n in dataset_names.items()
        }
        for name, dataset_names in custom_protocol.names.items()
    }
    for name, metric in custom_protocol.metrics.items():
        allowed_metrics = ALLOWED_METRICS[datasets.get(name).kind]
        if metric not in allowed_metrics:
            raise UserError(
                f"{context}: the metric of {name} is {' or '.join(allowed_metrics)}, not {metric}"
            )
    metrics = {
        **dict(base.metrics),
        **{_canonical_name(n): m for n, m in custom_protocol.metrics.items()},
    }
    return replace(
        base,
        name=custom_protocol.name,
        base=base.name,
        custom_templates=templates,
        custom_names=names,
        metrics=tuple(metrics.items()),
        fine_tuning=custom_protocol.fine_tuning,
    )


def _canonical_name(name: str) -> str:
    """Return the name of a data set in the catalogue, for one of its aliases."""
    return name if name == DEFAULT_DATASET else datasets.get(name).name


def _validate_templates(name: str, templates: tuple[str, ...], context: str) -> tuple[str, ...]:
    valid_templates = prompts.validate_templates(templates, f"{context}: {name}")
    if (
        name != DEFAULT_DATASET
        and datasets.get(name).kind in CAPTIONED_KINDS
        and len(valid_templates) > 1
    ):
        raise UserError(f"{context}: {name} takes one template, that of a caption")
    return valid_templates
