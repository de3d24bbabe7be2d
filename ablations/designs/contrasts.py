"""Contrasts of an ablation: those of its design, those that it lists, and noise floors.

A contrast is a weighted sum of arms. Which ones a design has stands in the module of the design.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ablations.designs.aliases import build_aliased_effects, list_fold_overs
from ablations.designs.arms import OFF_SETS
from ablations.designs.controls import build_control_contrasts
from ablations.designs.crossed import build_crossed
from ablations.designs.differences import build_add_one_in, build_leave_one_out
from ablations.designs.doses import build_dose_contrasts
from ablations.designs.orders import build_paths, build_shapley, build_steps, list_orders
from ablations.schema import Ablation
from uniclip.store import Component, Contrast, FoldOver

PERTURBATION_KEY = "train.weight_perturbation"
"""Key of an A/A arm that measures how far training amplifies rounding errors."""
FRACTIONS = ("fractional", "plackett_burman")
"""Designs with a part of all combinations, in which effects are aliased."""
ContrastBuilder = Callable[[Ablation, Mapping[str, Component]], list[Contrast]]


def _build_fraction(ablation: Ablation, components: Mapping[str, Component]) -> list[Contrast]:
    return build_aliased_effects(ablation, components, OFF_SETS[ablation.design](ablation))


DESIGN_CONTRASTS: dict[str, ContrastBuilder] = {
    "listed": lambda ablation, components: [],
    "crossed": build_crossed,
    "leave_one_out": build_leave_one_out,
    "add_one_in": build_add_one_in,
    "cumulative": build_steps,
    "paths": build_paths,
    "fractional": _build_fraction,
    "plackett_burman": _build_fraction,
    "shapley": build_shapley,
    "dose": build_dose_contrasts,
}


def build_contrasts(
    ablation: Ablation, components: Mapping[str, Component], arm_names: Sequence[str]
) -> tuple[Contrast, ...]:
    """Return the contrasts all of whose arms are in `arm_names`."""
    all_contrasts = DESIGN_CONTRASTS[ablation.design](ablation, components)
    all_contrasts += build_control_contrasts(ablation, components)
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


def build_orders(ablation: Ablation) -> tuple[tuple[str, ...], ...]:
    """Return the orders in which a design adds its components; empty for other designs."""
    has_orders = ablation.design in ("cumulative", "paths", "shapley")
    return list_orders(ablation) if has_orders else ()


def build_fold_overs(ablation: Ablation) -> tuple[FoldOver, ...]:
    """Return the fold-overs that would separate aliased effects of the design."""
    if ablation.design not in FRACTIONS:
        return ()
    return list_fold_overs(ablation, OFF_SETS[ablation.design](ablation))
