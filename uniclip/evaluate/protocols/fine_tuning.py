"""The recipe of full fine-tuning: how the whole image encoder is trained on a data set.

The recipe is that of Wortsman et al. ("Robust fine-tuning of zero-shot models", CVPR 2022, and
their code): the zero-shot classifier at the model's scale becomes a linear layer on unit rows of
the joint space, and all parameters of the image side are trained by AdamW, with a cosine, ten
epochs, a weight decay of 0.1 and gradients clipped at 1. They have a peak of 3e-5, a batch of 512
and 500 steps of warm-up. Our reconstruction: the search of the peak, a batch of 128, the bounds on
the number of steps, weak views of pre-training, and the selection by validation images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uniclip.config.binding import config_field, to_builtins
from uniclip.errors import UserError

FINE_TUNING_VERSION = 1
"""Raised when the same recipe gives other weights."""

STATED_RULES = {
    "trained": "image encoder, its head and a linear classifier, in full float32",
    "classifier": "zero-shot classifier at the model's scale, on unit rows; bias 0",
    "views": "weak views, with the augmentation vectors that pre-training gives",
    "selection": "the metric on validation; of a tie the lower rate, the earlier step; no refit",
}
"""What the settings do not state."""
FORWARD_SHARE = 1 / 3
"""Part of the operations of a training step that its forward pass has."""


@dataclass(frozen=True, kw_only=True)
class FineTuningConfig:
    """The settings of the recipe."""

    learning_rates: tuple[float, ...] = (1e-5, 1e-4, 1e-3)
    """Peak learning rates, of which one is selected, ascending."""
    epochs: int = config_field(10, low=1)
    """Passes over the training images at each rate, within the bounds on steps."""
    min_steps: int = config_field(500, low=1)
    """Least steps at each rate: a data set of a thousand images has more epochs."""
    max_steps: int = config_field(20_000, low=1)
    """Most steps at each rate: one of a million images has fewer epochs."""
    batch_size: int = config_field(128, low=1)
    """Images in a step."""
    weight_decay: float = config_field(0.1, low=0)
    """Decoupled weight decay; none on biases and norms."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's moment estimates."""
    warmup_ratio: float = config_field(0.1, low=0, high=1)
    """Fraction of the steps in which the rate rises linearly; then it follows a cosine to 0."""
    grad_clip_norm: float = config_field(1.0, above=0)
    """Largest gradient norm."""
    label_smoothing: float = config_field(0.0, low=0, high=1)
    """Probability that is spread evenly over the classes."""
    num_validations: int = config_field(10, low=1)
    """Equally spaced steps at which a rate is validated, the last step among them."""
    max_validation_images: int = config_field(10_000, low=1)
    """Most validation images; of more, a random subset."""

    def __post_init__(self) -> None:
        rates = self.learning_rates
        if not rates or min(rates) <= 0 or list(rates) != sorted(set(rates)):
            raise UserError(
                "fine_tuning.learning_rates must be positive numbers in ascending order, got "
                f"{list(rates)}"
            )
        if self.min_steps > self.max_steps:
            raise UserError(
                f"fine_tuning.min_steps={self.min_steps} must be at most "
                f"fine_tuning.max_steps={self.max_steps}"
            )

    def count_steps(self, num_train: int) -> int:
        """Return the steps at each rate, for so many training images."""
        steps = -(-self.epochs * num_train // self.batch_size)
        return min(max(steps, self.min_steps), self.max_steps)

    def list_validation_steps(self, num_steps: int) -> tuple[int, ...]:
        """Return the numbers of steps after which a rate is validated, ascending."""
        n = self.num_validations
        return tuple(sorted({-(-num_steps * k // n) for k in range(1, n + 1)}))

    def count_training_samples(self, num_train: int, num_validation: int, num_test: int) -> int:
        """Return how many samples of training cost as much as the whole fine-tuning."""
        steps, num_rates = self.count_steps(num_train), len(self.learning_rates)
        num_validated = min(num_validation, self.max_validation_images)
        num_embedded = num_rates * self.num_validations * num_validated + num_test
        return num_rates * steps * self.batch_size + round(FORWARD_SHARE * num_embedded)

    def build_record(self) -> dict[str, Any]:
        """Return the whole recipe as plain JSON."""
        return {**STATED_RULES, **to_builtins(self), "version": FINE_TUNING_VERSION}
