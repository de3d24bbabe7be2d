"""Arms and contrasts of a design.

A contrast is a weighted sum of arms. In a crossed design the main effect of a component is the mean
of all arms with the component minus the mean of all arms without it, that is, it is averaged over
the other components. Interactions are products of main effects. Leave-one-out and add-one-in
effects are differences between single arms of the same design.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from math import prod
from typing import Any

from ablations.schema import Ablation, ArmDefinition
from uniclip.config import DATA
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate.scoring.score_names import is_proportion
from uniclip.store import Component, Contrast, PlantedEffect

FULL, NONE = "full", "none"
CROSSED_LIMIT = 4
PERTURBATION_KEY = "train.weight_perturbation"
"""Key of an A/A arm that measures how far training amplifies rounding errors."""


def build_arms(ablation: Ablation) -> dict[str, ArmDefinition]:
    """Return the arms of an ablation, in order: those of its design, then those that it lists.

    Raises:
        UserError: too many components are crossed, or two arms of the design, its settings and the
            list have one name.
    """
    if ablation.design == "listed":
        return dict(ablation.arms)
    names = ablation.components
    if ablation.design == "crossed":
        if len(names) > CROSSED_LIMIT:
            raise UserError(
                f"ablation {ablation.name}: {len(names)} components crossed are too many arms; "
                f"use design: leave_one_out, or at most {CROSSED_LIMIT} components"
            )
        off_sets = [
            tuple(n for n, on in zip(names, levels) if not on)
            for levels in _list_levels(len(names))
        ]
    else:
        off_sets = [(), *((n,) for n in names)]
    design_arms = {
        format_arm_name(off, names): ArmDefinition(
            label=format_arm_label(off, names, {}), role="crossed", components_off=off
        )
        for off in off_sets
    }
    arms = dict(design_arms)
    for name, arm in (*_iterate_setting_arms(ablation, off_sets), *ablation.arms.items()):
        if name in arms:
            raise UserError(f"ablation {ablation.name}: the design already has an arm {name}")
        arms[name] = arm
    return arms


def _iterate_setting_arms(
    ablation: Ablation, off_sets: Sequence[tuple[str, ...]]
) -> Iterator[tuple[str, ArmDefinition]]:
    """Yield name and arm: those of every setting, with all components, and without each."""
    for name, setting in ablation.settings.items():
        for off in off_sets:
            without = [f"without {n.replace('_', ' ')}" for n in off]
            arm = ArmDefinition(
                label=", ".join([setting.label, *without]),
                role="setting",
                components_off=off,
                overrides=setting.overrides,
            )
            yield format_setting_arm_name(name, off), arm


def validate_ablation(ablation: Ablation, components: dict[str, Component]) -> None:
    """Raise `UserError` if an ablation names an unknown component, arm or contrast.

    Without this check, a typing error in its file would silently drop a contrast or a planted
    effect.
    """
    arm_definitions = build_arms(ablation)
    references: list[tuple[str, str, Mapping[str, Any]]] = []
    references += [("component", n, components) for n in ablation.components]
    references += [
        ("component", n, components) for a in arm_definitions.values() for n in a.components_off
    ]
    references += [
        ("arm", n, arm_definitions) for c in ablation.contrasts.values() for n in (c.plus, c.minus)
    ]
    references += [("arm", ablation.reference, arm_definitions)]
    references += [
        ("arm", e.arm, arm_definitions) for e in ablation.planted_effects if e.arm is not None
    ]
    _require_known_names(ablation, references)
    _check_setting_keys(ablation, components)
    contrasts_by_name = {
        c.name: c for c in build_contrasts(ablation, components, list(arm_definitions))
    }
    contrast_names = [e.contrast for e in ablation.planted_effects if e.contrast is not None]
    _require_known_names(
        ablation, [("contrast", name, contrasts_by_name) for name in contrast_names]
    )
    for effect in ablation.planted_effects:
        _check_planted_effect(ablation, effect)


def _check_planted_effect(ablation: Ablation, effect: PlantedEffect) -> None:
    """Raise `UserError` if a planted effect could never be confirmed on its score."""
    sources = [ablation.groups["data"]] if "data" in ablation.groups else list(DATA)
    metrics = ablation.primary_metrics or {
        name: score for name in sources if name in DATA and (score := DATA[name].primary_score)
    }
    for source, primary_metric in metrics.items():
        metric = effect.metric or primary_metric
        where = f"ablation {ablation.name}: planted_effects: {effect.kind} of {metric} of {source}"
        if effect.kind == "practically_nothing":
            if metric not in ablation.margins.get(source, {}):
                raise UserError(f"{where} needs a margin: set margins.{source}.{metric}")
        if effect.kind == "at_chance" and not is_proportion(metric):
            raise UserError(f"{where}: the score is no proportion of the test samples; name one")


def _check_setting_keys(ablation: Ablation, components: dict[str, Component]) -> None:
    """Raise `UserError` if a setting sets a key that turns off a component, which stayed on."""
    for setting_name, setting in ablation.settings.items():
        for component in ablation.components:
            for key in sorted(set(setting.overrides) & set(components[component].off_overrides)):
                raise UserError(
                    f"ablation {ablation.name}: setting {setting_name} sets {key}, by which "
                    f"component {component} is turned off: leave it out"
                )


def _require_known_names(
    ablation: Ablation, references: list[tuple[str, str, Mapping[str, Any]]]
) -> None:
    for kind, name, valid_names in references:
        if name not in valid_names:
            raise UserError(
                f"ablation {ablation.name}: {make_unknown_name_error(kind, name, valid_names)}"
            )


def format_arm_name(off: Sequence[str], components: Sequence[str]) -> str:
    """Return the name of the arm without the components `off`: full, no-<component>... or none.

    Words are joined by "-" in names of arms, also where a component's name has "_".
    """
    if not off:
        return FULL
    if len(off) == len(components) and len(components) > 1:
        return NONE
    return "-".join(["no", *off]).replace("_", "-")


def format_setting_arm_name(setting: str, off: Sequence[str]) -> str:
    """Return the name of the arm of a setting without the components `off`."""
    return "-".join([setting, *(["no", *off] if off else [])]).replace("_", "-")


def find_arm_name(name: str, arm_names: Iterable[str]) -> str:
    """Return the arm that a user calls `name`; "_" and "-" are equal in it.

    Raises:
        UserError: there is no such arm.
    """
    names = list(arm_names)
    if name in names:
        return name
    for arm_name in names:
        if arm_name.replace("_", "-") == name.replace("_", "-"):
            return arm_name
    raise make_unknown_name_error("arm", name, names)


def build_contrasts(
    ablation: Ablation, components: dict[str, Component], arm_names: Sequence[str]
) -> tuple[Contrast, ...]:
    """Return the contrasts all of whose arms are in `arm_names`."""
    all_contrasts = _build_design_contrasts(ablation, components)
    for name, c in ablation.contrasts.items():
        weights = {c.plus: 1.0, c.minus: -1.0}
        all_contrasts.append(
            Contrast(
                name=name, label=c.label, kind="difference", weights=weights, primary=c.primary
            )
        )
    for name, definition in ablation.arms.items():
        if definition.role == "noise":
            all_contrasts.append(_build_noise_contrast(ablation, name, all_contrasts))
    return tuple(c for c in all_contrasts if set(c.weights) <= set(arm_names))


def _build_noise_contrast(ablation: Ablation, arm: str, contrasts: Sequence[Contrast]) -> Contrast:
    """Return the contrast of the reference and an A/A arm; the first one is called "noise"."""
    label = "noise floor: the same configuration with other random draws"
    if PERTURBATION_KEY in ablation.arms[arm].overrides:
        label = "noise floor (rounding): the same run from slightly changed initial weights"
    return Contrast(
        name=f"noise-{arm}" if any(c.kind == "noise" for c in contrasts) else "noise",
        label=label,
        kind="noise",
        weights={ablation.reference: 1.0, arm: -1.0},
        primary=False,
    )


def _build_design_contrasts(ablation: Ablation, components: dict[str, Component]) -> list[Contrast]:
    names = ablation.components
    if ablation.design == "listed":
        return []
    single_differences = [
        _build_difference(
            FULL, format_arm_name((n,), names), f"{components[n].label}, in the full model", n
        )
        for n in names
    ]
    if ablation.design == "leave_one_out":
        return [
            *(_mark_primary(c) for c in single_differences),
            *_build_setting_contrasts(ablation, components),
        ]
    design_contrasts = [_build_effect((n,), names, components) for n in names]
    for order in range(2, len(names) + 1):
        design_contrasts += [
            _build_effect(component_subset, names, components)
            for component_subset in combinations(names, order)
        ]
    if len(names) > 1:
        design_contrasts += single_differences
        for n in names:
            others = tuple(name for name in names if name != n)
            alone_arm = format_arm_name(others, names)
            design_contrasts.append(
                _build_difference(alone_arm, NONE, f"{components[n].label}, alone", n)
            )
        design_contrasts.append(_build_difference(FULL, NONE, "all components together", None))
    return design_contrasts


def _build_effect(
    effect_components: Sequence[str], names: Sequence[str], components: dict[str, Component]
) -> Contrast:
    """Return the main effect of one component, or the interaction of several."""
    weights = {}
    for levels in _list_levels(len(names)):
        off = tuple(n for n, on in zip(names, levels) if not on)
        sign = prod(1 if on else -1 for n, on in zip(names, levels) if n in effect_components)
        weights[format_arm_name(off, names)] = sign / 2 ** (len(names) - 1)
    label = " x ".join(components[n].label for n in effect_components)
    is_main = len(effect_components) == 1
    prefix = "main:" if is_main else "interaction:"
    return Contrast(
        name=prefix + "*".join(effect_components),
        label=label,
        kind="main" if is_main else "interaction",
        weights=weights,
        primary=is_main,
        component=effect_components[0] if is_main else None,
    )


def _build_difference(plus: str, minus: str, label: str, component: str | None) -> Contrast:
    weights = {plus: 1.0, minus: -1.0}
    name = f"{plus} - {minus}"
    return Contrast(
        name=name,
        label=label,
        kind="difference",
        weights=weights,
        primary=False,
        component=component,
    )


def _build_setting_contrasts(
    ablation: Ablation, components: dict[str, Component]
) -> list[Contrast]:
    """Return each component's effect in each setting, and the effect of the setting itself."""
    contrasts = []
    for name, setting in ablation.settings.items():
        full = format_setting_arm_name(name, ())
        for n in ablation.components:
            label = f"{components[n].label}, {setting.label}"
            off_arm = format_setting_arm_name(name, (n,))
            contrasts.append(replace(_build_difference(full, off_arm, label, n), setting=name))
        contrasts.append(_build_difference(full, FULL, f"{setting.label} vs. the default", None))
    return contrasts


def _mark_primary(contrast: Contrast) -> Contrast:
    return replace(contrast, primary=True)


def _list_levels(n: int) -> list[tuple[bool, ...]]:
    return sorted(product((True, False), repeat=n), key=lambda levels: levels.count(False))


def format_arm_label(
    off: Sequence[str], names: Sequence[str], short_labels: Mapping[str, str]
) -> str:
    """Return the label of the arm without the components `off`.

    short_labels: component -> short label; a component without one is called by its name.
    """
    if not off:
        return "UniCLIP, all components"
    if len(off) == len(names):
        return "no component"
    return "without " + ", ".join(short_labels.get(n, n.replace("_", " ")) for n in off)
