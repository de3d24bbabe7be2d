"""Contrasts of two arms, and the designs that are made of them: one component at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log10

from ablations.designs.names import (
    FULL,
    NONE,
    format_arm_name,
    format_setting_arm_name,
    format_subset_name,
)
from ablations.designs.rules import close_under_requirements, find_dependents, refuse_exclusions
from ablations.schema import Ablation
from uniclip.store import Component, Contrast

OffSets = list[tuple[str, ...]]
"""The components that each arm of a design turns off."""


def build_difference(
    plus: str, minus: str, label: str, component: str | None, *, primary: bool = False
) -> Contrast:
    """Return the difference between two arms."""
    return Contrast(
        name=f"{plus} - {minus}",
        label=label,
        kind="difference",
        weights={plus: 1.0, minus: -1.0},
        primary=primary,
        component=component,
    )


def complement(on: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the components that are not in `on`, in their order."""
    return tuple(n for n in names if n not in on)


def list_leave_one_out(ablation: Ablation) -> OffSets:
    """Return the full arm, and the arm without each component and those that require it."""
    refuse_exclusions(ablation)
    off_sets = [(), *(find_dependents(n, ablation) for n in ablation.components)]
    return list(dict.fromkeys(off_sets))


def build_leave_one_out(ablation: Ablation, components: Mapping[str, Component]) -> list[Contrast]:
    """Return each component's effect in the full model, and in every setting."""
    differences = []
    for n in ablation.components:
        off = find_dependents(n, ablation)
        others = [components[o].label for o in off if o != n]
        label = f"{components[n].label}, in the full model"
        if others:
            label = f"{components[n].label} with {' and '.join(others)}, in the full model"
        minus = format_arm_name(off, ablation.components)
        differences.append(build_difference(FULL, minus, label, n, primary=True))
    return _drop_repeated([*differences, *_build_setting_contrasts(ablation, components)])


def list_add_one_in(ablation: Ablation) -> OffSets:
    """Return the arm without components, then that with each one and those that it requires, then
    those with several required ones, to which a component is added."""
    names = ablation.components
    on_sets = [(), *(close_under_requirements([n], ablation) for n in names)]
    on_sets += [_list_base(n, ablation) for n in names]
    return list(dict.fromkeys(complement(on, names) for on in on_sets))


def _list_base(name: str, ablation: Ablation) -> tuple[str, ...]:
    """Return the components to which one is added: those that it requires and that can be on
    without it."""
    dependents = find_dependents(name, ablation)
    on = close_under_requirements([name], ablation)
    return tuple(n for n in on if n not in dependents)


def build_add_one_in(ablation: Ablation, components: Mapping[str, Component]) -> list[Contrast]:
    """Return the effect of each component alone, added to those that it requires."""
    names, contrasts = ablation.components, []
    for n in names:
        on, base = close_under_requirements([n], ablation), _list_base(n, ablation)
        plus, minus = (
            format_subset_name(complement(subset, names), names) for subset in (on, base)
        )
        where = "alone"
        if base:
            where = f"added to {' and '.join(components[r].label for r in base)}"
        label = components[n].label
        if others := [components[o].label for o in on if o != n and o not in base]:
            label = f"{label} with {' and '.join(others)}"
        contrasts.append(build_difference(plus, minus, f"{label}, {where}", n, primary=True))
    return _drop_repeated(contrasts)


def _drop_repeated(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Return the contrasts without later ones of the same arms: components that require one another
    have one effect."""
    unique: dict[str, Contrast] = {}
    for contrast in contrasts:
        unique.setdefault(contrast.name, contrast)
    return [*unique.values()]


def build_whole_difference() -> Contrast:
    """Return the effect of all components together."""
    return build_difference(FULL, NONE, "all components together", None)


def _build_setting_contrasts(
    ablation: Ablation, components: Mapping[str, Component]
) -> list[Contrast]:
    """Return each component's effect in each setting, and the effect of the setting itself."""
    contrasts = []
    for name, setting in ablation.settings.items():
        full = format_setting_arm_name(name, ())
        for n in ablation.components:
            label = f"{components[n].label}, {setting.label}"
            off_arm = format_setting_arm_name(name, find_dependents(n, ablation))
            contrasts.append(replace(build_difference(full, off_arm, label, n), setting=name))
        contrasts.append(build_difference(full, FULL, f"{setting.label} vs. the default", None))
    return [*contrasts, *_build_scale_contrasts(ablation, components)]


def _build_scale_contrasts(
    ablation: Ablation, components: Mapping[str, Component]
) -> list[Contrast]:
    """Return by how much each component's effect changes per tenfold compute.

    It is the slope of the line that is fitted by least squares to the effects in the default and in
    the settings that state their compute.
    """
    sizes = {"": 0.0}
    sizes |= {n: log10(s.compute) for n, s in ablation.settings.items() if s.compute is not None}
    mean = sum(sizes.values()) / len(sizes)
    spread = sum((size - mean) ** 2 for size in sizes.values())
    if not spread:
        return []
    contrasts = []
    for n in ablation.components:
        weights: dict[str, float] = {}
        off = find_dependents(n, ablation)
        for name, size in sizes.items():
            slope = (size - mean) / spread
            full = format_setting_arm_name(name, ()) if name else FULL
            without = format_setting_arm_name(name, off) if name else None
            weights[full] = slope
            weights[without or format_arm_name(off, ablation.components)] = -slope
        contrasts.append(
            Contrast(
                name=f"scale:{n}",
                label=f"{components[n].label}, effect per tenfold compute",
                kind="scale",
                weights=weights,
                primary=False,
                component=n,
            )
        )
    return contrasts
