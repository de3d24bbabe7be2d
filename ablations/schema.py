"""What an ablation is: a title, arms, contrasts and expectations, read from YAML and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from uniclip.config import compose
from uniclip.config.binding import bind, config_field
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.identity import digest, get_library_version
from uniclip.io.atomic import disk_memoize
from uniclip.store import Component, PlantedEffect

CONF = Path(__file__).parent / "conf"

ConditionalOverrides = dict[str, dict[str, Any]]
"""A condition `group=choice` -> the keys that are set where that choice is in force, be it the
user's, the ablation's (or the arm's) or the default."""


@dataclass(frozen=True, kw_only=True)
class ArmDefinition:
    """An arm as it is written down."""

    label: str = ""
    role: Literal["crossed", "outside", "noise"] = "outside"
    groups: dict[str, str] = config_field(dict)
    """Group choices that replace the base's."""
    keep_sections: tuple[str, ...] = ()
    """Sections in which this arm stays with the base whatever `choose` says."""
    components_off: tuple[str, ...] = ()
    """Components that are turned off."""
    overrides: dict[str, Any] = config_field(dict)
    """Keys that are changed."""
    conditional_overrides: ConditionalOverrides = config_field(dict)
    """Keys that are changed under a condition."""
    match_budget: Literal["image_forwards", "compute"] | None = None
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
    groups: dict[str, str] = config_field(dict)
    """Group choices of the base, which the user's replace."""
    overrides: dict[str, Any] = config_field(dict)
    """Keys of the base, which the user's replace."""
    conditional_overrides: ConditionalOverrides = config_field(dict)
    """Keys of the base under a condition; they replace those of `set`, and the user's them."""
    design: Literal["crossed", "leave_one_out", "listed"]
    components: tuple[str, ...] = ()
    """What a crossed or leave-one-out design varies."""
    reference: str = "full"
    """The arm that others are read against."""
    arms: dict[str, ArmDefinition] = config_field(dict)
    contrasts: dict[str, ContrastDefinition] = config_field(dict)
    primary_metrics: dict[str, str]
    """For each data source, the one score on which contrasts are judged."""
    planted_effects: tuple[PlantedEffect, ...] = ()


def list_ablations(folders: Sequence[Path]) -> list[str]:
    """Every ablation there is."""
    return sorted({p.stem for f in folders for p in (f / "ablation").glob("*.yaml")})


def load_ablation(name: str, folders: Sequence[Path]) -> Ablation:
    """The ablation of that name; `UserError` if there is none or its file is wrong."""
    ablation_names = list_ablations(folders)
    if name not in ablation_names:
        raise make_unknown_name_error("ablation", name, ablation_names)
    path = next(p for f in folders if (p := f / "ablation" / f"{name}.yaml").exists())
    ablation: Ablation = _bind_file(Ablation, path, {"name": name, **read_yaml(path)})
    if ablation.design == "listed" and ablation.reference not in ablation.arms:
        raise UserError(
            f"{path}: reference: {make_unknown_name_error('arm', ablation.reference, ablation.arms)}"
        )
    if ablation.design != "listed" and not ablation.components:
        raise UserError(f"{path}: a {ablation.design} design needs components")
    if ablation.reference in ablation.arms and ablation.arms[ablation.reference].match_budget:
        raise UserError(f"{path}: arms.{ablation.reference}.equal: the reference equals itself")
    _check_conditions("where", ablation.conditional_overrides, path, folders)
    for arm, definition in ablation.arms.items():
        _check_conditions(f"arms.{arm}.where", definition.conditional_overrides, path, folders)
    return ablation


def select_active_overrides(
    conditional_overrides: ConditionalOverrides, choices: Mapping[str, str]
) -> dict[str, Any]:
    """The keys that are set under these choices of groups, others being at their defaults."""
    active_conditions = {
        f"{g}={c}" for g, c in {**compose.get_default_choices(), **choices}.items()
    }
    return {
        k: v
        for condition, values in conditional_overrides.items()
        if condition in active_conditions
        for k, v in values.items()
    }


def _check_conditions(
    key: str, conditional_overrides: ConditionalOverrides, path: Path, folders: Sequence[Path]
) -> None:
    for condition in conditional_overrides:
        group, _, choice = condition.partition("=")
        if group not in compose.get_default_choices():
            raise UserError(
                f"{path}: {key}: {make_unknown_name_error('group', group, compose.get_default_choices())}"
            )
        valid_choices = compose.list_choices(group, [compose.CONF, *folders])
        if choice not in valid_choices:
            raise UserError(
                f"{path}: {key}: {make_unknown_name_error(group, choice, valid_choices)}"
            )


def load_components(folders: Sequence[Path]) -> dict[str, Component]:
    """Every component there is, by name; those of later folders join those of earlier ones."""
    declared: dict[str, Component] = {}
    for folder in folders:
        path = folder / "components.yaml"
        for name, values in (read_yaml(path) if path.exists() else {}).items():
            if name in declared:
                raise UserError(f"{path}: component {name} is declared a second time")
            if not isinstance(values, Mapping):
                raise UserError(f"{path}: component {name} must be a mapping, got {values!r}")
            declared[name] = _bind_file(Component, path, {"name": name, **values})
    return declared


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; `UserError` if it cannot be read or holds another."""
    try:
        # The parser takes longer to import than all else that `list` needs.
        key = digest([path.read_bytes().hex(), get_library_version("omegaconf")])
        values = disk_memoize("yaml", key, lambda: _parse_yaml(path))
    except Exception as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(values, Mapping):
        raise UserError(f"{path} must hold a mapping")
    return dict(values)


def _parse_yaml(path: Path) -> Any:
    from omegaconf import OmegaConf

    return _stringify_keys(OmegaConf.to_container(OmegaConf.load(path), resolve=True))


def _stringify_keys(value: Any) -> Any:
    """The same with text for keys; YAML 1.1 reads the word `off` as false, here it is a key."""
    if isinstance(value, Mapping):
        return {"off" if k is False else str(k): _stringify_keys(v) for k, v in value.items()}
    return [_stringify_keys(v) for v in value] if isinstance(value, list) else value


def _bind_file(cls: type, path: Path, values: Mapping[str, Any]) -> Any:
    try:
        return bind(cls, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
