"""Descriptions of the arms' training recipes: optimizer, learning rates and warm-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablations.plan.arms import ComposeFunction
from uniclip.config import TrainConfig
from uniclip.config.schema import DEFAULT_OPTIMIZER

DEFAULT_RECIPE = "default"
"""The recipe that all arms of a comparison share."""


def describe_recipes(
    trainings: Mapping[str, TrainConfig],
    arm_groups: Mapping[str, Mapping[str, str]],
    choices: Mapping[str, str],
    compose: ComposeFunction,
) -> dict[str, str]:
    """Return a description of each arm's recipe; empty if all arms have the default recipe.

    Args:
        trainings: arm -> its training section.
        arm_groups: arm -> the group choices that it replaces.
        choices: the group choices of the base.
        compose: composes the configuration of a run from choices of groups.
    """
    if choices.get("recipe", DEFAULT_RECIPE) == DEFAULT_RECIPE:
        return {}
    choices_without_recipe = {group: c for group, c in choices.items() if group != "recipe"}
    descriptions = {}
    for arm, train in trainings.items():
        default_train = _compose_train(compose, choices_without_recipe, arm_groups[arm])
        recipe_train = _compose_train(compose, choices, arm_groups[arm])
        note = " (the source states no recipe: default)" if recipe_train == default_train else ""
        descriptions[arm] = describe_recipe(train) + note
    return descriptions


def describe_recipe(train: TrainConfig) -> str:
    """Return the optimizer and the schedule of a training, without its length and batch size."""
    scale = train.lr_scale
    start_lr, peak_lr, end_lr = (
        f"{scale * rate:.3g}" for rate in (train.warmup_start_lr, train.learning_rate, train.min_lr)
    )
    base_batch_note = ""
    if train.lr_base_batch_size:
        base_batch_note = f" ({train.learning_rate:g} at batch size {train.lr_base_batch_size})"
    return (
        f"{describe_optimizer_name(train)}, "
        f"learning rate {start_lr} to {peak_lr} to {end_lr}{base_batch_note}, "
        f"warm-up {100 * train.warmup_ratio:.3g} %, weight decay {train.weight_decay:g}, "
        f"{_describe_moments(train)}"
        f"gradient norm limit {train.grad_clip_norm:g}, "
        f"learning rate of the similarity parameters x {train.similarity_lr_mult:g}"
    )


def describe_optimizer_name(train: TrainConfig) -> str:
    """Return the name of the optimizer, with options that are not left at their defaults."""
    options = ", ".join(f"{k} {v}" for k, v in train.optimizer_options.items())
    name = "AdamW" if train.optimizer == DEFAULT_OPTIMIZER else train.optimizer
    return f"{name} ({options})" if options else name


def _describe_moments(train: TrainConfig) -> str:
    """Return the settings that AdamW alone has as keys."""
    beta1, beta2 = train.adam_betas
    is_adamw = train.optimizer == DEFAULT_OPTIMIZER
    return f"betas {beta1:g} {beta2:g}, epsilon {train.adam_eps:g}, " if is_adamw else ""


def _compose_train(
    compose: ComposeFunction, choices: Mapping[str, str], arm_groups: Mapping[str, str]
) -> Any:
    return compose({**choices, **arm_groups})["train"]
