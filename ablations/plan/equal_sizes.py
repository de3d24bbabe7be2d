"""Checks of what a design states of its arms: numbers of samples, and multiples of compute."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ablations.designs.controls import format_control_name
from ablations.designs.names import FULL, format_setting_arm_name
from ablations.plan.matched_budget import ArmCost, compute_training_cost
from ablations.schema import Ablation
from uniclip import data
from uniclip.config import RunConfig
from uniclip.errors import UserError

COMPUTE_TOLERANCE = 0.2
"""Largest relative error of a stated multiple of compute."""


def check_control_sizes(ablation: Ablation, configs: Mapping[str, RunConfig]) -> None:
    """Raise `UserError` if a control has another number of training samples than the full arm.

    Data sources that do not count their samples are not checked.
    """
    for component in ablation.controls:
        control = format_control_name(component)
        if control not in configs or FULL not in configs:
            continue
        sizes = [count_training_samples(configs[name]) for name in (FULL, control)]
        if None not in sizes and sizes[0] != sizes[1]:
            raise UserError(
                f"arm {control}: {sizes[1]} training samples, arm {FULL} has {sizes[0]}: set "
                f"train.subset_size: {sizes[0]} in control_overrides of {component}"
            )


def count_training_samples(config: RunConfig) -> int | None:
    """Return the number of training samples of a run; None if its data do not count them."""
    if config.train.subset_size is not None:
        return config.train.subset_size
    count = getattr(data.SOURCES.get(config.data.name), "count_training_samples", None)
    if count is None:
        return None
    shares = count(config.data, 2**62)
    return None if shares is None else sum(share.stop - share.start for share in shares)


def check_stated_compute(
    ablation: Ablation, arms: Collection[str], get_cost: Callable[[str], ArmCost]
) -> None:
    """Raise `UserError` if the compute that a setting states is not that of its arm.

    Arms whose model is not in the table of profiles are not checked.

    Args:
        ablation: the ablation.
        arms: the arms of the plan.
        get_cost: arm -> what its cost depends on.
    """
    for name, setting in ablation.settings.items():
        arm = format_setting_arm_name(name, ())
        if setting.compute is None or not {arm, FULL} <= set(arms):
            continue
        reference, cost = (compute_training_cost(get_cost(a)) for a in (FULL, arm))
        if cost is None or reference is None:
            continue
        if abs(cost / reference / setting.compute - 1) > COMPUTE_TOLERANCE:
            raise UserError(
                f"ablation {ablation.name}: settings.{name}.compute is {setting.compute:g}, but "
                f"its encoders take {cost / reference:.3g} times the compute of the default"
            )
