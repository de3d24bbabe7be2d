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
from uniclip.config.binding import bind, setting
from uniclip.errors import UserError, unknown
from uniclip.evaluate import datasets, prompts
from uniclip.evaluate.protocols import protocol
from uniclip.evaluate.protocols.protocol import OTHERS, Protocol

FOLDER = "protocol"
FITTING: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "mean_per_class"),
    "multilabel": ("map11", "map"),
    "retrieval": ("recall",),
}
"""The metrics that a kind of data set can have."""


@dataclass(frozen=True, kw_only=True)
class OwnProtocol:
    """What the file says."""

    name: str
    like: Literal["clip2021", "slip2021", "laion_cb"] = "clip2021"
    templates: dict[str, tuple[str, ...]] = setting(dict)
    """By data set; of captions for retrieval."""
    names: dict[str, dict[str, Union[str, tuple[str, ...]]]] = setting(dict)
    """By data set and class; classes that are not named here are called as in `like`."""
    metrics: dict[str, Literal["accuracy", "mean_per_class", "map11", "map"]] = setting(dict)


def found(name: str, folders: Sequence[Path]) -> str | dict[str, Any]:
    """What `runtime.protocol` is for the protocol of that name: a published one's name, or all that
    the user's file says, so that a worker needs no file of hers; `UserError` if it is faulty."""
    own = {path.stem: path for f in folders for path in sorted((f / FOLDER).glob("*.yaml"))}
    for taken in sorted(own.keys() & protocol.PROTOCOLS.keys()):
        raise UserError(f"{own[taken]}: {taken} is a published protocol; call yours otherwise")
    if name in protocol.PROTOCOLS:
        return name
    if name not in own:
        raise unknown("protocol", name, [*protocol.PROTOCOLS, *own])
    said = compose.read(own[name])
    if not isinstance(said, dict):
        raise UserError(f"{own[name]} is no protocol: write templates:, names: or metrics:")
    said = {**said, "name": name}
    chosen(said)
    return said


def chosen(said: str | Mapping[str, Any]) -> Protocol:
    """The protocol that `runtime.protocol` stands for; `UserError` if it is faulty."""
    if isinstance(said, str):
        return protocol.published(said)
    where = f"protocol {said.get('name')}"
    own: OwnProtocol = bind(OwnProtocol, said, f"{where}: ")
    base = protocol.published(own.like)
    templates = {
        _set(name): _templates(name, given, where) for name, given in own.templates.items()
    }
    names = {
        _set(name): {c: (n,) if isinstance(n, str) else n for c, n in of.items()}
        for name, of in own.names.items()
    }
    for name, metric in own.metrics.items():
        fitting = FITTING[datasets.get(name).kind]
        if metric not in fitting:
            said = " or ".join(fitting)
            raise UserError(f"{where}: {name} is judged by {said}, not by {metric}")
    metrics = {**dict(base.metrics), **{_set(n): m for n, m in own.metrics.items()}}
    return replace(
        base,
        name=own.name,
        like=base.name,
        own_templates=templates,
        own_names=names,
        metrics=tuple(metrics.items()),
    )


def _set(name: str) -> str:
    """The name under which a data set is known."""
    return name if name == OTHERS else datasets.get(name).name


def _templates(name: str, given: tuple[str, ...], where: str) -> tuple[str, ...]:
    checked = prompts.checked(given, f"{where}: {name}")
    if name != OTHERS and datasets.get(name).kind == "retrieval" and len(checked) > 1:
        raise UserError(f"{where}: {name} takes one template, for its captions")
    return checked
