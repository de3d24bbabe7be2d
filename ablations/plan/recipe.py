"""What the training of an arm is, in words: optimiser, rates and warm-up."""

from __future__ import annotations

from uniclip.config import TrainConfig

DEFAULT_RECIPE = "ours"
"""The recipe that all arms of a comparison share."""


def describe_recipe(train: TrainConfig) -> str:
    """The optimiser and the schedule of a training, but for its length and batch size."""
    scale = train.lr_scale
    start_lr, peak_lr, end_lr = (
        f"{scale * rate:.3g}" for rate in (train.warmup_start_lr, train.learning_rate, train.min_lr)
    )
    base_batch_note = (
        f" ({train.learning_rate:g} for {train.lr_base_batch_size})"
        if train.lr_base_batch_size
        else ""
    )
    beta1, beta2 = train.adam_betas
    return (
        f"AdamW, rate {start_lr} to {peak_lr} to {end_lr}{base_batch_note}, warm-up {100 * train.warmup_ratio:.3g} %, "
        f"decay {train.weight_decay:g}, betas {beta1:g} {beta2:g}, epsilon {train.adam_eps:g}, "
        f"clip {train.grad_clip_norm:g}, similarity's rate x {train.similarity_lr_mult:g}"
    )
