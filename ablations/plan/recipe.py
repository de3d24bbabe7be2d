"""What the training of an arm is, in words: optimiser, rates and warm-up."""

from __future__ import annotations

from uniclip.config import TrainConfig

OURS = "ours"
"""The recipe that all arms of a comparison share."""


def spoken(train: TrainConfig) -> str:
    """The optimiser and the schedule of a training, but for its length and batch size."""
    scale = train.rate_scale
    start, peak, end = (
        f"{scale * rate:.3g}" for rate in (train.start_rate, train.learning_rate, train.final_rate)
    )
    stated = f" ({train.learning_rate:g} for {train.rate_batch})" if train.rate_batch else ""
    one, two = train.betas
    return (
        f"AdamW, rate {start} to {peak} to {end}{stated}, warm-up {100 * train.warmup:.3g} %, "
        f"decay {train.weight_decay:g}, betas {one:g} {two:g}, epsilon {train.epsilon:g}, "
        f"clip {train.clip:g}, similarity's rate x {train.similarity_rate:g}"
    )
