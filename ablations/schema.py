"""Ablations and components as they are declared in YAML: read, bound to types and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from uniclip.commands.definition import CommandDefinition
from uniclip.config import compose
from uniclip.config.binding import bind, config_field
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.io.hashing import digest, get_library_version
from uniclip.io.memo import disk_memoize
from uniclip.store import DEFAULT_LOOKS, Component, Look, Margin, PlantedEffect, Prediction

CONF = Path(__file__).parent / "conf"

MAX_ERROR = 0.05
"""Largest sum of the levels of an ablation's looks."""
MIN_LOOK_SEEDS = 3
"""Fewest seeds of a look: with two, a t test has one degree of freedom."""

DesignName = Literal[
    "crossed",
    "leave_one_out",
    "add_one_in",
    "cumulative",
    "paths",
    "fractional",
    "plackett_burman",
    "shapley",
    "dose",
    "listed",
]
"""Which combinations of the components are trained (docs/designs.md); listed: the file's arms."""

ConditionalOverrides = dict[str, dict[str, Any]]
"""A condition `group=choice` -> the keys that are set where that choice is in effect, whether it is
the user's, the ablation's, the arm's or the default."""


@dataclass(frozen=True, kw_only=True)
class ArmDefinition:
    """An arm as it is declared."""

    label: str = ""
    role: Literal["crossed", "outside", "setting", "noise"] = "outside"
    groups: dict[str, str] = config_field(dict)
    """Group choices that replace those of the base."""
    keep_sections: tuple[str, ...] = ()
    """Sections of the configuration that are taken from the base in spite of `groups`."""
    components_off: tuple[str, ...] = ()
    """Components that this arm turns off."""
    overrides: dict[str, Any] = config_field(dict)
    """Keys that this arm changes."""
    conditional_overrides: ConditionalOverrides = config_field(dict)
    """Keys that this arm changes under a condition."""
    match_budget: Literal["image_forwards", "compute"] | None = None
    """The quantity in which the number of steps makes this arm equal to the reference
    (`ablations.plan.matched_budget`)."""
    budgets: tuple[str, ...] | None = None
    """The budgets under which this arm is run; null = all."""
    doses: dict[str, float] = config_field(dict)
    """Component -> dose, where `overrides` turn it neither off nor fully on."""
    must_differ: tuple[str, ...] = ()
    """With `command`: metrics and scores in which short runs must differ from those of the
    reference; empty = any one."""
    must_equal: tuple[str, ...] = ()
    """With `command`: metrics and scores in which they must not differ."""


@dataclass(frozen=True, kw_only=True)
class ContrastDefinition:
    """The difference between two arms."""

    label: str
    plus: str
    minus: str
    primary: bool = False


@dataclass(frozen=True, kw_only=True)
class SettingDefinition:
    """Another value of a choice that is not a component, under which components are varied too."""

    label: str
    overrides: dict[str, Any] = config_field(dict)
    """Keys that the setting changes."""
    groups: dict[str, str] = config_field(dict)
    """Group choices that replace those of the base, such as {model: vit_s_16}."""
    compute: float | None = config_field(None, above=0)
    """Training compute as a multiple of the default's: effects get a slope over it."""


