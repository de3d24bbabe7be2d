"""Designs: the arms of an ablation and the contrasts that are estimated from them.

A contrast is a weighted sum of arms. In a crossed design the main effect of a component is the mean
of all arms with the component minus the mean of all arms without it, that is, it is averaged over
the other components. `docs/designs.md` says which design answers what.
"""

from ablations.designs.arms import build_arms
from ablations.designs.components import select_components
from ablations.designs.contrasts import (
    PERTURBATION_KEY,
    build_contrasts,
    build_fold_overs,
    build_orders,
)
from ablations.designs.crossed import CROSSED_LIMIT
from ablations.designs.names import (
    FULL,
    NONE,
    find_arm_name,
    format_arm_label,
    format_arm_name,
    format_setting_arm_name,
)
from ablations.designs.validation import validate_ablation

__all__ = [
    "CROSSED_LIMIT",
    "FULL",
    "NONE",
    "PERTURBATION_KEY",
    "build_arms",
    "build_contrasts",
    "build_fold_overs",
    "build_orders",
    "find_arm_name",
    "format_arm_label",
    "format_arm_name",
    "format_setting_arm_name",
    "select_components",
    "validate_ablation",
]
