"""What an ablation is: a title, arms, contrasts and expectations, read from YAML and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from uniclip.config import compose
from uniclip.config.binding import bind, setting
from uniclip.errors import UserError, unknown
from uniclip.identity import digest, library_version
from uniclip.io.atomic import remembered
from uniclip.store import Component, Expectation

CONF = Path(__file__).parent / "conf"

Where = dict[str, dict[str, Any]]
"""A condition `group=choice` -> the keys that are set where that choice is in force, be it the
user's, the ablation's (or the arm's) or the default."""


@dataclass(frozen=True, kw_only=True)
class ArmDefinition:
    """An arm as it is written down."""

    label: str = ""
    role: Literal["crossed", "outside", "noise"] = "outside"
    choose: dict[str, str] = setting(dict)
    """Group choices that replace the base's."""
    keep: tuple[str, ...] = ()
    """Sections in which this arm stays with the base whatever `choose` says."""
    off: tuple[str, ...] = ()
    """Components that are turned off."""
    set: dict[str, Any] = setting(dict)
    """Keys that are changed."""
    where: Where = setting(dict)
    """Keys that are changed under a condition."""
    equal: Literal["image_forwards", "compute"] | None = None
    """In what it equals the reference, by the number of its steps (`ablations.plan.matched_budget`)."""
    budgets: tuple[str, ...] | None = None
    """The budgets under which it is run; null = all."""


@dataclass(frozen=True, kw_only=True)
class ContrastDefinition:
    """The difference of two arms."""

    label: str
    plus: str
    minus: str
    primary: bool = False


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A question, and the arms that answer it."""

    name: str
    title: str
    base: dict[str, str] = setting(dict)
    """Group choices of the base, which the user's replace."""
    set: dict[str, Any] = setting(dict)
    """Keys of the base, which the user's replace."""
    where: Where = setting(dict)
    """Keys of the base under a condition; they replace those of `set`, and the user's them."""
    design: Literal["crossed", "leave_one_out", "listed"]
    components: tuple[str, ...] = ()
    """What a crossed or leave-one-out design varies."""
    reference: str = "full"
    """The arm that others are read against."""
    arms: dict[str, ArmDefinition] = setting(dict)
    contrasts: dict[str, ContrastDefinition] = setting(dict)
    primary: dict[str, str]
    """For each data source, the one score on which contrasts are judged."""
    expectations: tuple[Expectation, ...] = ()


def names(folders: Sequence[Path]) -> list[str]:
    """Every ablation there is."""
    return sorted({p.stem for f in folders for p in (f / "ablation").glob("*.yaml")})


def load(name: str, folders: Sequence[Path]) -> Ablation:
    """The ablation of that name; `UserError` if there is none or its file is wrong."""
    known = names(folders)
    if name not in known:
        raise unknown("ablation", name, known)
    path = next(p for f in folders if (p := f / "ablation" / f"{name}.yaml").exists())
    ablation: Ablation = _bound(Ablation, path, {"name": name, **read_yaml(path)})
    if ablation.design == "listed" and ablation.reference not in ablation.arms:
        raise UserError(f"{path}: reference: {unknown('arm', ablation.reference, ablation.arms)}")
    if ablation.design != "listed" and not ablation.components:
        raise UserError(f"{path}: a {ablation.design} design needs components")
    if ablation.reference in ablation.arms and ablation.arms[ablation.reference].equal:
        raise UserError(f"{path}: arms.{ablation.reference}.equal: the reference equals itself")
    _check_conditions("where", ablation.where, path, folders)
    for arm, written in ablation.arms.items():
        _check_conditions(f"arms.{arm}.where", written.where, path, folders)
    return ablation


def in_force(where: Where, choices: Mapping[str, str]) -> dict[str, Any]:
    """The keys that are set under these choices of groups, others being at their defaults."""
    chosen = {f"{g}={c}" for g, c in {**compose.defaults(), **choices}.items()}
    return {k: v for said, values in where.items() if said in chosen for k, v in values.items()}


def _check_conditions(key: str, where: Where, path: Path, folders: Sequence[Path]) -> None:
    for condition in where:
        group, _, choice = condition.partition("=")
        if group not in compose.defaults():
            raise UserError(f"{path}: {key}: {unknown('group', group, compose.defaults())}")
        known = compose.options(group, [compose.CONF, *folders])
        if choice not in known:
            raise UserError(f"{path}: {key}: {unknown(group, choice, known)}")


def components(folders: Sequence[Path]) -> dict[str, Component]:
    """Every component there is, by name; those of later folders join those of earlier ones."""
    declared: dict[str, Component] = {}
    for folder in folders:
        path = folder / "components.yaml"
        for name, values in (read_yaml(path) if path.exists() else {}).items():
            if name in declared:
                raise UserError(f"{path}: component {name} is declared a second time")
            if not isinstance(values, Mapping):
                raise UserError(f"{path}: component {name} must be a mapping, got {values!r}")
            declared[name] = _bound(Component, path, {"name": name, **values})
    return declared


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; `UserError` if it cannot be read or holds another."""
    try:
        # The parser takes longer to import than all else that `list` needs.
        key = digest([path.read_bytes().hex(), library_version("omegaconf")])
        values = remembered("yaml", key, lambda: _parsed(path))
    except Exception as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(values, Mapping):
        raise UserError(f"{path} must hold a mapping")
    return dict(values)


def _parsed(path: Path) -> Any:
    from omegaconf import OmegaConf

    return _named(OmegaConf.to_container(OmegaConf.load(path), resolve=True))


def _named(value: Any) -> Any:
    """The same with text for keys; YAML 1.1 reads the word `off` as false, here it is a key."""
    if isinstance(value, Mapping):
        return {"off" if k is False else str(k): _named(v) for k, v in value.items()}
    return [_named(v) for v in value] if isinstance(value, list) else value


def _bound(cls: type, path: Path, values: Mapping[str, Any]) -> Any:
    try:
        return bind(cls, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
