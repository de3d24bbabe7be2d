"""Which arms a design runs, and which contrasts of them say what a component is worth.

A contrast is a weighted sum of arms. In a crossed design the main effect of a component uses every
arm: the mean of those that have it minus the mean of those that do not, so it is averaged over the
other components; interactions are products of main effects; leave-one-out and add-one-in are
differences of single arms of the same design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import prod
from typing import Any

from ablations.schema import Ablation, ArmDefinition
from uniclip.errors import UserError, unknown
from uniclip.store import Component, Contrast

FULL, NONE = "full", "none"
CROSSED_LIMIT = 4


def arms(ablation: Ablation) -> dict[str, ArmDefinition]:
    """The arms of an ablation, in order: those of its design, then those that it lists."""
    if ablation.design == "listed":
        return dict(ablation.arms)
    names = ablation.components
    if ablation.design == "crossed":
        if len(names) > CROSSED_LIMIT:
            raise UserError(
                f"ablation {ablation.name}: {len(names)} components crossed are too many arms; "
                f"use design: leave_one_out, or at most {CROSSED_LIMIT} components"
            )
        chosen = [
            tuple(n for n, on in zip(names, levels) if not on) for levels in _levels(len(names))
        ]
    else:
        chosen = [(), *((n,) for n in names)]
    designed = {
        arm_name(off, names): ArmDefinition(label=label(off, names, {}), role="crossed", off=off)
        for off in chosen
    }
    clash = set(designed) & set(ablation.arms)
    if clash:
        raise UserError(
            f"ablation {ablation.name}: arm {sorted(clash)[0]} is there by design already"
        )
    return {**designed, **ablation.arms}


def check(ablation: Ablation, components: dict[str, Component]) -> None:
    """Raise `UserError` where an ablation names a component, arm or contrast that is not there.

    Otherwise a slip of the pen in its file would silently leave a contrast or a truth unread.
    """
    known = arms(ablation)
    named: list[tuple[str, str, Mapping[str, Any]]] = []
    named += [("component", n, components) for n in ablation.components]
    named += [("component", n, components) for a in known.values() for n in a.off]
    named += [("arm", n, known) for c in ablation.contrasts.values() for n in (c.plus, c.minus)]
    named += [("arm", ablation.reference, known)]
    named += [("arm", e.arm, known) for e in ablation.expectations if e.arm is not None]
    _refuse_unknown(ablation, named)
    drawn = {c.name: c for c in contrasts(ablation, components, list(known))}
    about = [e.contrast for e in ablation.expectations if e.contrast is not None]
    _refuse_unknown(ablation, [("contrast", name, drawn) for name in about])


def _refuse_unknown(ablation: Ablation, named: list[tuple[str, str, Mapping[str, Any]]]) -> None:
    for kind, name, known in named:
        if name not in known:
            raise UserError(f"ablation {ablation.name}: {unknown(kind, name, known)}")


def arm_name(off: Sequence[str], components: Sequence[str]) -> str:
    """`full`, `no-<component>...` or `none`."""
    if not off:
        return FULL
    if len(off) == len(components) and len(components) > 1:
        return NONE
    return "no-" + "-".join(off)


def contrasts(
    ablation: Ablation, components: dict[str, Component], present: Sequence[str]
) -> tuple[Contrast, ...]:
    """The contrasts that can be read off the arms that are `present`."""
    drawn = _designed(ablation, components)
    for name, c in ablation.contrasts.items():
        weights = {c.plus: 1.0, c.minus: -1.0}
        drawn.append(
            Contrast(
                name=name, label=c.label, kind="difference", weights=weights, primary=c.primary
            )
        )
    for name, definition in ablation.arms.items():
        if definition.role == "noise":
            label = "noise floor: the same configuration, another stream"
            weights = {ablation.reference: 1.0, name: -1.0}
            drawn.append(
                Contrast(name="noise", label=label, kind="noise", weights=weights, primary=False)
            )
    return tuple(c for c in drawn if set(c.weights) <= set(present))


def _designed(ablation: Ablation, components: dict[str, Component]) -> list[Contrast]:
    names = ablation.components
    if ablation.design == "listed":
        return []
    single = [
        _difference(FULL, arm_name((n,), names), f"{components[n].label}, in the full model", n)
        for n in names
    ]
    if ablation.design == "leave_one_out":
        return [_primary(c) for c in single]
    drawn = [_effect((n,), names, components) for n in names]
    for order in range(2, len(names) + 1):
        drawn += [_effect(chosen, names, components) for chosen in combinations(names, order)]
    if len(names) > 1:
        drawn += single
        for n in names:
            alone = arm_name(tuple(o for o in names if o != n), names)
            drawn.append(_difference(alone, NONE, f"{components[n].label}, alone", n))
        drawn.append(_difference(FULL, NONE, "all components together", None))
    return drawn


def _effect(
    chosen: Sequence[str], names: Sequence[str], components: dict[str, Component]
) -> Contrast:
    weights = {}
    for levels in _levels(len(names)):
        off = tuple(n for n, on in zip(names, levels) if not on)
        sign = prod(1 if on else -1 for n, on in zip(names, levels) if n in chosen)
        weights[arm_name(off, names)] = sign / 2 ** (len(names) - 1)
    label = " x ".join(components[n].label for n in chosen)
    main = len(chosen) == 1
    return Contrast(
        name="main:" + chosen[0] if main else "interaction:" + "*".join(chosen),
        label=label,
        kind="main" if main else "interaction",
        weights=weights,
        primary=main,
        component=chosen[0] if main else None,
    )


def _difference(plus: str, minus: str, label: str, component: str | None) -> Contrast:
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


def _primary(contrast: Contrast) -> Contrast:
    from dataclasses import replace

    return replace(contrast, primary=True)


def _levels(n: int) -> list[tuple[bool, ...]]:
    return sorted(product((True, False), repeat=n), key=lambda levels: levels.count(False))


def label(off: Sequence[str], names: Sequence[str], shorts: Mapping[str, str]) -> str:
    """What to call the arm without the components `off`; shorts: brief words for components."""
    if not off:
        return "UniCLIP, all components"
    if len(off) == len(names):
        return "no component"
    return "without " + ", ".join(shorts.get(n, n.replace("_", " ")) for n in off)
