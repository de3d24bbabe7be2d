"""A protocol of the user's own: `protocol/<name>.yaml` in a folder of hers (`conf_dir=`).

    like: clip2021                    # what is not said here is as there
    templates:
      fashion_mnist: ["a photo of a {}.", "a {} on white."]
      "*": ["{}"]                     # every other set with classes
    names:
      fashion_mnist: {T-shirt/top: [t-shirt, top]}    # the set's own key of a class: its names
    metrics:
      fashion_mnist: mean_per_class

It is a protocol like any other: its scores stand under a hash of their own, so finished runs become
due for evaluation alone, and are scored from the embeddings that are kept.
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
from uniclip.evaluate.protocols import protocol
from uniclip.evaluate.protocols.protocol import DEFAULT_DATASET, Protocol

FOLDER = "protocol"
ALLOWED_METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "mean_per_class"),
    "multilabel": ("map11", "map"),
    "retrieval": ("recall",),
}
"""The metrics that a kind of data set can have."""


@dataclass(frozen=True, kw_only=True)
class CustomProtocol:
    """What the file says."""

    name: str
    like: Literal["clip2021", "slip2021", "laion_cb"] = "clip2021"
    templates: dict[str, tuple[str, ...]] = config_field(dict)
    """By data set; of captions for retrieval."""
    names: dict[str, dict[str, Union[str, tuple[str, ...]]]] = config_field(dict)
    """By data set and class; classes that are not named here are called as in `like`."""
    metrics: dict[str, Literal["accuracy", "mean_per_class", "map11", "map"]] = config_field(dict)


def resolve_protocol(name: str, folders: Sequence[Path]) -> str | dict[str, Any]:
    """What `runtime.protocol` is for the protocol of that name: a published one's name, or all that
    the user's file says, so that a worker needs no file of hers; `UserError` if it is faulty."""
    user_files = {path.stem: path for f in folders for path in sorted((f / FOLDER).glob("*.yaml"))}
    for reserved_name in sorted(user_files.keys() & protocol.PROTOCOLS.keys()):
        raise UserError(
            f"{user_files[reserved_name]}: {reserved_name} is a published protocol; call yours otherwise"
        )
    if name in protocol.PROTOCOLS:
        return name
    if name not in user_files:
        raise make_unknown_name_error("protocol", name, [*protocol.PROTOCOLS, *user_files])
    definition = compose.load_yaml(user_files[name])
    if not isinstance(definition, dict):
        raise UserError(f"{user_files[name]} is no protocol: write templates:, names: or metrics:")
    definition = {**definition, "name": name}
    build_protocol(definition)
    return definition


def build_protocol(definition: str | Mapping[str, Any]) -> Protocol:
    """The protocol that `runtime.protocol` stands for; `UserError` if it is faulty."""
    if isinstance(definition, str):
        return protocol.get_published_protocol(definition)
    context = f"protocol {definition.get('name')}"
    custom_protocol: CustomProtocol = bind(CustomProtocol, definition, f"{context}: ")
    base = protocol.get_published_protocol(custom_protocol.like)
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
            definition = " or ".join(allowed_metrics)
            raise UserError(f"{context}: {name} is judged by {definition}, not by {metric}")
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
    )


def _canonical_name(name: str) -> str:
    """The name under which a data set is known."""
    return name if name == DEFAULT_DATASET else datasets.get(name).name


def _validate_templates(name: str, templates: tuple[str, ...], context: str) -> tuple[str, ...]:
    valid_templates = prompts.validate_templates(templates, f"{context}: {name}")
    if (
        name != DEFAULT_DATASET
        and datasets.get(name).kind == "retrieval"
        and len(valid_templates) > 1
    ):
        raise UserError(f"{context}: {name} takes one template, for its captions")
    return valid_templates
