"""Crossed designs: every combination of components that their rules allow.

The main effect of a component is the mean, over the combinations of the others, of the difference
that it makes. Interactions are products of main effects. Where rules forbid combinations, an effect
is averaged over those of the others under which all of its own arms are allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import prod

from ablations.designs.differences import OffSets, build_difference, build_whole_difference
from ablations.designs.names import FULL, NONE, format_arm_name
from ablations.designs.rules import is_valid
from ablations.schema import Ablation
from uniclip.errors import UserError
from uniclip.store import Component, Contrast

CROSSED_LIMIT = 4


def list_crossed(ablation: Ablation) -> OffSets:
    """Return every allowed combination, those with few components off first.

    Raises:
        UserError: there are too many components.
    """
    names = ablation.components
    if len(names) > CROSSED_LIMIT:
        raise UserError(
            f"ablation {ablation.name}: {len(names)} components crossed are too many arms; "
            "use design: fractional, plackett_burman, shapley or leave_one_out, or at most "
            f"{CROSSED_LIMIT} components"
        )
    levels = sorted(product((True, False), repeat=len(names)), key=lambda on: on.count(False))
    return [
        tuple(n for n, on in zip(names, combination) if not on)
        for combination in levels
        if is_valid((n for n, on in zip(names, combination) if on), ablation)
    ]


def build_crossed(ablation: Ablation, components: Mapping[str, Component]) -> list[Contrast]:
    """Return main effects, interactions, and effects in the full model and alone."""
    names, off_sets = ablation.components, list_crossed(ablation)
    contrasts = [
        effect
        for order in range(1, len(names) + 1)
        for subset in combinations(names, order)
        if (effect := _build_effect(subset, off_sets, names, components)) is not None
    ]
    if len(names) == 1:
        return contrasts
    for n in names:
        minus = format_arm_name((n,), names)
        label = f"{components[n].label}, in the full model"
        contrasts.append(build_difference(FULL, minus, label, n))
    for n in names:
        alone = format_arm_name(tuple(other for other in names if other != n), names)
        contrasts.append(build_difference(alone, NONE, f"{components[n].label}, alone", n))
    contrasts.append(build_whole_difference())
    arms = {format_arm_name(off, names) for off in off_sets}
    return [c for c in contrasts if set(c.weights) <= arms]


def _build_effect(
    effect_components: Sequence[str],
    off_sets: OffSets,
    names: Sequence[str],
    components: Mapping[str, Component],
) -> Contrast | None:
    """Return the main effect of one component, or the interaction of several.

    None if no combination of the others allows every arm that it needs.
    """
    subset = set(effect_components)
    others_off = [frozenset(off) - subset for off in off_sets]
    complete = {o for o in others_off if others_off.count(o) == 2 ** len(subset)}
    if not complete:
        return None
    scale = len(complete) * 2 ** (len(subset) - 1)
    weights = {
        format_arm_name(off, names): prod(-1 if n in off else 1 for n in effect_components) / scale
        for off, others in zip(off_sets, others_off)
        if others in complete
    }
    is_main = len(effect_components) == 1
    prefix = "main:" if is_main else "interaction:"
    return Contrast(
        name=prefix + "*".join(effect_components),
        label=" x ".join(components[n].label for n in effect_components),
        kind="main" if is_main else "interaction",
        weights=weights,
        primary=is_main,
        component=effect_components[0] if is_main else None,
    )
