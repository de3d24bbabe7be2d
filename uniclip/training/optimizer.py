"""The parameter groups of the optimizer, and the learning-rate schedule, a function of the step.

Weight decay, decoupled with AdamW (Loshchilov and Hutter, 2019), applies to matrices and filters
only. The few parameters of a similarity (temperatures, offsets) have a multiple of the learning
rate; without it they would hardly change in a short run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from uniclip.config import TrainConfig
from uniclip.training.optimizer_factory import create_optimizer

PARAMETER_GROUPS = (
    "decay",
    "no_decay",
    "modulation_decay",
    "modulation_no_decay",
    "similarity",
)
"""Weight matrices and filters, and other parameters of the model; both kinds of the image head's
modulation, if it has a learning rate of its own; parameters of the similarity."""


def compute_learning_rate(step: int, train: TrainConfig) -> float:
    """Return the learning rate of step 0 .. train.steps - 1: linear warm-up, then a cosine.

    The first step is one increment above train.warmup_start_lr; the last step of the warm-up and
    the one after it have the peak; step train.steps (the one after the last) would have
    train.min_lr. All are multiplied by train.batch_size / train.lr_base_batch_size if that is set.
    """
    warmup_steps = round(train.warmup_ratio * train.steps)
    if step < warmup_steps:
        low = train.warmup_start_lr
        return train.lr_scale * (low + (train.learning_rate - low) * (step + 1) / warmup_steps)
    progress = (step - warmup_steps) / (train.steps - warmup_steps)
    low = train.min_lr
    return train.lr_scale * (
        low + (train.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * progress))
    )


def build_optimizer(
    modules: nn.ModuleDict,
    similarity_parameters: Sequence[nn.Parameter],
    train: TrainConfig,
    *,
    layer_scales: Mapping[int, float] | None = None,
    modulation_parameters: Sequence[nn.Parameter] = (),
    modulation_lr_mult: float = 1.0,
) -> torch.optim.Optimizer:
    """Return the optimizer of all trainable parameters of `modules`, in `PARAMETER_GROUPS`.

    Args:
        modules: The model and the method.
        similarity_parameters: Parameters with train.similarity_lr_mult times the learning rate and
            without weight decay.
        train: Settings of the optimizer.
        layer_scales: The id of a parameter -> the factor of its learning rate (`layer_rates`).
        modulation_parameters, modulation_lr_mult: Parameters of the image head, and the multiple of
            the learning rate that they have.

    Raises:
        UserError: As `optimizer_factory.create_optimizer`.
    """
    lr_scales = {"similarity": train.similarity_lr_mult, "modulation": modulation_lr_mult}
    modulation_parameters = modulation_parameters if modulation_lr_mult != 1 else ()
    members = group_parameters(modules, similarity_parameters, modulation_parameters)
    groups = [
        {
            "params": group_members,
            "weight_decay": train.weight_decay if g in ("decay", "modulation_decay") else 0.0,
            "lr_scale": lr_scales.get(g.split("_")[0], 1.0) * layer_scale,
            "name": g,
        }
        for g in PARAMETER_GROUPS
        for layer_scale, group_members in _split_by_scale(members[g], layer_scales or {})
    ]
    return create_optimizer(groups, train)


def _split_by_scale(
    members: list[tuple[str, nn.Parameter]], layer_scales: Mapping[int, float]
) -> list[tuple[float, list[tuple[str, nn.Parameter]]]]:
    """Return the parameters of a group by their layer's factor, the largest first."""
    parts: dict[float, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in members:
        parts.setdefault(layer_scales.get(id(parameter), 1.0), []).append((name, parameter))
    return sorted(parts.items(), reverse=True, key=lambda part: part[0])


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group to `learning_rate` times its `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_scale"]


def group_parameters(
    modules: nn.ModuleDict,
    similarity_parameters: Sequence[nn.Parameter],
    modulation_parameters: Sequence[nn.Parameter] = (),
) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """Return the trainable parameters with their names, by group, in the order of `modules`."""
    similarity_ids = {id(p) for p in similarity_parameters}
    modulation_ids = {id(p) for p in modulation_parameters}
    no_decay_names = set(_find_no_decay_names(modules))
    members: dict[str, list[tuple[str, nn.Parameter]]] = {group: [] for group in PARAMETER_GROUPS}
    for name, parameter in modules.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in similarity_ids:
            group = "similarity"
        elif name in no_decay_names or _is_vector_or_scalar(parameter):
            group = "no_decay"
        else:
            group = "decay"
        if id(parameter) in modulation_ids:
            group = f"modulation_{group}"
        members[group].append((name, parameter))
    return members


def _is_vector_or_scalar(parameter: nn.Parameter) -> bool:
    """Return whether at most one dimension exceeds 1: norms, biases, scales, also as (C, 1, 1)."""
    return sum(size > 1 for size in parameter.shape) < 2


def _find_no_decay_names(modules: nn.Module) -> Iterator[str]:
    """Yield names that an encoder's library excludes from decay (timm: positions, class tokens)."""
    for prefix, module in modules.named_modules():
        get_no_decay = getattr(module, "no_weight_decay", None)
        if callable(get_no_decay):
            yield from (f"{prefix}.{name}" for name in get_no_decay())