@dataclass(frozen=True, kw_only=True)
class DoseScale:
    """The doses of a component."""

    full: float
    """Dose of the component where it is on; off is 0."""
    overrides: dict[str, dict[str, Any]]
    """Dose between -> keys that it sets."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """An ablation: its arms, contrasts and primary metrics."""

    name: str
    title: str
    groups: dict[str, str] = config_field(dict)
    """Group choices of the base; those of the user replace them."""
    overrides: dict[str, Any] = config_field(dict)
    """Keys of the base; those of the user replace them."""
    conditional_overrides: ConditionalOverrides = config_field(dict)
    """Keys of the base under a condition; they replace those of `overrides`, and those of the user
    replace them."""
    design: DesignName
    components: tuple[str, ...] = ()
    """The components that the design varies."""
    resolution: int = config_field(4, low=3, high=5)
    """Resolution of a fractional design (`ablations.designs.fractions`)."""
    fold_over: tuple[str, ...] = ()
    """Fold-overs of a fractional or Plackett-Burman design: components whose levels are reversed in
    further arms, or "all"."""
    orders: tuple[tuple[str, ...], ...] = ()
    """Orders in which a cumulative or paths design adds its components; empty = their order, for
    paths also its reverse."""
    num_orders: int = config_field(8, low=2)
    """Orders that a Shapley design of more than five components samples; even, since each is
    followed by its reverse."""
    requires: dict[str, tuple[str, ...]] = config_field(dict)
    """Component -> those that must be on where it is on; with those of components.yaml."""
    excludes: dict[str, tuple[str, ...]] = config_field(dict)
    """Component -> those that must be off where it is on; with those of components.yaml."""
    doses: dict[str, DoseScale] = config_field(dict)
    """Component -> its doses; with those of components.yaml."""
    controls: dict[str, dict[str, Any]] = config_field(dict)
    """Component of the data -> keys of its control of equal size; with those of components.yaml."""
    predictions: tuple[Prediction, ...] = ()
    """What is expected of contrasts; recorded with the plan before the first run, and graded by the
    report."""
    settings: dict[str, SettingDefinition] = config_field(dict)
    """Settings in each of which a leave-one-out design is repeated: whether the sign of a
    component's effect depends on them."""
    reference: str = "full"
    """The arm that the others are compared with."""
    arms: dict[str, ArmDefinition] = config_field(dict)
    contrasts: dict[str, ContrastDefinition] = config_field(dict)
    primary_metrics: dict[str, str] = config_field(dict)
    """Data source -> the score on which contrasts are tested; empty = on any source, with the one
    that the source declares."""
    co_primary_metrics: dict[str, str | None] = config_field(dict)
    """Data source -> a second, more sensitive score on which contrasts are tested, or null for
    none; sources that are not named have the one that they declare."""
    first_seed: int = config_field(0, low=0)
    """First seed of `seeds=3`. An ablation that chooses between settings starts where no other one
    does: what is chosen must not be tested on the seeds that chose it."""
    margins: dict[str, dict[str, float]] = config_field(dict)
    """Data source -> primary score -> the largest effect, either way, that is practically nothing;
    in the unit of the score, so 0.01 is one percentage point of an accuracy."""
    margin_reason: str = ""
    """Why a smaller effect would change no decision; the report prints it."""
    looks: dict[str, float] = config_field(
        lambda: {str(look.num_seeds): look.level for look in DEFAULT_LOOKS}
    )
    """Number of seeds at which verdicts are made -> probability of a false verdict that is spent
    there; they add up to at most 0.05."""
    planted_effects: tuple[PlantedEffect, ...] = ()
    command: CommandDefinition | None = None
    """The program that trains the arms; `overrides` are then the values of its command line. Null =
    the training of this package."""
    folder: str = ""
    """Folder of the file that declares it; it is not written there."""

    def build_looks(self) -> tuple[Look, ...]:
        """Return the looks, by their numbers of seeds.

        Raises:
            UserError: a number of seeds or a level is not valid.
        """
        for num_seeds, level in self.looks.items():
            if not num_seeds.isdecimal() or int(num_seeds) < MIN_LOOK_SEEDS:
                raise UserError(
                    f"looks: {num_seeds} must be a number of seeds of at least {MIN_LOOK_SEEDS}"
                )
            if level <= 0:
                raise UserError(f"looks.{num_seeds} must be above 0, got {level:g}")
        total = sum(self.looks.values())
        if not self.looks or total > MAX_ERROR + 1e-9:
            raise UserError(
                f"looks: the levels must add up to at most {MAX_ERROR:g}, got {total:g}"
            )
        looks = [Look(num_seeds=int(n), level=level) for n, level in self.looks.items()]
        return tuple(sorted(looks, key=lambda look: look.num_seeds))

    def build_margins(self) -> tuple[Margin, ...]:
        """Return the margins of all data sources.

        Raises:
            UserError: a margin has no reason, or is not above 0.
        """
        reason = self.margin_reason.strip()
        if self.margins and not reason:
            raise UserError("margin_reason is missing: say why a smaller effect does not matter")
        margins = []
        for source, values in self.margins.items():
            for metric, value in values.items():
                if not value > 0:
                    raise UserError(f"margins.{source}.{metric} must be above 0, got {value:g}")
                margins.append(Margin(dataset=source, metric=metric, value=value, reason=reason))
        return tuple(margins)


def list_ablations(folders: Sequence[Path]) -> list[str]:
    """Return the names of all ablations in `folders`, sorted."""
    return sorted({p.stem for f in folders for p in (f / "ablation").glob("*.yaml")})


