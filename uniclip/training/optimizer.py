"""AdamW, its parameter groups, and a rate that is a function of the step alone.

Decoupled weight decay (Loshchilov and Hutter, 2019) falls on matrices and filters only. The few
numbers of a similarity (temperatures, offsets) learn at a multiple of the model's rate: at the
model's rate they would not move in a short run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from uniclip.config import TrainConfig

PARAMETER_GROUPS = ("decayed", "plain", "fast")


def compute_learning_rate(step: int, train: TrainConfig) -> float:
    """Learning rate of step 0 .. train.steps - 1: linear warm-up, then a cosine.

    The first step is one rise above train.warmup_start_lr, the warm-up's last and the one after it have
    the peak, and step `train.steps` (the one after the last) has train.min_lr; all of them
    times train.batch_size / train.lr_base_batch_size, if that is given.
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
    modules: nn.ModuleDict, similarity_parameters: Sequence[nn.Parameter], train: TrainConfig
) -> torch.optim.AdamW:
    """AdamW over all trainable parameters of `modules`, in `GROUPS`.

    fast: parameters that learn at train.similarity_lr_mult times the rate, without decay.
    The fused kernel goes over elements one by one, in one pass: same input, same bits.
    """
    weight_decays = {"decayed": train.weight_decay, "plain": 0.0, "fast": 0.0}
    lr_scales = {"decayed": 1.0, "plain": 1.0, "fast": train.similarity_lr_mult}
    members = group_parameters(modules, similarity_parameters)
    groups = [
        {"params": members[g], "weight_decay": weight_decays[g], "scale": lr_scales[g], "name": g}
        for g in PARAMETER_GROUPS
        if members[g]
    ]
    return torch.optim.AdamW(
        groups, lr=train.learning_rate, betas=train.adam_betas, eps=train.adam_eps, fused=True
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Let the next step of every group use `value` times the group's own scale."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["scale"]


def group_parameters(
    modules: nn.ModuleDict, similarity_parameters: Sequence[nn.Parameter]
) -> dict[str, list[tuple[str, nn.Parameter]]]:
    """Trainable parameters by group, each with its name, in the order of `modules`."""
    similarity_ids = {id(p) for p in similarity_parameters}
    no_decay_names = set(_find_no_decay_names(modules))
    members: dict[str, list[tuple[str, nn.Parameter]]] = {group: [] for group in PARAMETER_GROUPS}
    for name, parameter in modules.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in similarity_ids:
            group = "fast"
        elif name in no_decay_names or _is_vector_or_scalar(parameter):
            group = "plain"
        else:
            group = "decayed"
        members[group].append((name, parameter))
    return members


def _is_vector_or_scalar(parameter: nn.Parameter) -> bool:
    """Norms, biases and scales, also those kept as (C, 1, 1) or a single number."""
    return sum(size > 1 for size in parameter.shape) < 2


def _find_no_decay_names(modules: nn.Module) -> Iterator[str]:
    """Names that an encoder's own library keeps from decay (timm: positions, class tokens)."""
    for prefix, module in modules.named_modules():
        get_no_decay = getattr(module, "no_weight_decay", None)
        if callable(get_no_decay):
            yield from (f"{prefix}.{name}" for name in get_no_decay())