def load_ablation(
    name: str, folders: Sequence[Path], changes: Mapping[str, Any] | None = None
) -> Ablation:
    """Return the ablation `name` of the first folder that declares it.

    Args:
        name: its name.
        folders: folders of YAML files.
        changes: keys of its file that are replaced, such as "design".

    Raises:
        UserError: there is none, or its file is not valid.
    """
    ablation_names = list_ablations(folders)
    if name not in ablation_names:
        raise make_unknown_name_error("ablation", name, ablation_names)
    path = next(p for f in folders if (p := f / "ablation" / f"{name}.yaml").exists())
    values = {**read_yaml(path), **(changes or {})}
    if values.get("design") == "add_one_in":
        values = {"reference": "none", **values}
    ablation: Ablation = _bind_file(
        Ablation, path, {"name": name, **values, "folder": str(path.parent.resolve())}
    )
    if ablation.num_orders % 2:
        raise UserError(f"{path}: num_orders must be even, got {ablation.num_orders}")
    ablation = _add_component_rules(ablation, load_components(folders))
    if ablation.design == "listed" and not ablation.arms:
        raise UserError(f"{path}: a listed design needs arms")
    if ablation.design == "listed" and ablation.reference not in ablation.arms:
        error = make_unknown_name_error("arm", ablation.reference, ablation.arms)
        raise UserError(f"{path}: reference: {error}")
    if ablation.design != "listed" and not ablation.components:
        raise UserError(f"{path}: a {ablation.design} design needs components")
    if ablation.settings and ablation.design != "leave_one_out":
        raise UserError(f"{path}: settings need design: leave_one_out, not {ablation.design}")
    if ablation.reference in ablation.arms and ablation.arms[ablation.reference].match_budget:
        key = f"arms.{ablation.reference}.match_budget"
        raise UserError(f"{path}: {key}: the reference cannot be matched to itself")
    try:
        ablation.build_looks(), ablation.build_margins()
        if ablation.command is not None:
            ablation.command.validate()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    _check_conditions("conditional_overrides", ablation.conditional_overrides, path, folders)
    for arm, definition in ablation.arms.items():
        key = f"arms.{arm}.conditional_overrides"
        _check_conditions(key, definition.conditional_overrides, path, folders)
    return ablation


def _add_component_rules(ablation: Ablation, components: Mapping[str, Component]) -> Ablation:
    """Return the ablation with the rules and doses that its components declare."""
    declared = {n: components[n] for n in ablation.components if n in components}
    requires = {n: c.requires for n, c in components.items()} | ablation.requires
    rules = {
        "requires": {n: _follow_requirements(n, requires, ablation) for n in ablation.components},
        "excludes": {n: c.excludes for n, c in declared.items() if c.excludes},
    }
    doses = {
        n: DoseScale(full=c.full_dose, overrides=c.doses) for n, c in declared.items() if c.doses
    }
    return replace(
        ablation,
        requires={**ablation.requires, **{n: r for n, r in rules["requires"].items() if r}},
        excludes={**rules["excludes"], **ablation.excludes},
        doses={**doses, **ablation.doses},
        controls={
            **{n: c.control_overrides for n, c in declared.items() if c.control_overrides},
            **ablation.controls,
        },
    )


def _follow_requirements(
    name: str, requires: Mapping[str, Sequence[str]], ablation: Ablation
) -> tuple[str, ...]:
    """Return what a component requires: directly, or through components that are not varied."""
    requirements: list[str] = []
    pending = list(requires.get(name, ()))
    while pending:
        other = pending.pop(0)
        if other not in (name, *requirements):
            requirements.append(other)
            if other not in ablation.components:
                pending += requires.get(other, ())
    return tuple(requirements)


def select_active_overrides(
    conditional_overrides: ConditionalOverrides, choices: Mapping[str, str]
) -> dict[str, Any]:
    """Return the keys whose condition holds under `choices`; other groups have their default."""
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
    groups = compose.get_default_choices()
    for condition in conditional_overrides:
        group, _, choice = condition.partition("=")
        if group not in groups:
            raise UserError(f"{path}: {key}: {make_unknown_name_error('group', group, groups)}")
        valid_choices = compose.list_choices(group, [compose.CONF, *folders])
        if choice not in valid_choices:
            raise UserError(
                f"{path}: {key}: {make_unknown_name_error(group, choice, valid_choices)}"
            )


def load_components(folders: Sequence[Path]) -> dict[str, Component]:
    """Return the components that the folders declare, by name, in the order of the folders.

    Raises:
        UserError: a file is not valid, or a component is declared twice.
    """
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
    """Return the mapping in a YAML file.

    Raises:
        UserError: the file cannot be read, or does not hold a mapping.
    """
    try:
        # Importing the parser takes longer than everything else that the command `list` does.
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
    """Return the value with every key of a mapping as a string (YAML reads `1:` as a number)."""
    if isinstance(value, Mapping):
        return {str(k): _stringify_keys(v) for k, v in value.items()}
    return [_stringify_keys(v) for v in value] if isinstance(value, list) else value


def _bind_file(cls: type, path: Path, values: Mapping[str, Any]) -> Any:
    try:
        return bind(cls, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
